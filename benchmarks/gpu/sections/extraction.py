"""Reading activations and answers of an 8B-shaped Llama, beside transformers' `output_hidden_states` and hooks."""

from __future__ import annotations

import argparse

from gpu.section import Facts, Row, Section, Settings
from gpu.sizes import shape


def _measure(settings: Settings) -> Facts:
    import extraction as benchmark

    batch, length, passes = (2, 6, 3) if settings.reduced else (64, 80, 20)
    options = argparse.Namespace(size=shape(settings.reduced), batch=batch, length=length, passes=passes)
    # Of a card the allocator knows the peak of each side, so that all share this process.
    return {"batch": batch, "length": length, "sides": benchmark.measure(options, benchmark.memory)}


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows: list[Row] = []
    for of in facts.values():
        sides = of["sides"]
        ours = sides["madkit"]
        measured = f"{ours['seconds'] * 1e3:.0f} ms, {ours['gib']:.2f} GiB besides the weights"
        for name, side in sides.items():
            if name != "madkit":
                what = f"activations and answers, {of['batch']} prompts of {of['length']} tokens"
                other = f"{name}: {side['seconds'] * 1e3:.0f} ms, {side['gib']:.2f} GiB"
                memory = side["gib"] / max(ours["gib"], 1e-9)
                rows.append(Row(what, measured, other, f"{side['ratio']:.2f} in time, {memory:.2f} in memory"))
    return rows


EXTRACTION = Section(
    name="extraction",
    processes={"all sides": {"all sides": _measure}},
    rows=_rows,
    seconds=90,
    sources=("benchmarks/extraction.py", "benchmarks/attribution.py", "benchmarks/tuning.py"),
)
