"""How what a probe reads and what the model answers come apart, when earlier sites are set to their trusted mean."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.layerwise_feature import LayerwiseFeature
from madkit.features.logistic_probe import fit_probe
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.streaming.accumulator import Accumulator
from madkit.streaming.pool import Pool


class ProbeShift(LayerwiseFeature):
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

    Raises:
        ConfigError: an option is out of range.
    """

    short = "probe"
    needs_gradients = True

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        layers = self.module_names(lm)
        if len(layers) < 2:
            raise ConfigError(
                f"ProbeShift(first={self.first}, step={self.step}): there is one site only, {layers[0]!r}, and nothing "
                "before it; choose a smaller `first` or `step`"
            )
        # Nothing is earlier than the first.
        return layers[1:]

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        self.sites(lm)
        return [Hookpoint(name, "input") for name in self.module_names(lm)]

    @override
    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        # All vectors of each layer with their labels: no probe can be fitted on less.
        return {hookpoint.module: Pool() for hookpoint in self.hookpoints(lm)}

    @override
    def observe(self, trace: Trace) -> dict[str, Tensor]:
        """Vectors, and two columns more: the label, and the row in the table of prompts (B, d + 2)."""
        label = trace.batch["label"].double()
        columns = torch.stack([label, trace.batch["row"].to(label)], dim=1)
        return {hook.module: torch.cat([x.double(), columns], dim=1) for hook, x in trace.activations.items()}

    @override
    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """By layer the mean (d,); from the second on the probe's direction (d,), intercept, C and accuracy."""
        learned: dict[str, Tensor] = {}
        for i, (layer, rows) in enumerate(statistics.items()):
            # By their place in the table: folds that hang on the last digits of vectors differ from card to card.
            rows = rows[rows[:, -1].argsort(stable=True)]
            x, label = rows[:, :-2], rows[:, -2].long()
            learned[f"{layer}.mean"] = x.mean(0)
            if i:
                probe = fit_probe(x, label)
                learned |= {f"{layer}.{name}": torch.as_tensor(value) for name, value in probe.items()}
        return learned

    @override
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """One number for each earlier site (B, number of them), in float32 or better."""
        if trace.pullback is None:
            raise ConfigError("ProbeShift needs a trace with gradients")
        hookpoints = list(trace.activations)
        vectors = {}
        for earlier, last in zip(list(accumulate([[h] for h in hookpoints]))[:-1], hookpoints[1:], strict=True):
            direction = trace.learned[f"{last.module}.direction"]
            slopes = trace.pullback(last, direction, earlier)
            effects = []
            for hookpoint in earlier:
                a = trace.activations[hookpoint]
                a = a.to(torch.promote_types(a.dtype, torch.float32))
                step = trace.learned[f"{hookpoint.module}.mean"].to(a) - a
                effects.append((step * (slopes[hookpoint].to(a) - trace.gradients[hookpoint].to(a))).sum(1))
            vectors[last.module] = torch.stack(effects, dim=1)
        return vectors
