"""What each attention head contributes to the answer, compared with what it does on trusted prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError, DataError
from madkit.features.feature import Feature, Reading
from madkit.lm.attention import heads, output_projection
from madkit.lm.hooks import Hookpoint, every_nth_layer
from madkit.streaming.accumulator import Accumulator
from madkit.streaming.moments import Moments
from madkit.streaming.variances import Variances

REFERENCES = ("mean", "zero", "pca", "gradient")


class Attribution(Feature):
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
        adapter: ``false`` reads the same prompts with the LoRA switched off: a control, called ``base_...``.

    Raises:
        ConfigError: an option is out of range.

    Example:
        >>> Attribution().name, Attribution("zero", adapter=False).name
        ('attribution', 'base_attribution_zero')
    """

    needs_gradients = True

    def __init__(
        self, reference: str = "mean", k: int = 10, first: int = 1, step: int = 3, adapter: bool = True
    ) -> None:
        if reference not in REFERENCES:
            raise ConfigError(f"Attribution(reference={reference!r}): choose from {', '.join(REFERENCES)}")
        if k < 1 or first < 0 or step < 1:
            raise ConfigError(
                f"Attribution(k={k}, first={first}, step={step}): k and step must be at least 1 and first at least 0"
            )
        self.reference = reference
        self.k = k
        self.first = first
        self.step = step
        self.adapter = adapter
        own = "attribution" if reference == "mean" else f"attribution_{reference}"
        self.name = own if adapter else f"base_{own}"

    def sites(self, lm: nn.Module) -> list[str]:
        """The layers' module names."""
        return every_nth_layer(lm, self.first, self.step, "Attribution")

    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """What enters each layer's output projection."""
        points = [Hookpoint(output_projection(lm, layer), "input") for layer in self.sites(lm)]
        sizes = [int(lm.get_submodule(p.module).in_features) // heads(lm) for p in points]  # type: ignore[arg-type]
        if self.reference == "pca" and self.k > min(sizes):
            raise ConfigError(f"Attribution(k={self.k}): a head has {min(sizes)} numbers only; choose a smaller k")
        return points

    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        """The mean of a at each site, or each head's mean and covariance."""
        if self.reference == "mean":
            return {site: Variances() for site in self.sites(lm)}
        if self.reference == "pca":
            return {f"{site}.{head}": Moments() for site in self.sites(lm) for head in range(heads(lm))}
        return {}

    def observe(self, reading: Reading) -> dict[str, Tensor]:
        """The values of a, whole or head by head."""
        by_site = dict(zip(self.sites(reading.lm), reading.values.values(), strict=True))
        if self.reference == "mean":
            return by_site
        n = heads(reading.lm)
        return {f"{site}.{h}": x for site, a in by_site.items() for h, x in enumerate(_by_head(a, n).unbind(1))}

    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """Means (d,) by site; or by site and head the mean (head size,) and the components (k, head size)."""
        if self.reference == "mean":
            return {site: found.mean for site, found in statistics.items()}
        learned: dict[str, Tensor] = {}
        for name, found in statistics.items():
            if found.n < 2:
                raise DataError(f"feature {self.name!r} needs two trusted prompts or more for principal components")
            directions = found.spectrum.directions[: self.k]
            # Rows of zeros stand for components without variance: there is nothing to ablate along them.
            missing = directions.new_zeros(self.k - len(directions), len(found.mean))
            learned[f"{name}.components"] = torch.cat([directions, missing])
            learned[f"{name}.mean"] = found.mean
        return learned

    def __call__(self, reading: Reading) -> dict[str, Tensor]:
        """One number a head (B, heads), in float32 or better."""
        n = heads(reading.lm)
        vectors = {}
        for site, (point, a) in zip(self.sites(reading.lm), reading.values.items(), strict=True):
            # Products of half-precision numbers are added up in single precision.
            dtype = torch.promote_types(a.dtype, torch.float32)
            gradient = _by_head(reading.gradients[point].to(dtype), n)
            if self.reference == "gradient":
                vectors[site] = gradient.square().sum(-1)
            else:
                vectors[site] = (self._step(site, _by_head(a.to(dtype), n), reading.learned) * gradient).sum(-1)
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

    def options(self) -> dict[str, Any]:
        """Plain options; k only where it matters."""
        options = {"class": "Attribution", "reference": self.reference, "first": self.first, "step": self.step}
        return options | {"adapter": self.adapter} | ({"k": self.k} if self.reference == "pca" else {})


def _by_head(x: Tensor, n: int) -> Tensor:
    """(B, heads * size) as (B, heads, size)."""
    return x.unflatten(1, (n, -1))
