"""How a prompt moves, layer by layer, among trusted prompts that got the same answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from madkit.derived.answered import answers_of
from madkit.derived.derived_feature import DerivedFeature, DerivedSite
from madkit.errors import ConfigError, DataError
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant
from madkit.streaming.pool import Pool

#: Distances that are held at once: 64 MiB in float64.
_BLOCK = 2**23


class RankTrajectories(DerivedFeature):
    """For each layer, how many trusted prompts lie nearer than the nearest that got the same answer: (b, layers).

    A prompt with which the model deals as usual comes near its own answer's prompts at a certain layer, and stays.
    Trusted prompts are ranked among the others. PCA or a Mahalanobis distance tell which trajectories are unusual.

    Source: topological evolution dynamics (TED), arXiv 2312.02673, section IV. `tube`: TED++, arXiv 2510.14299: where
    that neighbour is further off than its own neighbours of the same answer are, the rank is the largest there is.

    Args:
        feature: the stored feature, whose sites are the layers; the feature ``answers`` has to be stored too.
        tube: which share of its answer's trusted prompts lies within the tube around one of them [0.5 in the code of
            TED++]; None for TED, which has no tube.

    Raises:
        ConfigError: `tube` is not in (0, 1].
        DataError: when fitting, the trusted prompts all got the same answer, or one answer a single time.
    """

    accumulator = Pool
    pool: Tensor
    answers: Tensor
    radius: Tensor
    widths: Tensor

    def __init__(self, feature: str = "activations", tube: float | None = None) -> None:
        super().__init__(feature)
        if tube is not None and not 0 < tube <= 1:
            raise ConfigError(f"tube={tube} is out of range: give a share above 0 and up to 1, or null")
        self.tube = tube

    @override
    def variants(self) -> list[Variant]:
        return [Variant(self.feature), Variant("answers")]

    @override
    def sites(self, stored: Mapping[Variant, FeatureStore]) -> list[DerivedSite]:
        variant, answers = self.variants()
        sources = [(variant, site) for site in stored[variant].sites]
        return [DerivedSite("layers", None, (*sources, (answers, "logits")))]

    @override
    def estimate(self, statistics: Tensor, widths: Sequence[int]) -> dict[str, Tensor]:
        *layers, logits = statistics.split(list(widths), dim=1)
        answers = answers_of(logits)
        counts = torch.bincount(answers.long(), minlength=2)
        if counts.min() < 2:
            raise DataError(
                f"{self.short}: the model answers {int(counts[0])} trusted prompts with the first choice and "
                f"{int(counts[1])} with the second; ranks need two or more of each"
            )
        radius = statistics.new_full((len(layers), len(statistics)), math.inf)
        if self.tube is not None:
            for x, thickness in zip(layers, radius, strict=True):
                for answer in (False, True):
                    alike = answers == answer
                    # Of each, the distance to the last of that share of the others.
                    k = min(math.ceil(int(counts[int(answer)]) * self.tube), int(counts[int(answer)]) - 1)
                    thickness[alike] = _distances(x[alike], x[alike]).sort(dim=1).values[:, k]
        return {
            "pool": statistics[:, : -widths[-1]].contiguous(),
            "answers": answers,
            "radius": radius,
            "widths": torch.tensor(widths[:-1], device=statistics.device),
        }

    @override
    def vectors(self, sources: Sequence[Tensor], trusted: bool) -> Tensor:
        *layers, logits = sources
        alike = answers_of(logits)[:, None] == self.answers
        pools = self.pool.split(self.widths.tolist(), dim=1)
        step = max(1, _BLOCK // len(self.pool))
        ranks = [
            torch.cat(
                [
                    self._ranks(x, y, radius, same, trusted)
                    for x, same in zip(x.split(step), alike.split(step), strict=True)
                ]
            )
            for x, y, radius in zip(layers, pools, self.radius, strict=True)
        ]
        return torch.stack(ranks, dim=1)

    def _ranks(self, x: Tensor, pool: Tensor, radius: Tensor, alike: Tensor, trusted: bool) -> Tensor:
        """Ranks (b,) at one layer of rows (b, d) among the pool (n, d), `alike` (b, n) in their answer."""
        distances = _distances(x, pool)
        if trusted:
            # Itself, or one that is equal to it in all.
            distances.scatter_(1, distances.masked_fill(~alike, math.inf).argmin(1, keepdim=True), math.inf)
        nearest, which = distances.masked_fill(~alike, math.inf).min(1)
        ranks = (distances < nearest[:, None]).sum(1).double()
        # But for rounding: of a trusted prompt the two may be one distance, computed twice.
        return ranks.masked_fill(nearest > radius[which] * (1 + 1e-6), len(pool) - 1.0)


def _distances(x: Tensor, pool: Tensor) -> Tensor:
    """Euclidean distances (b, n) of rows (b, d) to the pool (n, d), from products of rows about the pool's mean."""
    centre = pool.mean(0)
    return torch.cdist(x - centre, pool - centre)
