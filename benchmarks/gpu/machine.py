"""Which card and which versions the numbers are of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "lightning",
    "accelerate",
    "scikit-learn",
    "pyod",
    "eai-sparsify",
    "triton",
)
SUFFIXES = {".py", ".yaml"}


_ASK = """
import json, torch
if torch.cuda.is_available():
    of = torch.cuda.get_device_properties(0)
    print(json.dumps({"card": of.name, "memory_gib": round(of.total_memory / 2**30, 1), "cuda": torch.version.cuda}))
"""


def card() -> dict[str, Any] | None:
    """Name and memory of the card that torch sees, and its driver; None where it sees none.

    In a process of its own, which leaves nothing on the card.
    """
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    except (OSError, subprocess.SubprocessError):
        driver = []
    return {**found, "driver": driver[0] if driver else "unknown"}


def versions() -> dict[str, str]:
    """Of Python and of the packages that count; those that are missing are left out."""
    found = {"python": platform.python_version(), "cpu_cores": str(os.cpu_count())}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def slug(name: str) -> str:
    """A card's name as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@cache
def digest(sources: tuple[str, ...]) -> str:
    """Of the program's text: of these files and folders of the project."""
    paths = sorted({p for s in sources for p in ([ROOT / s] if (ROOT / s).is_file() else (ROOT / s).rglob("*"))})
    of = hashlib.sha256()
    for path in paths:
        if path.suffix in SUFFIXES and path.is_file():
            of.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes() + b"\n")
    return of.hexdigest()[:16]
