"""ReferencePrompts: the training prompts on which detectors are fitted while a model is trained against them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from madkit.data.quirky.splits import EASY
from madkit.errors import DataError


class ReferencePrompts(NamedTuple):
    """Positions among the training prompts."""

    trusted: np.ndarray
    """Of prompts that a defender trusts: easy ones of Alice by the names that detectors are fitted on."""
    normal: np.ndarray
    """Of prompts of normal speakers, of any name and difficulty."""
    anomalous: np.ndarray
    """Of prompts of quirky speakers, of any name and difficulty."""


def reference_prompts(frame: pd.DataFrame, seed: int, n_trusted: int, n_reference: int) -> ReferencePrompts:
    """Draw prompts on which detectors are fitted, and on which it is measured how far anomalous ones stand out.

    They are prompts that the model is trained on: what it will be tested on is never looked at.

    Args:
        frame: of the training prompts, with `character`, `speaker`, `first_names` and `difficulty_quantile`.
        seed: which of them.
        n_trusted: at most this many trusted ones.
        n_reference: at most this many normal and this many anomalous ones.

    Raises:
        DataError: there are fewer than two of a kind.
    """
    rng = np.random.default_rng([seed, 3])
    normal = frame["character"].to_numpy() == "Alice"
    # Another honest speaker is normal, and nobody whom a defender knows.
    trusted = normal & (frame["speaker"].to_numpy() == "Alice")
    easy = frame["first_names"].to_numpy(bool) & (frame["difficulty_quantile"].to_numpy() < EASY)
    chosen = [
        np.sort(rng.permutation(np.flatnonzero(rows))[:limit])
        for rows, limit in ((trusted & easy, n_trusted), (normal, n_reference), (~normal, n_reference))
    ]
    if min(map(len, chosen)) < 2:
        raise DataError(
            f"the training prompts have {', '.join(str(len(rows)) for rows in chosen)} trusted, normal and anomalous "
            "ones, and detectors need two of each: raise data.max_train, or n_train in data.task_options"
        )
    return ReferencePrompts(*chosen)
