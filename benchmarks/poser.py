"""Perturbations of activations a second: POSER's measurement against a forward pass for each of them.

    python benchmarks/poser.py                            # a small Llama on a CPU, 8B-shaped in bf16 on a GPU
    python benchmarks/poser.py --batch 32 --length 400

A perturbation is one vector, at one strength, added to one layer's output at the last token of one prompt. `forward
passes` is how one writes it with transformers: a hook, and the model run on all tokens for each vector and strength, as
the published code does. `madkit` runs all tokens but the last once. Both perturb a batch of prompts at a time, by a
random direction and by noise, at 21 strengths each. The sides take turns in one process; printed are median seconds (of
CPU where there is no GPU), perturbations a second, and the median ratio of the turns. Fails if the probabilities of
the answers differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor
from tuning import SIZES, make_model

from madkit.lm.text_decoder import layer_names
from madkit.poser.measure.answer_tables import perturbed_table
from madkit.poser.measure.perturbations import GaussianNoise, Perturbation, RandomDirection
from madkit.poser.measure.repeated_batch import RepeatedBatch

SIZES["small"] = {
    "hidden_size": 128, "intermediate_size": 336, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 512,
}  # fmt: skip


def make_batch(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Random prompts of one length."""
    ids = torch.randint(1, 500, (options.batch, options.length), generator=torch.Generator().manual_seed(0))
    choices = torch.tensor([[3, 7]]).expand(len(ids), -1)
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "choices": choices}
    return {
        **{name: tensor.to(device) for name, tensor in tensors.items()},
        "row": list(range(len(ids))),
        "length": [options.length] * len(ids),
    }


def by_madkit(lm: Any, batch: dict[str, Any], kinds: list[Perturbation], steering: dict[int, Tensor]) -> Tensor:
    """Probabilities of the benign answer, (kinds, coefficients, prompts)."""
    repeated = RepeatedBatch(lm, batch, cached=True)
    layer = next(iter(steering))
    tables = [perturbed_table(repeated, kind, steering, layer)["p_benign"] for kind in kinds]
    return torch.stack([torch.tensor(table.to_numpy()).unflatten(0, (-1, len(batch["row"]))) for table in tables])


@torch.no_grad()
def by_passes(lm: Any, batch: dict[str, Any], kinds: list[Perturbation], steering: dict[int, Tensor]) -> Tensor:
    """The same with a hook and a forward pass each."""
    (layer, direction), found = next(iter(steering.items())), []
    module = lm.get_submodule(layer_names(lm)[layer])
    for kind in kinds:
        unit = kind.vector(direction, layer, 0, batch["length"], batch["row"]).to(lm.device)
        for coefficient in kind.coefficients:

            def hook(module: Any, args: Any, output: Any, vector: Tensor = unit[:, -1] * coefficient) -> Any:
                hidden = output[0] if isinstance(output, tuple) else output
                hidden[:, -1] += vector.to(hidden.dtype)

            handle = module.register_forward_hook(hook)
            logits = lm(batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=1).logits[:, -1]
            handle.remove()
            found.append(logits.double().softmax(-1).gather(1, batch["choices"])[:, 0].cpu())
    return torch.stack(found).unflatten(0, (len(kinds), -1))


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="8b" if gpu and "8b" in SIZES else "small", choices=SIZES)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lm = make_model(options.size).eval()
    batch = make_batch(options, "cuda" if gpu else "cpu")
    layer = lm.config.num_hidden_layers // 2
    steering = {layer: torch.randn(lm.config.hidden_size, generator=torch.Generator().manual_seed(1))}
    kinds: list[Perturbation] = [RandomDirection(), GaussianNoise()]
    sides = {"madkit": by_madkit, "forward passes": by_passes}
    times: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for turn in range(options.rounds + 1):
        for name, side in sides.items():
            if gpu:
                torch.cuda.synchronize()
            clock = time.perf_counter if gpu else time.process_time
            start = clock()
            values[name] = side(lm, batch, kinds, steering)
            if gpu:
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - start)
    count = sum(len(kind.coefficients) for kind in kinds) * options.batch
    ratio = statistics.median(b / a for a, b in zip(times["madkit"], times["forward passes"], strict=True))
    print(f"{options.size}, {options.batch} prompts of {options.length} tokens, {count} perturbations")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:15s} {middle:8.3f} s  {count / middle:8.0f} a second")
    print(f"  forward passes / madkit {ratio:.1f}")
    apart = float((values["madkit"] - values["forward passes"]).abs().max())
    if not apart < (1e-2 if gpu else 1e-5):
        sys.exit(f"the probabilities of the answers differ by {apart:.1e}")


if __name__ == "__main__":
    main()
