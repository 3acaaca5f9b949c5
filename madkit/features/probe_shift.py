"""How what a probe reads and what the model answers come apart, when earlier sites are set to their trusted mean."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError
from madkit.features.feature import Feature, Reading
from madkit.features.logistic_probe import fit_probe
from madkit.lm.hooks import Hookpoint, every_nth_layer
from madkit.streaming.accumulator import Accumulator
from madkit.streaming.pool import Pool


class ProbeShift(Feature):
    r"""The effect of ablating earlier sites on a probe of the label, minus their effect on the log odds.

    Let a_i be the residual stream entering site i at the last prompt token, m_i its mean over trusted prompts, p_j the
    logit of a logistic probe of the prompt's label at site j, and f = logit(Yes) - logit(No). The vector of site j has
    one element for each earlier site i,

    .. math:: (m_i - a_i) \cdot \partial p_j / \partial a_i - (m_i - a_i) \cdot \partial f / \partial a_i,

    the ablations being linearised (arXiv 2504.08812, section on attribution). Nothing is earlier than the first site,
    so that one has no vector. The forward pass is followed by one backward pass for f, and one for each probe that
    starts at its site.

    Probes are fitted on trusted prompts only, on standardised vectors, with the strength of the L2 penalty that has
    the lowest cross-validated log loss. They are kept in the store with it (``C``, scikit-learn's) and with their
    cross-validated ``accuracy``.

    Args:
        first: the first layer to read.
        step: read every ``step``-th layer from there [every third from 1 in the study].
        adapter: ``false`` reads the same prompts with the LoRA switched off: a control, called ``base_probe``.

    Raises:
        ConfigError: an option is out of range.
    """

    needs_gradients = True

    def __init__(self, first: int = 1, step: int = 3, adapter: bool = True) -> None:
        if first < 0 or step < 1:
            raise ConfigError(f"ProbeShift(first={first}, step={step}): first must be at least 0 and step at least 1")
        self.first = first
        self.step = step
        self.adapter = adapter
        self.name = "probe" if adapter else "base_probe"

    def sites(self, lm: nn.Module) -> list[str]:
        """The layers' module names, without the first."""
        layers = every_nth_layer(lm, self.first, self.step, "ProbeShift")
        if len(layers) < 2:
            raise ConfigError(
                f"ProbeShift(first={self.first}, step={self.step}): there is one site only, {layers[0]!r}, and nothing "
                "before it; choose a smaller `first` or `step`"
            )
        return layers[1:]

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """What enters each layer, the first included."""
        self.sites(lm)
        return [Hookpoint(name, "input") for name in every_nth_layer(lm, self.first, self.step, "ProbeShift")]

    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        """All vectors of each layer with their labels, for no probe can be fitted on less."""
        return {point.module: Pool() for point in self.hookpoints(lm)}

    def observe(self, reading: Reading) -> dict[str, Tensor]:
        """Vectors, and the label as one more column (B, d + 1)."""
        label = reading.batch["label"][:, None].double()
        return {point.module: torch.cat([x.double(), label], dim=1) for point, x in reading.values.items()}

    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """By layer the mean (d,); from the second on the probe's direction (d,), intercept, C and accuracy."""
        learned: dict[str, Tensor] = {}
        for i, (layer, rows) in enumerate(statistics.items()):
            x, label = rows[:, :-1], rows[:, -1].long()
            learned[f"{layer}.mean"] = x.mean(0)
            if i:
                found = fit_probe(x, label)
                learned |= {f"{layer}.{name}": torch.as_tensor(value) for name, value in found.items()}
        return learned

    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """One number for each earlier site (B, number of them), in float32 or better."""
        if reading.pullback is None:
            raise ConfigError("ProbeShift needs a reading with gradients")
        points = list(reading.values)
        vectors = {}
        for earlier, point in zip(list(accumulate([[p] for p in points]))[:-1], points[1:], strict=True):
            direction = reading.learned[f"{point.module}.direction"]
            slopes = reading.pullback(point, direction, earlier)
            effects = []
            for p in earlier:
                a = reading.values[p]
                a = a.to(torch.promote_types(a.dtype, torch.float32))
                step = reading.learned[f"{p.module}.mean"].to(a) - a
                effects.append((step * (slopes[p].to(a) - reading.gradients[p].to(a))).sum(1))
            vectors[point.module] = torch.stack(effects, dim=1)
        return vectors

    def options(self) -> dict[str, Any]:
        """Plain options."""
        return {"class": "ProbeShift", "first": self.first, "step": self.step, "adapter": self.adapter}
