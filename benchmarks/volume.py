"""Radii of many prompts along random directions: all prompts of a batch side by side, against each prompt alone.

    python benchmarks/volume.py                 # 1,000 prompts; 8B-shaped in bf16 on a GPU, a small Llama on a CPU
    python benchmarks/volume.py --prompts 200 --tolerance 1e-2

`bisection` is the published way: for each prompt the distance is doubled and then halved from 1 until the KL divergence
meets the cutoff, the weights being perturbed for each evaluation. (It is given the point that met the cutoff; the
published code goes on to the next midpoint, at which nothing was evaluated.) `search` does the same with madkit's root
finder. `madkit` is `PromptVolumes`: one direction serves all prompts of a batch, each at another distance.

As prompts alone do not help each other, a sample of them is measured, and counted as often as there are prompts. A
round has one direction; the sides take turns, so that a drift of the machine's speed hits all. Printed, for all
prompts and one direction: settings of the weights (of madkit: forward passes of a batch, though a batch makes its
direction just once), evaluations of a prompt, median seconds, and these as multiples of madkit's. Fails if radii are
less accurate than the tolerance, judged by moving the weights themselves, or if the ratio of settings is below 10.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from tuning import SIZES, make_model

from madkit.volume import MeanDivergence, PromptVolumes
from madkit.volume.estimation.crossings import find_crossings

SIZES["small"] = {
    "hidden_size": 64, "intermediate_size": 168, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 512,
}  # fmt: skip
CUTOFF = 1e-2
Batch = dict[str, Any]


class Side(NamedTuple):
    """What one way needed for all prompts and one direction."""

    settings: float
    evaluations: float
    seconds: float
    radii: dict[int, float]


def make_batches(options: argparse.Namespace, device: torch.device) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    vocabulary = SIZES[options.size]["vocab_size"]
    ids = torch.randint(1, vocabulary, (options.prompts, options.length), generator=generator).to(device)
    return [{"input_ids": x, "attention_mask": torch.ones_like(x)} for x in ids.split(options.batch)]


def together(volumes: PromptVolumes, batches: list[Batch]) -> Side:
    """madkit's way, with the one direction of these volumes."""
    start, searches = time.perf_counter(), [volumes.radii(batch) for batch in batches]
    synchronize()
    radii = np.concatenate([f.radii[:, 0] for f in searches])
    sizes = [len(b["input_ids"]) for b in batches]
    return Side(
        sum(f.passes for f in searches),
        float(np.average([f.passes for f in searches], weights=sizes)),
        time.perf_counter() - start,
        dict(enumerate(radii.tolist())),
    )


def alone(
    volumes: PromptVolumes, batches: list[Batch], options: argparse.Namespace, search: Callable[..., Any]
) -> Side:
    """A sample of prompts, one after another; the numbers are for all of them."""
    chosen = np.linspace(0, options.prompts - 1, options.sample).astype(int).tolist()
    ids = torch.cat([b["input_ids"] for b in batches])
    ray, radii, moves = volumes.rays[0], {}, 0
    start = time.perf_counter()
    with volumes.vector.borrowed():
        for i in chosen:
            volumes.vector.move(ray, 0.0)
            divergence = MeanDivergence(
                volumes.lm, [{"input_ids": ids[i, None], "attention_mask": torch.ones_like(ids[i, None])}]
            )

            def change(radius: float, divergence: MeanDivergence = divergence) -> float:
                nonlocal moves
                moves += 1
                volumes.vector.move(ray, radius)
                return divergence()

            radii[i] = search(change, options.tolerance, float(volumes.limits[0]))
    synchronize()
    share = options.prompts / len(chosen)
    return Side(moves * share, moves / len(chosen), (time.perf_counter() - start) * share, radii)


def bisection(change: Callable[[float], float], tolerance: float, limit: float) -> float:
    """Doubling, then halving, from a distance of 1."""
    low, high, radius = 0.0, float("inf"), 1.0
    for _ in range(100):
        value = change(radius)
        if abs(value - CUTOFF) <= tolerance * CUTOFF:
            break
        low, high = (radius, high) if value < CUTOFF else (low, radius)
        radius = 2 * radius if high == float("inf") else (low + high) / 2
    return radius


def line_search(change: Callable[[float], float], tolerance: float, limit: float) -> float:
    """madkit's root finder, for one prompt."""
    values = lambda which, radii: np.array([change(float(radii[0]))])  # noqa: E731
    bounds = np.array([limit])
    return float(find_crossings(values, bounds / 100, bounds, CUTOFF, tolerance).radii[0])


def worst(volumes: PromptVolumes, batches: list[Batch], radii: dict[int, float]) -> float:
    """How far KL at some radii is from the cutoff, as a share of it, with the weights themselves moved."""
    ids, errors = torch.cat([b["input_ids"] for b in batches]), []
    with volumes.vector.borrowed():
        for i, radius in radii.items():
            volumes.vector.move(volumes.rays[0], 0.0)
            divergence = MeanDivergence(
                volumes.lm, [{"input_ids": ids[i, None], "attention_mask": torch.ones_like(ids[i, None])}]
            )
            volumes.vector.move(volumes.rays[0], radius)
            errors.append(abs(divergence() / CUTOFF - 1))
    return max(errors)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Of each side medians for one direction, and what these are as multiples of madkit's."""
    lm = make_model(options.size).eval()
    lm.requires_grad_(False)
    if options.size == "small":  # sharper than the usual initialisation, as a trained model is
        for p in lm.parameters():
            p.mul_(4 if p.ndim == 2 else 1)
    batches = make_batches(options, next(lm.parameters()).device)
    sides: dict[str, list[Side]] = {"madkit": [], "search": [], "bisection": []}
    for seed in range(options.rounds):
        volumes = PromptVolumes(lm, directions=1, seed=seed, cutoff=CUTOFF, tolerance=options.tolerance)
        volumes.rays  # noqa: B018 - measured once for all prompts, whoever follows it
        sides["madkit"].append(together(volumes, batches))
        for name, search in (("search", line_search), ("bisection", bisection)):
            sides[name].append(alone(volumes, batches, options, search))
        sample = {i: sides["madkit"][-1].radii[i] for i in sides["bisection"][-1].radii}
        errors = [worst(volumes, batches, radii) for radii in (sample, sides["bisection"][-1].radii)]
        # In half precision the weights themselves jump; beside them, as madkit moves, they do not.
        if lm.dtype == torch.float32 and not max(errors) <= 2 * options.tolerance:
            sys.exit(f"radii are off: KL at them is {errors} from the cutoff (madkit's, bisection's)")
    ours, measured = sides["madkit"], dict[str, dict[str, float]]()
    for name, rows in sides.items():
        settings, evaluations, seconds = (statistics.median(row[i] for row in rows) for i in range(3))
        fewer, faster = (statistics.median(row[i] / o[i] for row, o in zip(rows, ours, strict=True)) for i in (0, 2))
        measured[name] = {
            "settings": settings, "evaluations": evaluations, "seconds": seconds, "fewer": fewer, "faster": faster,
        }  # fmt: skip
    return measured


def compare(options: argparse.Namespace) -> None:
    measured = measure(options)
    print(
        f"{options.size}, {options.prompts} prompts of {options.length} tokens in batches of {options.batch}, "
        f"tolerance {options.tolerance:g}, {options.rounds} directions; for each direction:"
    )
    for name, of in measured.items():
        print(
            f"  {name:10s} {of['settings']:9.0f} settings of the weights {of['fewer']:8.1f} x   "
            f"{of['evaluations']:5.2f} evaluations a prompt   {of['seconds']:9.2f} s {of['faster']:8.1f} x"
        )
    if not measured["bisection"]["fewer"] >= 10:
        sys.exit(f"settings of the weights: only {measured['bisection']['fewer']:.1f} times madkit's")


@torch.no_grad()
def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="8b" if gpu else "small")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=4 if gpu else 16)
    parser.add_argument("--batch", type=int, default=64 if gpu else 256)
    parser.add_argument("--length", type=int, default=80 if gpu else 16)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--rounds", type=int, default=3)
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
