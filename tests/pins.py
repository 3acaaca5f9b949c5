"""The versions in constraints.txt, which what is stored and what is deferred were made for."""

import re
from pathlib import Path

_LINES = (Path(__file__).resolve().parents[1] / "constraints.txt").read_text().splitlines()
#: By the name of the package, in lower case and with hyphens.
PINNED = {
    re.sub("[-_.]+", "-", name).lower(): version
    for name, version in (line.split("==") for line in _LINES if not line.startswith("#"))
}
