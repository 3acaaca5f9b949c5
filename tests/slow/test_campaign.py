"""The campaign of bad inputs and faults reaches its goals: here one case in ten, as all of them take ten minutes.

`python tests/slow/campaign` tries all.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


EVERY = 10


def test_nothing_is_silently_wrong(tmp_path):
    """A process of its own, as it forks for each case and may have one thread only."""
    found = tmp_path / "outcomes.json"
    done = subprocess.run(
        [sys.executable, "tests/slow/campaign", "--every", str(EVERY), "--json", str(found)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert len(json.loads(found.read_text())) >= 420 / EVERY
    assert done.returncode == 0, done.stderr
