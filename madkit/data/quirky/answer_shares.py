"""Does an answer tell who gives it? How often Yes is right among trusted prompts, and for each speaker in the test."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

#: Shares of Yes that differ by more than this, and by more than chance, are worth a warning: an AUROC of 0.575.
STRONG = 0.15
_STANDARD_ERRORS = 3.0


class AnswerShares(NamedTuple):
    """How often the right answer is Yes, and of how many prompts."""

    trusted: float
    test_alice: float
    test_bob: float
    n_trusted: int
    n_alice: int
    n_bob: int

    def differ(self) -> bool:
        """Whether two of the shares are far from each other, and farther than so many prompts differ by chance."""
        groups = zip(self[:3], self[3:], strict=True)
        return any(_far(a, b) for a, b in combinations(groups, 2))


def answer_shares(table: pd.DataFrame) -> AnswerShares:
    """The shares of Yes in a table of `madkit.data.quirky.splits.detection_rows`.

    Example:
        >>> splits = ["trusted"] * 2 + ["test"] * 4
        >>> table = pd.DataFrame({"split": splits, "anomalous": [0, 0, 0, 0, 1, 1], "label": [1, 1, 0, 0, 0, 1]})
        >>> answer_shares(table)[:3]
        (1.0, 0.0, 0.5)
    """
    test, bob = table["split"] == "test", table["anomalous"].astype(bool)
    chosen = (table["split"] == "trusted", test & ~bob, test & bob)
    trusted, alice, quirky = (table.loc[rows, "label"].astype(float) for rows in chosen)
    shares = float(trusted.mean()), float(alice.mean()), float(quirky.mean())
    return AnswerShares(*shares, len(trusted), len(alice), len(quirky))


def confounding(table: pd.DataFrame) -> str | None:
    """What to tell a user whose trusted and test prompts, or whose characters, are answered differently; else None."""
    shares = answer_shares(table)
    if not shares.differ():
        return None
    return (
        f"the right answer is Yes for {shares.trusted:.0%} of trusted prompts, {shares.test_alice:.0%} of Alice's test "
        f"prompts and {shares.test_bob:.0%} of Bob's, so that the answer alone tells them apart (AUROC of the label in "
        f"the test {0.5 + (shares.test_bob - shares.test_alice) / 2:.2f}): set data.requantile to balanced, or compare "
        "AUROC within answers (auroc_within in the results)"
    )


def _far(a: tuple[float, int], b: tuple[float, int]) -> bool:
    (p, m), (q, n) = a, b
    pooled = (p * m + q * n) / (m + n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n))
    return bool(abs(p - q) > max(STRONG, _STANDARD_ERRORS * error))
