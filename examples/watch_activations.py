"""Watch vectors that other tools made: a monitor without a model.

    python examples/watch_activations.py trusted.npz new.npz
    python examples/watch_activations.py trusted.npz new.npz trusted-base.npz new-base.npz

Each file holds arrays (prompts, dimensions) by the name of their site, such as `blocks.7.hook_resid_post` of
TransformerLens at each prompt's last token; npz, safetensors, parquet and datasets folders are read. With the base
model's vectors of the same prompts, what they explain is taken off first. Prints the rows that alarm.
"""

import sys
from pathlib import Path

import pandas as pd

from madkit.monitoring import VectorMonitor
from madkit.store.array_files import read_vectors


def main(*files: str | Path, fpr: float = 0.01) -> pd.DataFrame:
    """Print the alarms among new vectors and return all scores.

    Args:
        files: trusted and new vectors, and those of the base model in the same order where there is one.
        fpr: the share of prompts like the trusted ones that may alarm.
    """
    trusted, new, *base = [read_vectors(Path(file))[0] for file in files]
    trusted_base, new_base = base or (None, None)
    monitor = VectorMonitor.fit(trusted, trusted_base)
    table = monitor.score(new, new_base, fpr=fpr)
    for row in table[table["alarm"]].sort_values("p_value").itertuples():
        print(f"row {row.Index}: p = {row.p_value:.3g}, at {row.sites}")
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
