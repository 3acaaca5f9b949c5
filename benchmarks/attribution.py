"""What features from gradients cost, as a multiple of the forward pass that everything needs.

    python benchmarks/attribution.py            # 8B-shaped in bf16 on a GPU, a small Llama in float32 on a CPU
    python benchmarks/attribution.py --size cpu --batch 4

Every feature is read from the same random weights and prompts, in the pass that `madkit predict` makes; the
alternatives take turns, so that a drift of the machine's speed hits all of them. The yardstick is transformers'
forward pass to the last token's logits, without gradients. Printed: the median time of a batch and its spread, the
ratio to the yardstick's and, on a GPU, the memory that a batch needs besides the weights.

The naive alternative is what a first attempt would do: weights that ask for gradients, `backward()` from the log odds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tuning import SIZES, make_model

from madkit.extraction.forward_pass import trace
from madkit.extraction.trusted_statistics import learn
from madkit.features import Activations, Answers, Attribution, ProbeShift
from madkit.features.feature import Feature
from madkit.lm import forward
from madkit.store.variant import Variant


def make_batch(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Random prompts, without padding, with answers and both labels."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(SIZES[options.size]["vocab_size"], (options.batch, options.length), generator=generator)
    return {
        "input_ids": ids.to(device),
        "attention_mask": torch.ones_like(ids).to(device),
        "choices": torch.tensor([[5, 9]]).repeat(options.batch, 1).to(device),
        "label": (torch.arange(options.batch) % 2).to(device),
        "row": torch.arange(options.batch),
    }


@torch.no_grad()
def plain(lm: Any, batch: dict[str, Any]) -> None:
    lm(batch["input_ids"], logits_to_keep=1)


def naive(lm: Any, batch: dict[str, Any]) -> None:
    lm.requires_grad_(True)
    no, yes = forward.choice_logits(lm(batch["input_ids"], logits_to_keep=1).logits[:, -1], batch["choices"]).unbind(1)
    (yes - no).sum().backward()
    lm.zero_grad(set_to_none=True)


def madkit_pass(lm: Any, batch: dict[str, Any], features: list[Feature]) -> Callable[[], None]:
    """The pass of the extractor; what is learned from trusted prompts is learned before the clock runs."""
    points = {f.name: f.hookpoints(lm) for f in features}
    learned = learn(lm, {Variant(f.name): f for f in features if f.statistics(lm)}, points, [batch])

    def run() -> None:
        traces = trace(lm, features, points, batch)
        with torch.no_grad():
            for feature in features:
                part = traces.pop(feature.name)
                part.learned = learned.get(Variant(feature.name), {})
                feature(part)

    return run


def measure(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Seconds, and GiB besides what was there before (0 on a CPU)."""
    before = 0
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, (torch.cuda.max_memory_allocated() - before) / 2**30 if device.type == "cuda" else 0.0


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="8b" if gpu else "cpu")
    parser.add_argument("--batch", type=int, default=32 if gpu else 8)
    parser.add_argument("--length", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    lm = make_model(options.size).eval()
    device = next(lm.parameters()).device
    batch = make_batch(options, device)
    usual: list[Feature] = [Activations(), Answers()]
    runs: dict[str, Callable[[], None]] = {
        "plain forward pass": lambda: plain(lm, batch),
        "activations, answers": madkit_pass(lm, batch, usual),
        "  + attribution": madkit_pass(lm, batch, [*usual, Attribution()]),
        "  + attribution, all four references": madkit_pass(
            lm, batch, [*usual, *(Attribution(r, k=4) for r in ("mean", "zero", "pca", "gradient"))]
        ),
        "  + probe shift": madkit_pass(lm, batch, [*usual, ProbeShift()]),
        "  + both": madkit_pass(lm, batch, [*usual, Attribution(), ProbeShift()]),
    }
    if not gpu or options.size == "cpu":  # all weights' gradients of an 8B model are as large as the model
        runs["naive: backward() to all weights"] = lambda: naive(lm, batch)
    for run in runs.values():
        run()
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            timings[name].append(measure(run, device))
    yardstick = [seconds for seconds, _ in timings["plain forward pass"]]
    print(f"{options.size}, {options.batch} prompts of {options.length} tokens, {options.rounds} rounds")
    for name, rows in timings.items():
        ratios = [seconds / one for (seconds, _), one in zip(rows, yardstick, strict=True)]
        line = (
            f"  {name:38s} {statistics.median(s for s, _ in rows) * 1e3:9.1f} ms   {statistics.median(ratios):5.2f} x"
        )
        line += f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line + (f"   {max(memory for _, memory in rows):6.2f} GiB" if gpu else ""))


if __name__ == "__main__":
    main()
