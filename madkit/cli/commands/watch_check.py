"""`madkit watch check`: whether what comes in is still like what was trusted."""

from __future__ import annotations

import sys
from pathlib import Path

from madkit.cli.quiet import quiet
from madkit.monitoring import Monitor
from madkit.monitoring.prompt_source import read_prompts
from madkit.runs.atomic import write_json


def watch_check(
    monitor: str,
    prompts: str,
    rate: float = 0.01,
    out: str | None = None,
    column: str | None = None,
    split: str | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Compare recent prompts with the held-out trusted ones; no labels are needed.

    Args:
        monitor: What madkit watch fit wrote.
        prompts: Recent prompts, some twenty or more: a file, a folder or a dataset, as for madkit watch fit.
        rate: The probability with which prompts like the trusted ones are said to have drifted.
        out: A JSON file for what is found.
        column: The column of the prompts, if it is neither prompt nor messages.
        split: Of a dataset with several.
        trust_remote_code: Run code that comes with the model, if the monitor was fitted so; one of somebody else may
            name any model.
    """
    quiet()
    loaded = Monitor.load(monitor, trust_remote_code=trust_remote_code)
    loaded.progress = sys.stderr.isatty()
    drift = loaded.check(read_prompts(prompts, "prompts", column, split), rate)
    if out is not None:
        write_json(Path(out), drift.plain())
    print(drift)
    return 0
