"""A training step of a sparse autoencoder with 131,072 latents, beside sparsify's."""

from __future__ import annotations

import argparse
from functools import partial

from gpu.section import Facts, Part, Row, Section, Settings
from gpu.sizes import times

LOSSES = ("error alone", "AuxK", "Multi-TopK", "both")


def _measure(loss: str, settings: Settings) -> Facts:
    import sae as benchmark

    full = {"width": 4096, "expansion": 32, "k": 32, "rows": 2048, "steps": 15}
    sizes = {"width": 16, "expansion": 8, "k": 4, "rows": 32, "steps": 3} if settings.reduced else full
    found = benchmark.measure(loss, argparse.Namespace(**sizes), "cpu" if settings.reduced else "cuda")
    return {**sizes, **found}


def _rows(facts: dict[str, Facts]) -> list[Row]:
    rows = []
    for loss, of in facts.items():
        without = ", whose encoder learns nothing from it" if of.get("sparsify_gradient") == 0 else ""
        rows.append(
            Row(
                f"an SAE's step, d = {of['width']:,}, {of['width'] * of['expansion']:,} latents, loss: {loss}",
                f"{of['madkit'] * 1e3:.1f} ms",
                f"sparsify: {of['sparsify'] * 1e3:.1f} ms{without}",
                f"{times(of['ratio'], 'faster', 'slower')} ({of['low']:.2f} to {of['high']:.2f})",
            )
        )
    return rows


SAE = Section(
    name="sae",
    processes={"steps": dict[str, Part]({loss: partial(_measure, loss) for loss in LOSSES})},
    rows=_rows,
    seconds=70,
    needs=("sparsify",),
    sources=("benchmarks/sae.py",),
)
