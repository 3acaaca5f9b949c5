"""One LoRA step of an 8B-shaped Llama, with and without gradient checkpointing, beside `transformers.Trainer`."""

from __future__ import annotations

import argparse
from functools import partial

from gpu.section import Facts, Row, Section, Settings
from gpu.sizes import shape, times

MODES = {"": False, ", checkpointing": True}


def _options(side: str, checkpointing: bool, reduced: bool) -> argparse.Namespace:
    batch, steps = (2, 5) if reduced else (32, 20)
    return argparse.Namespace(
        size=shape(reduced), batch=batch, micro=batch, steps=steps, side=side, checkpointing=checkpointing
    )


def _measure(side: str, checkpointing: bool, settings: Settings) -> Facts:
    import tuning as benchmark

    options = _options(side, checkpointing, settings.reduced)
    return {"batch": options.batch, **benchmark.measure(options)}


def _yardsticks(settings: Settings) -> Facts:
    """The matrix rate of the device, and the tokens and the work of a step."""
    import tuning as benchmark

    options = _options("madkit", False, settings.reduced)
    tokens = benchmark.tokens_per_step(options)
    rate = benchmark.matrix_rate("cpu", 64) if settings.reduced else benchmark.matrix_rate()
    return {"tokens": tokens, "work": benchmark.work(options.size, tokens), "rate": rate}


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows, of = [], facts.get("yardsticks")
    for mode, checkpointing in MODES.items():
        ours, theirs = facts.get(f"madkit{mode}"), facts.get(f"trainer{mode}")
        if ours is None:
            continue
        measured = f"{ours['step'] * 1e3:.0f} ms a step, {ours['memory']:.1f} GiB"
        if of:
            share = of["work"] / ours["step"] / of["rate"]
            measured += (
                f", {of['tokens'] / ours['step']:,.0f} tokens/s, {share:.1%} of {of['rate'] / 1e12:,.0f} TFLOP/s"
            )
        other = f"`transformers.Trainer`: {theirs['step'] * 1e3:.0f} ms, {theirs['memory']:.1f} GiB" if theirs else ""
        ratio = ""
        if theirs:
            ratio = f"{times(theirs['step'] / ours['step'], 'faster', 'slower')}, "
            ratio += f"{times(theirs['memory'] / ours['memory'], 'less memory', 'more memory')}"
        recomputing = ", gradient checkpointing" if checkpointing else ""
        rows.append(Row(f"a LoRA step, batch {ours['batch']}{recomputing}", measured, other, ratio))
    return rows


TUNING = Section(
    name="tuning",
    processes={
        "madkit": {
            "yardsticks": _yardsticks,
            **{f"madkit{mode}": partial(_measure, "madkit", on) for mode, on in MODES.items()},
        },
        "trainer": {f"trainer{mode}": partial(_measure, "trainer", on) for mode, on in MODES.items()},
    },
    rows=_rows,
    seconds=90,
    sources=("benchmarks/tuning.py",),
)
