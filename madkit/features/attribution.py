"""What each attention head contributes to the answer, compared with what it does on trusted prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError, DataError
from madkit.features.layerwise_feature import LayerwiseFeature
from madkit.features.trace import Trace
from madkit.lm.attention import heads, input_width, output_projection
from madkit.lm.hooks import Hookpoint
from madkit.streaming.accumulator import Accumulator
from madkit.streaming.moments import Moments
from madkit.streaming.variances import Variances

REFERENCES = ("mean", "zero", "pca", "gradient")


class Attribution(LayerwiseFeature):
    r"""The first-order effect, on the log odds, of moving one attention head's output to a reference.

    At the last prompt token, let a be the input of a layer's output projection, in which the heads lie one after
    another. The vector of a site has one element for each (query) head h,

    .. math:: effect_h = (ref - a)_h \cdot \partial f / \partial a_h, \qquad f = logit(Yes) - logit(No),

    with all three quantities at that one tensor (arXiv 2504.08812, section on attribution). The reference is

    - ``mean``: the mean of a over trusted prompts [published];
    - ``zero``: zero;
    - ``pca``: a without the part of it that lies along the head's k principal components of trusted prompts. With
      P_h (k, head size) their unit directions, those of largest variance of a_h about its trusted mean m_h,
      (ref - a)_h = -P_h' P_h (a - m)_h. With k the head's size this is ``mean``; if trusted prompts vary along fewer
      than k directions, it is all of those;
    - ``gradient``: none. The element is the squared norm of the gradient, \|df/da_h\|^2.

    Args:
        reference: one of these.
        k: how many principal components; for ``pca`` only.
        first: the first layer to read.
        step: read every ``step``-th layer from there [every third from 1 in the study].

    Raises:
        ConfigError: an option is out of range.

    Example:
        >>> Attribution().name, Attribution("zero").name
        ('attribution', 'attribution_zero')
    """

    in_name = ("reference",)
    needs_gradients = True

    def __init__(self, reference: str = "mean", k: int = 10, first: int = 1, step: int = 3) -> None:
        super().__init__(first, step)
        if reference not in REFERENCES:
            raise ConfigError(f"Attribution(reference={reference!r}): choose from {', '.join(REFERENCES)}")
        if k < 1:
            raise ConfigError(f"Attribution(k={k}): k must be at least 1")
        self.reference = reference
        self.k = k

    @override
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        modules = [output_projection(lm, layer) for layer in self.sites(lm)]
        sizes = [(input_width(lm.get_submodule(module)) or 0) // heads(lm) for module in modules]
        if self.reference == "pca" and self.k > min(sizes):
            raise ConfigError(f"Attribution(k={self.k}): a head has {min(sizes)} numbers only; choose a smaller k")
        return [Hookpoint(module, "input") for module in modules]

    @override
    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        if self.reference == "mean":
            return {site: Variances() for site in self.sites(lm)}
        if self.reference == "pca":
            return {f"{site}.{head}": Moments() for site in self.sites(lm) for head in range(heads(lm))}
        return {}

    @override
    def observe(self, trace: Trace) -> dict[str, Tensor]:
        by_site = dict(zip(self.sites(trace.lm), trace.activations.values(), strict=True))
        if self.reference == "mean":
            return by_site
        n = heads(trace.lm)
        return {f"{site}.{h}": x for site, a in by_site.items() for h, x in enumerate(_by_head(a, n).unbind(1))}

    @override
    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """Means (d,) by site; or by site and head the mean (head size,) and the components (k, head size)."""
        if self.reference == "mean":
            return {site: variances.mean for site, variances in statistics.items()}
        learned: dict[str, Tensor] = {}
        for name, moments in statistics.items():
            if moments.n < 2:
                raise DataError(f"feature {self.name!r} needs two trusted prompts or more for principal components")
            directions = moments.spectrum.directions[: self.k]
            # Rows of zeros stand for components without variance: there is nothing to ablate along them.
            missing = directions.new_zeros(self.k - len(directions), len(moments.mean))
            learned[f"{name}.components"] = torch.cat([directions, missing])
            learned[f"{name}.mean"] = moments.mean
        return learned

    @override
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """One number a head (B, heads), in float32 or better."""
        n = heads(trace.lm)
        vectors = {}
        for site, (hookpoint, a) in zip(self.sites(trace.lm), trace.activations.items(), strict=True):
            # Products of half-precision numbers are added up in single precision.
            dtype = torch.promote_types(a.dtype, torch.float32)
            gradient = _by_head(trace.gradients[hookpoint].to(dtype), n)
            if self.reference == "gradient":
                vectors[site] = gradient.square().sum(-1)
            else:
                vectors[site] = (self._step(site, _by_head(a.to(dtype), n), trace.learned) * gradient).sum(-1)
        return vectors

    def _step(self, site: str, a: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        """Ref - a, (B, heads, head size)."""
        if self.reference == "zero":
            return -a
        if self.reference == "mean":
            return learned[site].to(a).view(a.shape[1:]) - a
        parts = []
        for head, x in enumerate(a.unbind(1)):
            components = learned[f"{site}.{head}.components"].to(a)
            parts.append((learned[f"{site}.{head}.mean"].to(a) - x) @ components.T @ components)
        return torch.stack(parts, dim=1)


def _by_head(x: Tensor, n: int) -> Tensor:
    """(B, heads * size) as (B, heads, size)."""
    return x.unflatten(1, (n, -1))
