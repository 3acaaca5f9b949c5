"""What a monitor costs: of a prompt's forward pass, and of a decoding step, as ratios to the model alone.

    python benchmarks/monitor.py [--hidden 512] [--layers 12] [--tokens 512] [--steps 24] [--repeats 7] [--device cuda]

A Llama with random weights; Mahalanobis distance of activations at every third layer (`Monitor.attached`). With and
without the monitor take turns in one process, and the ratio is that of the medians. With an adapter a monitor reads the
base too, which is a second pass, and no part of this.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor

TOKENIZER = Path(__file__).parents[1] / "bases" / "tiny-llama"


def make_model(hidden: int, layers: int, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """A Llama of that shape, of which nothing is trained."""
    torch.manual_seed(0)
    heads = max(1, hidden // 64)
    config = AutoConfig.for_model(
        "llama", hidden_size=hidden, intermediate_size=int(hidden * 8 / 3), num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, vocab_size=32000, max_position_embeddings=2048,
        eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).to(device, dtype).eval()


def seconds(run: Callable[[], None], device: str) -> float:
    """Processor time of a call; on a GPU, time until it is done."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def ratios(
    hidden: int = 512, layers: int = 12, tokens: int = 512, steps: int = 24, repeats: int = 7,
    device: str = "cpu", dtype: str = "float32", fit: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Time with the monitor by time without, of a forward pass and of a decoding step."""
    model = make_model(hidden, layers, device, getattr(torch, dtype))
    # More prompts to fit on than dimensions, so that distances are in all of them.
    n = fit or 2 * hidden
    prompts = [f"Statement: {i} + {j} = {i + j}" for i in range(50) for j in range(-(-n // 50))][:n]
    monitor = Monitor.fit(model, AutoTokenizer.from_pretrained(TOKENIZER), prompts, batch_size=64, max_length=64)
    ids = torch.randint(1, 4000, (1, tokens), device=device)
    mask = torch.ones_like(ids)

    def forward() -> None:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=mask)

    def write(count: int) -> Callable[[], None]:
        def run() -> None:
            model.generate(input_ids=ids[:, :32], attention_mask=mask[:, :32], max_new_tokens=count, do_sample=False)

        return run

    found = {"forward pass": forward, "writing": write(steps), "one token": write(1)}
    times: dict[tuple[str, bool], list[float]] = {(name, on): [] for name in found for on in (False, True)}
    for repeat in range(repeats + 1):
        for name, run in found.items():
            for on in (False, True):
                with monitor.attached(model, fpr=0.05) if on else nullcontext():
                    taken = seconds(run, device)
                if repeat:  # the first warms up
                    times[name, on].append(taken)
    middle = {key: statistics.median(values) for key, values in times.items()}
    # What the steps after the first token take.
    step = {on: (middle["writing", on] - middle["one token", on]) / (steps - 1) for on in (False, True)}
    return {
        "forward": middle["forward pass", True] / middle["forward pass", False],
        "step": step[True] / step[False],
        "milliseconds": {"forward": 1e3 * middle["forward pass", False], "step": 1e3 * step[False]},
        "sites": len(monitor.state.detectors.sites),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 512), ("layers", 12), ("tokens", 512), ("steps", 24), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    found = ratios(**vars(parser.parse_args()))
    alone = found["milliseconds"]
    print(f"forward pass: {alone['forward']:.1f} ms, with {found['sites']} sites {found['forward']:.3f} times that")
    print(f"decoding step: {alone['step']:.2f} ms, {found['step']:.3f} times that")


if __name__ == "__main__":
    main()
