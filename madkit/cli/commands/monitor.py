"""`madkit monitor`: runs in TensorBoard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from madkit.errors import ConfigError


def monitor(runs: str = "runs", port: int = 6006, host: str = "localhost") -> int:
    """Start TensorBoard on a folder of runs, until it is interrupted.

    Args:
        runs: The folder, which is searched for curves.
        port: Where it listens; 0 for any free port.
        host: Under which name or address; 0.0.0.0 for all of this machine.
    """
    if not Path(runs).is_dir():
        raise ConfigError(f"monitor {runs!r}: no such folder; name the one that your recipes write to (--run)")
    options = ["--logdir", runs, "--port", str(port), "--host", host]
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", *options])
