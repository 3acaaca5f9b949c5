"""One training step of madkit's sparse autoencoders against the step of `sparsify.Trainer`, on the same activations.

    python benchmarks/sae.py                         # d = 4096 by 32 on a GPU, d = 256 by 16 on a CPU
    python benchmarks/sae.py --width 512 --expansion 8

Both sides start from the same weights and take turns in one process, so that a drift of the machine's speed hits both.
A step is what either trainer does between having activations and having the next weights: forward, backward, removal of
the decoder gradient's parallel part, decoder norms, which latents fired, and the same `torch.optim.Adam`. The language
model, logging and the trainers' loops are left out. Printed for each loss: median times, their ratio (above 1 means
that madkit is faster) with the middle half of the ratios of single steps, and the norm of the encoder's gradient from
the auxiliary losses alone. It is 0 in sparsify, which therefore computes less.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from madkit.encoders.sae.sparse_coder import ScaledCoder

AUXK, MULTI = 1 / 32, 1 / 8


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def madkit_loss(encoder: ScaledCoder, x: Tensor, dead: Tensor | None, auxiliary_only: bool = False) -> Tensor:
    losses = encoder.losses(x, dead)
    with torch.no_grad():
        encoder.since_fired.add_(len(x)).masked_fill_(losses.fired > 0, 0)
    auxiliary = AUXK * losses.auxk + MULTI * losses.multi
    return (auxiliary if auxiliary_only else auxiliary + losses.error) / x.numel()


def sparsify_loss(encoder: ScaledCoder, x: Tensor, dead: Tensor | None, auxiliary_only: bool = False) -> Tensor:
    out = encoder.coder(x, dead_mask=dead)
    with torch.no_grad():
        fired = torch.zeros_like(encoder.since_fired, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        encoder.since_fired.add_(len(x)).masked_fill_(fired, 0)
    auxiliary = AUXK * out.auxk_loss + MULTI * out.multi_topk_fvu
    return auxiliary if auxiliary_only else auxiliary + out.fvu


def madkit_projection(encoder: ScaledCoder) -> None:
    encoder.remove_growth()


def sparsify_projection(encoder: ScaledCoder) -> None:
    encoder.coder.remove_gradient_parallel_to_decoder_directions()


@dataclass
class Side:
    """One library's step."""

    loss: Callable[..., Tensor]
    project: Callable[[ScaledCoder], None]
    encoder: ScaledCoder
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adam = torch.optim.Adam([p for p in self.encoder.parameters() if p.requires_grad], lr=1e-4)

    def step(self, x: Tensor, dead: Tensor | None) -> None:
        self.adam.zero_grad()
        self.loss(self.encoder, x, dead).backward()
        self.project(self.encoder)
        self.adam.step()
        self.encoder.coder.set_decoder_norm_to_unit_norm()

    def encoder_gradient(self, x: Tensor, dead: Tensor | None) -> float:
        self.encoder.zero_grad()
        self.loss(self.encoder, x, dead, auxiliary_only=True).backward()
        gradient = self.encoder.coder.encoder.weight.grad
        return 0.0 if gradient is None else float(gradient.norm())


#: Of each loss the share of latents that are dead, and whether Multi-TopK is on.
LOSSES = {"error alone": (0.0, False), "AuxK": (0.1, False), "Multi-TopK": (0.0, True), "both": (0.1, True)}


def measure(loss: str, options: argparse.Namespace, device: str) -> dict[str, float]:
    """Median seconds of either side's step with a loss, quartiles of their ratio, norms of the encoder's gradient."""
    (share, multi), latents = LOSSES[loss], options.width * options.expansion
    torch.manual_seed(0)
    x = torch.randn(options.rows, options.width, device=device)
    cfg = SparseCoderConfig(num_latents=latents, k=options.k, multi_topk=multi)
    first = ScaledCoder(SparseCoder(options.width, cfg, device=device)).to(device)  # drawn where it is used
    dead = torch.rand(latents, device=device) < share if share else None
    sides = {
        "madkit": Side(madkit_loss, madkit_projection, copy.deepcopy(first)),
        "sparsify": Side(sparsify_loss, sparsify_projection, first),
    }
    arrives = {name: side.encoder_gradient(x, dead) for name, side in sides.items()} if share or multi else {}
    for index in range(options.steps + 3):
        for side in sides.values():
            start = clock(device)
            side.step(x, dead)
            if index >= 3:
                side.times.append(clock(device) - start)
    medians = {name: statistics.median(side.times) for name, side in sides.items()}
    ratios = [b / a for a, b in zip(sides["madkit"].times, sides["sparsify"].times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        **medians, "ratio": medians["sparsify"] / medians["madkit"], "low": low, "high": high,
        **{f"{name}_gradient": norm for name, norm in arrives.items()},
    }  # fmt: skip


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
    print(f"{device}, d = {options.width}, {latents} latents, k = {options.k}, {options.rows} rows a step")
    for name in LOSSES:
        of = measure(name, options, device)
        line = "  ".join(f"{side} {of[side] * 1e3:8.1f} ms" for side in ("madkit", "sparsify"))
        norms = "  ".join(
            f"{side} {of[f'{side}_gradient']:.1e}" for side in ("madkit", "sparsify") if f"{side}_gradient" in of
        )
        print(
            f"  {name:12s} {line}  sparsify / madkit {of['ratio']:.2f} ({of['low']:.2f} to {of['high']:.2f})"
            + (f"  encoder gradient: {norms}" if norms else "")
        )


if __name__ == "__main__":
    main()
