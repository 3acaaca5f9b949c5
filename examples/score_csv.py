"""Score prompts of your own with a monitor of a run's model, fitted on the prompts that the run trusts.

    python examples/score_csv.py runs/tiny-llama/addition prompts.csv scored.csv

The CSV has a column `prompt`. The monitor compares what happens inside the tuned model with its base, and needs no
label. The result is the CSV with `score`, `p_value`, `alarm`, the `sites` that said so, and a score for each of them.
With prompts that you trust, and no run, it is the same: `Monitor.fit(model, tokenizer, trusted)`, or `madkit watch`.
"""

import sys
from pathlib import Path

import pandas as pd
from peft import PeftConfig

from madkit import FeatureStore, Monitor


def main(run: str | Path, prompts: str | Path, out: str | Path, fpr: float = 0.01) -> pd.DataFrame:
    """Write `out` and return it as a table.

    Args:
        run: a run folder after `madkit predict`.
        prompts: a CSV with a column `prompt`.
        out: the CSV to write.
        fpr: the share of prompts like the trusted ones that may alarm.
    """
    adapter = Path(run) / "adapter"
    rows = FeatureStore.current(Path(run) / "features" / "activations").rows
    trusted = rows.loc[rows["split"].isin(["trusted", "calibration"]), "prompt"].tolist()
    base = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    monitor = Monitor.fit(base, None, trusted, adapter=str(adapter))
    table = pd.read_csv(prompts)
    table = table.join(monitor.score(table, fpr))
    table.to_csv(out, index=False)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
