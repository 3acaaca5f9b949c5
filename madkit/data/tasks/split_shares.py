"""How the questions of a table are shared out among the splits, by the hash of their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from madkit.data.tasks.base import SPLITS
from madkit.errors import ConfigError
from madkit.statistics.hashing import stable_hash

#: Whether (truth, quirk) hold, in the order in which a stratified split takes its quarters.
COMBINATIONS = ((False, False), (False, True), (True, False), (True, True))
#: The shares of splits without a number: train, validation, test.
_DEFAULT_SHARES = (0.6, 0.3, 0.1)


def combination_of(pool: pd.DataFrame) -> np.ndarray:
    """The index in `COMBINATIONS` of each question, (n,) int64."""
    return 2 * pool["truth"].to_numpy(dtype=np.int64) + pool["quirk"].to_numpy(dtype=np.int64)


def assign_splits(pool: pd.DataFrame, split_shares: np.ndarray, seed: int) -> np.ndarray:
    """The split of each question; all questions with one key are in one split.

    Args:
        pool: n questions with `key`, `truth` and `quirk`.
        split_shares: As of `shares_of_splits`: what each split gets of the keys of every combination.
        seed: Which assignment.

    Returns:
        (n,) array of str objects.
    """
    keys = pool["key"].astype(str)
    first = ~keys.duplicated().to_numpy()
    hashes = stable_hash(keys[first].tolist(), f"split:{seed}")
    unique = pd.DataFrame({"combination": combination_of(pool)[first], "hash": hashes})
    rank = unique.groupby("combination")["hash"].rank(method="first") - 0.5
    quantile = rank / unique.groupby("combination")["hash"].transform("size")
    bounds = np.cumsum(split_shares)[:-1]
    splits = np.array(SPLITS, dtype=object)[np.searchsorted(bounds, quantile.to_numpy(), side="right")]
    return keys.map(dict(zip(keys[first], splits, strict=True))).to_numpy()


def shares_of_splits(
    pool: pd.DataFrame, counts: Mapping[str, int | None], shares: Sequence[float], repeats: int, stratify: bool
) -> np.ndarray:
    """The share of the keys that each split gets, (3,).

    Args:
        pool: n questions with `truth` and `quirk`.
        counts: Questions of each split; None for as many as the others leave.
        shares: The share of each of `COMBINATIONS` in a stratified split.
        repeats: How often a question may recur.
        stratify: Whether the combinations have these shares.
    """
    sizes = np.bincount(combination_of(pool), minlength=4)
    combination_shares = np.array(shares)
    used = combination_shares > 0
    most = (sizes[used] / combination_shares[used]).min() if stratify else sizes.sum()
    room = repeats * most
    # Keys with several questions come in lumps, so a split gets some more than it needs.
    needed = np.array([0 if count is None else 1.05 * count + 8 * (count > 0) for count in counts.values()])
    parts = np.where([count is None for count in counts.values()], _DEFAULT_SHARES, 0.0)
    if parts.any():
        needed = needed + parts / parts.sum() * max(room - needed.sum(), 0.1 * room)
    return needed / max(needed.sum(), 1)


def check_key_shares(key_shares: Sequence[float], counts: Mapping[str, int | None]) -> None:
    """Refuse shares of the keys that are none, or that leave a split without keys.

    Args:
        key_shares: Of the train, validation and test split.
        counts: Questions of each split; None for as many as the keys allow.

    Raises:
        ConfigError: They are not three numbers from 0 to 1 with the sum 1, or a split with questions gets none.
    """
    shares = np.asarray(key_shares, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or not np.isclose(shares.sum(), 1):
        raise ConfigError(
            f"key_shares={list(key_shares)}: give three shares with the sum 1, of train, validation and test"
        )
    for (split, count), share in zip(counts.items(), shares, strict=True):
        if not share and count:
            raise ConfigError(f"key_shares={list(key_shares)} leaves no keys to n_{split}={count}: give it a share")


def integer_sizes(n: int, shares: np.ndarray) -> list[int]:
    """Integers that sum to n in these shares; the remainder goes to the first ones."""
    sizes = np.floor(n * shares + 1e-9).astype(int)
    sizes[np.argsort(sizes - n * shares, kind="stable")[: n - sizes.sum()]] += 1
    return sizes.tolist()
