"""Reading activations and answers of a batch: madkit's pass against what one would write with transformers alone.

    python benchmarks/extraction.py            # 8B-shaped in bf16 on a GPU, a small Llama in float32 on a CPU
    python benchmarks/extraction.py --size cpu --batch 4 --passes 50

Everyone reads the last token's residual stream at every third layer, and the next token's logits, of the same random
weights and prompts. `hidden states` is transformers' `output_hidden_states=True`; `hooks` has a hook on every layer
that keeps all of the sequence. Both compute logits of the last position alone, as madkit does, which favours them: by
default transformers computes those of all positions. `activations alone` needs no logits, so its pass stops at the last
layer that is read. Time is measured in one process in which the sides take turns at every pass, so that a drift of the
machine's speed hits all; peak memory in a process for each side. Printed: median time of a batch; its multiple of
madkit's time in the same turn, with the middle half of the turns; and peak memory besides the weights, with its
multiple. Fails if the vectors differ. Memory on a CPU needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attribution import make_batch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tuning import SIZES, make_model

from madkit.extraction.forward_pass import trace
from madkit.features import Activations, Answers
from madkit.features.feature import Feature
from madkit.lm.text_decoder import layer_names

# As in Llama 3.1 8B, whose layer 31 of 32 is the last that is read, all but one layer is needed.
SIZES["cpu"] = SIZES["cpu"] | {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8}
FIRST, STEP = 1, 3
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # of the largest value of a layer
Vectors = dict[str, Tensor]


def madkit_pass(lm: Any, batch: dict[str, Any], *others: Feature) -> Vectors:
    features = [Activations(FIRST, STEP), *others]
    traces = trace(lm, features, {f.name: f.hookpoints(lm) for f in features}, batch)
    return {site: x for f in features for site, x in f(traces[f.name]).items()}


def chosen(lm: Any, sequences: dict[int, Tensor], logits: Tensor, batch: dict[str, Any]) -> Vectors:
    """The last token's vectors out of sequences (B, T, d) by layer, and the answers' logits."""
    names = layer_names(lm)
    # Copies, as a view would keep its sequence alive until the next batch has been read.
    vectors = {names[layer]: sequences[layer][:, -1].clone() for layer in range(FIRST, len(names), STEP)}
    return {**vectors, "logits": torch.gather(logits[:, -1].float(), 1, batch["choices"])}


def hidden_states(lm: Any, batch: dict[str, Any]) -> Vectors:
    ids, mask = batch["input_ids"], batch["attention_mask"]
    out = lm(ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1)
    return chosen(lm, dict(enumerate(out.hidden_states)), out.logits, batch)


def hooks(lm: Any, batch: dict[str, Any]) -> Vectors:
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        return lambda module, args, kwargs: kept.update({layer: args[0] if args else kwargs["hidden_states"]})

    handles = [
        lm.get_submodule(name).register_forward_pre_hook(keep(layer), with_kwargs=True)
        for layer, name in enumerate(layer_names(lm))
    ]
    out = lm(batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=1)
    for handle in handles:
        handle.remove()
    return chosen(lm, kept, out.logits, batch)


SIDES: dict[str, Callable[[Any, dict[str, Any]], Vectors]] = {
    "madkit": lambda lm, batch: madkit_pass(lm, batch, Answers()),
    "activations alone": madkit_pass,
    "hidden states": hidden_states,
    "hooks": hooks,
}


def resident(which: str) -> float:
    """Resident memory of this process in GiB: ``VmRSS``, now, or ``VmHWM``, at its peak."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) / 2**20


@torch.no_grad()
def memory(side: str, options: argparse.Namespace) -> tuple[float, Vectors]:
    """GiB of the peak of a batch besides the weights, and its vectors."""
    lm = make_model(options.size).eval()
    device = next(lm.parameters()).device
    batch = make_batch(options, device)
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = torch.cuda.memory_allocated() / 2**30 if gpu else resident("VmRSS")
    for _ in range(2):
        vectors = SIDES[side](lm, batch)
    peak = torch.cuda.max_memory_allocated() / 2**30 if gpu else resident("VmHWM")
    return peak - before, {name: x.cpu().contiguous() for name, x in vectors.items()}


@torch.no_grad()
def race(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every pass of each side; another side begins each turn."""
    lm = make_model(options.size).eval()
    device = next(lm.parameters()).device
    batch = make_batch(options, device)
    sides = list(SIDES)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(-2, options.passes):
        first = turn % len(sides)
        for side in sides[first:] + sides[:first]:
            start = time.perf_counter()
            SIDES[side](lm, batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= 0:
                times[side].append(time.perf_counter() - start)
    return times


def apart(side: str, options: argparse.Namespace) -> tuple[float, Vectors]:
    """`memory` in a separate process, whose allocator returns what is freed."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, __file__, "--side", side, "--out", f"{folder}/vectors.safetensors"]
        for name in ("size", "batch", "length"):
            line += [f"--{name}", str(getattr(options, name))]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        return json.loads(done.stdout.strip().splitlines()[-1]), load_file(f"{folder}/vectors.safetensors")


def difference(vectors: Vectors, expected: Vectors) -> float:
    """The largest difference, as a share of the largest value at its site."""
    shares = [
        (x.double() - expected[site].double()).abs().max() / expected[site].double().abs().max()
        for site, x in vectors.items()
    ]
    return float(torch.stack(shares).max())


def measure(options: argparse.Namespace, run: Callable[..., tuple[float, Vectors]]) -> dict[str, dict[str, float]]:
    """Of each side seconds of a batch, quartiles of its multiple of madkit's, GiB, and how far its vectors are off."""
    results = {side: run(side, options) for side in SIDES}
    _, expected = results["madkit"]
    times, measured = race(options), dict[str, dict[str, float]]()
    for side, (peak, vectors) in results.items():
        low, middle, high = statistics.quantiles(
            [a / b for a, b in zip(times[side], times["madkit"], strict=True)], n=4
        )
        wrong = difference(vectors, expected)
        seconds = statistics.median(times[side])
        measured[side] = {
            "seconds": seconds, "low": low, "ratio": middle, "high": high, "gib": peak, "difference": wrong,
        }  # fmt: skip
        if not wrong <= TOLERANCE[next(iter(expected.values())).dtype]:
            sys.exit(f"{side}: its vectors are not madkit's")
    return measured


def compare(options: argparse.Namespace, run: Callable[..., tuple[float, Vectors]]) -> None:
    measured = measure(options, run)
    print(f"{options.size}, {options.batch} prompts of {options.length} tokens, {options.passes} passes")
    for side, of in measured.items():
        print(
            f"  {side:18s} {of['seconds'] * 1e3:9.1f} ms  {of['ratio']:5.2f} x ({of['low']:.2f} to {of['high']:.2f})"
            f"   {of['gib']:8.3f} GiB  {of['gib'] / max(measured['madkit']['gib'], 1e-9):5.2f} x"
            f"   largest difference {of['difference']:.1e}"
        )


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="8b" if gpu else "cpu")
    parser.add_argument("--batch", type=int, default=64 if gpu else 8)
    parser.add_argument("--length", type=int, default=80)
    parser.add_argument("--passes", type=int, default=20, help="timed passes of each side, at least 2")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        peak, vectors = memory(options.side, options)
        save_file(vectors, options.out)
        print(json.dumps(peak))
    else:
        compare(options, apart)


if __name__ == "__main__":
    main()
