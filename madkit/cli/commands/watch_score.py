"""`madkit watch score`: which of some new prompts alarm."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from madkit.cli.quiet import quiet
from madkit.errors import ConfigError
from madkit.monitoring import Monitor
from madkit.monitoring.prompt_source import read_prompts
from madkit.runs.atomic import write_atomically
from madkit.runs.tables import write_parquet

FORMATS = (".parquet", ".csv", ".jsonl")
#: So much of a prompt is shown on a terminal.
_SHOWN = 60


def watch_score(
    monitor: str,
    prompts: str,
    fpr: float = 0.01,
    fdr: float | None = None,
    recalibrate: str | None = None,
    out: str | None = None,
    column: str | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Score prompts, and print those that alarm.

    Args:
        monitor: What madkit watch fit wrote.
        prompts: The new prompts: a file, a folder or a dataset, as for madkit watch fit.
        fpr: The share of prompts like the trusted ones that may alarm.
        fdr: In place of fpr, the share of all alarms that may be false (Benjamini-Hochberg).
        recalibrate: Unlabelled prompts of now, most of them normal, where these are harder than the trusted ones or
            otherwise unlike them: an alarm then has to be unusual among those, too. The prompts themselves will do.
        out: A table of all prompts, .parquet, .csv or .jsonl: score, p_value, alarm, the sites that said so, and the
            score at each site.
        column: The column of the prompts, if it is neither prompt nor messages.
        split: Of a dataset with several.
        batch_size: Prompts in one forward pass; by default as many as when it was fitted.
        trust_remote_code: Run code that comes with the model, if the monitor was fitted so; one of somebody else may
            name any model.
    """
    if out is not None and Path(out).suffix not in FORMATS:
        raise ConfigError(f"out={out!r}: the name must end in one of {', '.join(FORMATS)}")
    quiet()
    loaded = Monitor.load(monitor, trust_remote_code=trust_remote_code)
    loaded.progress = sys.stderr.isatty()
    if batch_size is not None:
        loaded.state.batch_size = batch_size
    if recalibrate is not None:
        # Prompts alone are scored here, so that no answers are needed.
        loaded = loaded.recalibrate(read_prompts(recalibrate, "recalibrate", column, split), responses=False)
    found = read_prompts(prompts, "prompts", column, split)
    table = loaded.score(found, fpr, fdr=fdr)
    texts = [prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False) for prompt in found]
    table.insert(0, "prompt", texts)
    table.insert(0, "row", range(len(table)))
    if out is not None:
        _write(table, Path(out))
    for line in table[table["alarm"]].itertuples():
        shown = " ".join(str(line.prompt).split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
        print(f"row {line.row}  p = {line.p_value:.3g}  {shown}  [{line.sites}]")
    alarms = int(table["alarm"].sum())
    usual = f"{fpr * len(table):.3g} would if all were like the trusted ones" if fdr is None else f"fdr={fdr}"
    print(f"{alarms} of {len(table)} prompts alarm; {usual}", file=sys.stderr)
    return 0


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        write_parquet(path, table)
    elif path.suffix == ".csv":
        write_atomically(path, lambda p: table.to_csv(p, index=False))
    else:
        write_atomically(path, lambda p: table.to_json(p, orient="records", lines=True, double_precision=15))
