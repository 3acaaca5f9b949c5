"""Distractors beside the prompts that detectors are fitted and tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from madkit.data.prompts.distractors import Distractor


def with_distractors(table: pd.DataFrame, kinds: Sequence[Distractor], limit: int, seed: int) -> pd.DataFrame:
    """A table of prompts with distractors behind it: the first normal test prompts, once as each kind.

    Args:
        table: of `detection_splits`.
        kinds: of distractors; with none the table is what it was.
        limit: at most this many prompts of each kind.
        seed: which draw of wordings.

    Returns:
        The table with rows of the split `distractor`, whose column `distractor` names the kind; it is empty elsewhere.
    """
    if not kinds:
        return table
    normal = table[(table["split"] == "test") & ~table["anomalous"]][:limit]
    ids, prompts = normal["id"].tolist(), normal["prompt"].tolist()
    answers = [pair[int(label)] for pair, label in zip(normal["choices"], normal["alice_label"], strict=True)]
    parts = [
        normal.assign(
            split="distractor",
            id=[f"{each}:{kind.name}" for each in ids],
            prompt=kind(ids, prompts, answers, seed),
            distractor=kind.name,
        )
        for kind in kinds
    ]
    table = pd.concat([table.assign(distractor=""), *parts], ignore_index=True)
    return table.assign(row=np.arange(len(table)))
