"""One training step of madkit's sparse autoencoders against the step of `sparsify.Trainer`, on the same activations.

    python benchmarks/sae.py                         # d = 4096 by 32 on a GPU, d = 256 by 16 on a CPU
    python benchmarks/sae.py --width 512 --expansion 8

Both sides start from the same weights and take turns in one process, so that a drift of the machine's speed hits both.
A step is: forward, backward, removal of the decoder gradient's parallel part, Adam, decoder norms, and which latents
fired; the language model and the trainers' own loops are left out. Printed for each loss: median times, their ratio
(above 1 means that madkit is faster), and the norm of the encoder's gradient from the auxiliary loss alone, which is 0
in sparsify: that gradient is what a step with an auxiliary loss costs more here.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from madkit.heads.coders import ScaledCoder, new_coder

AUXK, MULTI = 1 / 32, 1 / 8


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def madkit_loss(head: ScaledCoder, x: Tensor, dead: Tensor | None, auxiliary_only: bool = False) -> Tensor:
    found = head.losses(x, dead)
    with torch.no_grad():
        head.since_fired.add_(len(x)).masked_fill_(found.fired > 0, 0)
    auxiliary = AUXK * found.auxk + MULTI * found.multi
    return (auxiliary if auxiliary_only else auxiliary + found.error) / x.numel()


def sparsify_loss(head: ScaledCoder, x: Tensor, dead: Tensor | None, auxiliary_only: bool = False) -> Tensor:
    out = head.coder(x, dead_mask=dead)
    with torch.no_grad():
        fired = torch.zeros_like(head.since_fired, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        head.since_fired.add_(len(x)).masked_fill_(fired, 0)
    auxiliary = AUXK * out.auxk_loss + MULTI * out.multi_topk_fvu
    return auxiliary if auxiliary_only else auxiliary + out.fvu


def step(loss: Callable[..., Tensor], head: ScaledCoder, adam: torch.optim.Optimizer, x: Tensor, dead: Tensor) -> None:
    adam.zero_grad()
    loss(head, x, dead).backward()
    head.coder.remove_gradient_parallel_to_decoder_directions()
    adam.step()
    head.coder.set_decoder_norm_to_unit_norm()


def encoder_gradient(loss: Callable[..., Tensor], head: ScaledCoder, x: Tensor, dead: Tensor | None) -> float:
    head.zero_grad()
    loss(head, x, dead, auxiliary_only=True).backward()
    gradient = head.coder.encoder.weight.grad
    return 0.0 if gradient is None else float(gradient.norm())


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4096 if gpu else 256)
    parser.add_argument("--expansion", type=int, default=32 if gpu else 16)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rows", type=int, default=2048 if gpu else 512)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    device = "cuda" if gpu else "cpu"
    latents = options.width * options.expansion
    x = torch.randn(options.rows, options.width, device=device)
    print(f"{device}, d = {options.width}, {latents} latents, k = {options.k}, {options.rows} rows a step")
    for name, share, multi in (("error alone", 0.0, False), ("AuxK", 0.1, False), ("Multi-TopK", 0.0, True)):
        torch.manual_seed(0)
        first = ScaledCoder(new_coder(options.width, latents, options.k, multi_topk=multi)).to(device)
        dead = torch.rand(latents, device=device) < share if share else None
        sides = {}
        for side, loss in (("madkit", madkit_loss), ("sparsify", sparsify_loss)):
            head = copy.deepcopy(first)
            trained = [p for p in head.parameters() if p.requires_grad]
            sides[side] = (loss, head, torch.optim.Adam(trained, lr=1e-4), [])
        arrives = {}
        if share or multi:
            arrives = {side: encoder_gradient(loss, head, x, dead) for side, (loss, head, _, _) in sides.items()}
        for index in range(options.steps + 3):
            for loss, head, adam, times in sides.values():
                start = clock(device)
                step(loss, head, adam, x, dead)
                if index >= 3:
                    times.append(clock(device) - start)
        medians = {side: statistics.median(times) for side, (*_, times) in sides.items()}
        ratio = medians["sparsify"] / medians["madkit"]
        line = "  ".join(f"{side} {seconds * 1e3:8.1f} ms" for side, seconds in medians.items())
        found = "  ".join(f"{side} {norm:.1e}" for side, norm in arrives.items())
        print(f"  {name:12s} {line}  sparsify / madkit {ratio:.2f}" + (f"  encoder gradient: {found}" if found else ""))


if __name__ == "__main__":
    main()
