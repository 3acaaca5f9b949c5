"""Evasion: detectors at every site, fitted on the current model, and how far anomalous prompts stand out for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from madkit.errors import ConfigError
from madkit.obfuscation.evaded_detector import EvadedDetector
from madkit.obfuscation.evaded_distance import EvadedConditional, EvadedDelta, EvadedMahalanobis
from madkit.obfuscation.evaded_probe import EvadedProbe
from madkit.obfuscation.site_vectors import SiteVectors
from madkit.streaming import Moments, merge_processes

KINDS: dict[str, type[EvadedDetector]] = {
    "mahalanobis": EvadedMahalanobis,
    "delta": EvadedDelta,
    "conditional": EvadedConditional,
    "probe": EvadedProbe,
}
"""The detectors that a model can be trained against, by name."""


class Evasion:
    """What a model has to pay for prompts that detectors would notice.

    Of each detector there is one at each site, and besides them their mean over sites, as tables of results have it.
    Distances are taken as logarithms. How far anomalous prompts stand out is measured at each fit: the *excess*, the
    difference of mean scores between anomalous and normal prompts of the training in standard deviations of the normal
    ones. The penalty is a sum over prompts of their scores in these units, each detector and site weighted by its
    excess, between -1 and 1: where anomalous prompts do not stand out there is nothing to pay, and where they have
    become less conspicuous than normal ones, which is as telling, the other way is the cheaper one. Its gradient is
    that of Huber's function of the excess, with one factor from the last fit and the other from the prompts at hand.

    As a sum over prompts with weights that stand still between fits, its gradient does not depend on how an effective
    batch is cut into forward passes or shared out over processes.

    Args:
        kinds: names of `KINDS`.
        n_sites: number of sites.

    Raises:
        ConfigError: no kind, an unknown one, or one that is named twice.
    """

    def __init__(self, kinds: Sequence[str], n_sites: int) -> None:
        self.kinds = require_kinds(kinds)
        self._detectors = [[KINDS[kind]() for _ in range(n_sites)] for kind in self.kinds]
        self._fitted: dict[str, Tensor] = {}

    @property
    def fitted(self) -> bool:
        """Whether there are detectors to escape."""
        return bool(self._fitted)

    @property
    def needs_base(self) -> bool:
        """Whether a detector looks at vectors with the adapter off."""
        return any(KINDS[kind].needs_base for kind in self.kinds)

    @property
    def excess(self) -> Tensor:
        """By how many standard deviations anomalous prompts stand out: (kinds, sites + 1), the last one of the mean."""
        return self._fitted["excess"]

    @torch.no_grad()
    def fit(
        self, trusted: Sequence[SiteVectors], normal: Sequence[SiteVectors], anomalous: Sequence[SiteVectors]
    ) -> None:
        """Fit all detectors anew; every process calls this with its share of the prompts.

        Args:
            trusted: vectors at each site of the prompts that detectors learn from.
            normal: of prompts of the training without the quirk.
            anomalous: of those with it.
        """
        for detectors in self._detectors:
            for detector, *vectors in zip(detectors, trusted, normal, anomalous, strict=True):
                detector.fit(*vectors)
        of_normal, of_anomalous = (self._moments(vectors) for vectors in (normal, anomalous))
        spread = of_normal.diagonal.sqrt()
        spread = torch.where(spread > 0, spread, 1.0)
        shape = len(self.kinds), len(trusted) + 1
        self._fitted = {
            "spread": spread.reshape(shape),
            "excess": ((of_anomalous.mean - of_normal.mean) / spread).reshape(shape),
        }
        self._fitted["centre"] = of_normal.mean.reshape(shape)

    def penalty(self, sites: Sequence[SiteVectors]) -> Tensor:
        """What each of b prompts costs, (b,) float64, with gradients; meant for anomalous ones."""
        units = (self._scores(sites) - self._fitted["centre"]) / self._fitted["spread"]
        return (units * self.excess.clamp(-1, 1)).mean((1, 2))

    def state(self) -> dict[str, Any]:
        """Everything that the penalty depends on, for a checkpoint."""
        detectors = [[detector.state() for detector in each] for each in self._detectors]
        return {"kinds": list(self.kinds), "detectors": detectors, "fitted": dict(self._fitted)}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take what `state` gave.

        Raises:
            ConfigError: it is of other detectors.
        """
        if list(state["kinds"]) != list(self.kinds) or len(state["detectors"][0]) != len(self._detectors[0]):
            raise ConfigError(
                f"ckpt_path: the checkpoint was trained against {state['kinds']} and the recipe says "
                f"model.against={list(self.kinds)}: use the recipe that the checkpoint belongs to"
            )
        for detectors, states in zip(self._detectors, state["detectors"], strict=True):
            for detector, own in zip(detectors, states, strict=True):
                detector.restore({name: tensor.to(device) for name, tensor in own.items()})
        self._fitted = {name: tensor.to(device) for name, tensor in state["fitted"].items()}

    def _moments(self, sites: Sequence[SiteVectors]) -> Any:
        rows = self._scores(sites).flatten(1)
        moments = Moments().to(rows.device)
        moments.update(rows)
        return merge_processes(moments).result()

    def _scores(self, sites: Sequence[SiteVectors]) -> Tensor:
        """Scores (b, kinds, sites + 1): of each site, then their mean."""
        by_kind = []
        for kind, detectors in zip(self.kinds, self._detectors, strict=True):
            scores = torch.stack([d.scores(vectors) for d, vectors in zip(detectors, sites, strict=True)], dim=1)
            scores = torch.cat([scores, scores.mean(1, keepdim=True)], dim=1)
            by_kind.append(scores.clamp(min=1e-12).log() if KINDS[kind].is_positive else scores)
        return torch.stack(by_kind, dim=1)


def require_kinds(kinds: Sequence[str]) -> list[str]:
    """The names of detectors to train against.

    Raises:
        ConfigError: no name, an unknown one, or one that is there twice.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) < len(kinds):
        raise ConfigError(f"against={list(kinds)}: name one or more of {', '.join(KINDS)}, each once")
    return list(kinds)
