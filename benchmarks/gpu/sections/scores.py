"""Scores of 8,000 trusted and 8,000 test rows of 4,096 features on the card, beside scikit-learn on the CPU."""

from __future__ import annotations

import argparse
import math
import time
from functools import partial

from gpu.section import Facts, Row, Section, Settings
from gpu.sizes import times

SAMPLE = 16  # scikit-learn scores one row in so many


def _options(settings: Settings, rounds: int) -> argparse.Namespace:
    import scores as benchmark

    sizes = {**benchmark.LEAST, "d": 16} if settings.reduced else {"trusted": 8000, "test": 8000, "d": 4096, "sites": 1}
    device = "cpu" if settings.reduced else "cuda"
    return argparse.Namespace(
        **{**benchmark.DEFAULT, **sizes, "rounds": rounds}, device=device, progress=False, full=False
    )


def _part(name: str, rounds: int, settings: Settings) -> Facts:
    """A part of `benchmarks/scores.py`, as its rows."""
    import scores as benchmark

    options = _options(settings, rounds)
    found = [row._asdict() | {"failed": row.failed()} for row in benchmark.run_part(name, options)]
    for row in found:
        row.update({key: None for key, x in row.items() if isinstance(x, float) and math.isnan(x)})
    return {"rows": found, "d": options.d, "trusted": options.trusted, "test": options.test}


def _wide(settings: Settings) -> Facts:
    """Mahalanobis at all features.

    scikit-learn inverts the covariance once, which is timed, and takes a row after another: of these a few are timed.
    """
    import scores as benchmark
    import torch
    from sklearn.covariance import EmpiricalCovariance

    from madkit.scores import Mahalanobis

    options = _options(settings, 1)
    trusted, test = benchmark.make_site(0, options)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        Mahalanobis().fit(trusted)(test)
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    facts = {"d": options.d, "trusted": options.trusted, "test": options.test, "madkit": min(seconds[1:])}
    few, left = test[::SAMPLE].double().cpu().numpy(), trusted.double().cpu().numpy()
    start = time.perf_counter()
    fitted = EmpiricalCovariance().fit(left)
    middle = time.perf_counter()
    fitted.mahalanobis(few)
    each = (time.perf_counter() - middle) / len(few)
    return {**facts, "fit": middle - start, "scikit-learn": middle - start + each * options.test, "sampled": len(few)}


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows = []
    for name, of in facts.items():
        about = f"{of['trusted']:,} + {of['test']:,} rows, d = {of['d']:,}"
        if name == "mahalanobis, all features":
            other = (
                f"scikit-learn {of['scikit-learn']:.1f} s ({of['sampled']:,} rows timed, {of['fit']:.1f} s for the fit)"
            )
            ratio = times(of["scikit-learn"] / of["madkit"], "faster", "slower")
            rows.append(Row(f"mahalanobis, {about}", f"{of['madkit']:.3f} s", other, ratio))
            continue
        ours = ""
        for row in of["rows"]:
            if row["unit"] == "s" and row["name"].startswith("madkit"):
                ours = f"{row['value']:.3f} s"
            elif row["unit"] == "s":
                ratio = f"{row['ratio']:.2f} times as long as madkit"
                rows.append(Row(f"{name}, {row['note'] or about}", ours, f"{row['name']}: {row['value']:.3f} s", ratio))
            elif row["failed"]:
                rows.append(Row(name, f"{row['name']}: {row['value']:.1e}", f"at most {row['limit']:g}", "**missed**"))
    return rows


SCORES = Section(
    name="scores",
    processes={
        "few features": {"lof": partial(_part, "lof", 3), "mahalanobis": partial(_part, "mahalanobis", 1)},
        "all features": {"mahalanobis, all features": _wide},
    },
    rows=_rows,
    seconds=90,
    sources=("benchmarks/scores.py",),
)
