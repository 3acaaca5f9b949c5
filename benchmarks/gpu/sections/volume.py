"""Local volumes of 8B-shaped weights: of many prompts, beside each prompt alone, and of the whole model."""

from __future__ import annotations

import argparse
import time

from gpu.section import Facts, Row, Section, Settings
from gpu.sizes import shape, times


def _options(reduced: bool) -> argparse.Namespace:
    prompts, length = (4, 3) if reduced else (128, 80)
    return argparse.Namespace(
        size=shape(reduced), prompts=prompts, batch=min(prompts, 64), length=length, sample=1, tolerance=1e-2, rounds=1
    )


def _prompts(settings: Settings) -> Facts:
    import torch
    import volume as benchmark

    options = _options(settings.reduced)
    return {"prompts": options.prompts, "length": options.length, "sides": torch.no_grad()(benchmark.measure)(options)}


def _whole(settings: Settings) -> Facts:
    """All weights as one vector, along few directions."""
    import torch
    import volume as benchmark
    from tuning import make_model

    from madkit.volume import lm_log_volume

    options, directions = _options(settings.reduced), 2
    lm = make_model(options.size).eval()
    batches = benchmark.make_batches(options, next(lm.parameters()).device)[:1]
    start = time.perf_counter()
    estimate = lm_log_volume(lm, batches, directions=directions, tolerance=options.tolerance, progress=False)
    gpu = torch.cuda.is_available()
    return {
        "seconds": (time.perf_counter() - start) / directions, "evaluations": float(estimate.evaluations.mean()),
        "reached": int(estimate.reached.sum()), "directions": directions, "dimension": estimate.dimension,
        "prompts": len(batches[0]["input_ids"]), "gib": torch.cuda.max_memory_allocated() / 2**30 if gpu else 0.0,
    }  # fmt: skip


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows = []
    if of := facts.get("prompts"):
        ours = of["sides"]["madkit"]
        measured = f"{ours['settings']:.0f} settings of the weights, {ours['seconds']:.1f} s"
        for name, how in (
            ("bisection", "bisection of each prompt"),
            ("search", "madkit's root finder, each prompt alone"),
        ):
            side = of["sides"][name]
            other = f"{how}: {side['settings']:,.0f} settings, {side['seconds']:,.0f} s"
            ratio = f"{side['fewer']:.0f} fewer, {times(side['faster'], 'faster', 'slower')}"
            rows.append(Row(f"volumes of {of['prompts']} prompts, one direction", measured, other, ratio))
    if of := facts.get("whole model"):
        measured = (
            f"{of['seconds']:.1f} s and {of['evaluations']:.1f} evaluations a direction, peak {of['gib']:.1f} GiB"
        )
        measured += f"; {of['reached']} of {of['directions']} directions reach the cutoff"
        rows.append(Row(f"volume of all {of['dimension'] / 1e9:.2f}e9 weights, {of['prompts']} prompts", measured))
    return rows


VOLUME = Section(
    name="volume",
    processes={"radii": {"prompts": _prompts, "whole model": _whole}},
    rows=_rows,
    seconds=100,
    sources=("benchmarks/volume.py", "benchmarks/tuning.py"),
)
