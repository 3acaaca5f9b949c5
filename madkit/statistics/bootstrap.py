"""Percentile bootstrap, seeded."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from madkit.statistics.clusters import Codes, id_codes
from madkit.statistics.interval import Interval

# Resampled rows that are held at once: 16 MiB of indices.
BLOCK = 2**21


def resamples(n: int, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield blocks (b, n) of row indices drawn with replacement, `draws` rows of them in all."""
    size = max(1, BLOCK // n)
    for start in range(0, draws, size):
        yield generator.integers(n, size=(min(size, draws - start), n))


def group_resamples(codes: Codes, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `draws` times the indices of the rows of groups drawn with replacement (cluster bootstrap).

    Args:
        codes: (n,) the group of each row, as `id_codes` numbers them.
        draws: how many resamples.
        generator: of random numbers.
    """
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    for _ in range(draws):
        yield np.concatenate([members[group] for group in generator.integers(len(members), size=len(members))])


def resampled_means(columns: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Means (draws, c) of the resampled rows of columns (n, c); all columns share the resampling."""
    indices = resamples(len(columns), draws, generator)
    if not np.isfinite(columns).all():  # how often a row is drawn, times infinity, is no number where that is never
        return np.concatenate([columns[index].mean(1) for index in indices])
    return np.concatenate([_drawn(index) @ columns / len(columns) for index in indices])


def _drawn(index: np.ndarray) -> np.ndarray:
    """How often each of n rows is among those drawn (b, n), as float64."""
    b, n = index.shape
    of_draw = index + n * np.arange(b)[:, None]
    return np.bincount(of_draw.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)


def resampled_statistic(
    rows: np.ndarray, function: Callable[[np.ndarray], np.ndarray], draws: int, generator: np.random.Generator
) -> np.ndarray:
    """`function` applied to blocks (b, n, c) of resampled rows (n, c) -> (draws,)."""
    return np.concatenate([function(rows[index]) for index in resamples(len(rows), draws, generator)])


def grouped_statistic(
    rows: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[object],
    draws: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """`function` applied to blocks (b, m, c) of rows (n, c) whose groups were drawn with replacement -> (draws,).

    Draws of as many rows m go into one call. NaN where fewer than three rows were drawn, and of a single group, all
    draws of which are the same.

    Raises:
        DataError: there is not one group per row, or one is missing.
    """
    samples = np.full(draws, np.nan)
    codes = id_codes(groups, len(rows), "groups")
    if codes.max() == 0:
        return samples
    drawn = enumerate(group_resamples(codes, draws, generator))
    for block in iter(lambda: list(islice(drawn, max(1, BLOCK // len(rows)))), []):
        of_length: dict[int, list[tuple[int, np.ndarray]]] = {}
        for draw, index in block:
            of_length.setdefault(len(index), []).append((draw, index))
        for length, alike in of_length.items():
            if length > 2:
                places, indices = zip(*alike, strict=True)
                samples[list(places)] = function(rows[np.stack(indices)])
    return samples


def percentile_interval(value: float, samples: np.ndarray) -> Interval:
    """The central 95% of `samples`, NaN left out, around `value`; from NaN to NaN where nothing is left."""
    if np.isnan(samples).all():
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
