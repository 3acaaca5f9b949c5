"""What features that read every so many layers have in common."""

from __future__ import annotations

from torch import nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.feature import Feature
from madkit.lm.hooks import every_nth_layer


class LayerwiseFeature(Feature):
    """A feature that reads every ``step``-th decoder layer from layer ``first`` on, and has a site for each.

    Args:
        first: the first layer to read.
        step: read every ``step``-th layer from there [every third from 1 in the study].

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(self, first: int = 1, step: int = 3) -> None:
        if first < 0 or step < 1:
            raise ConfigError(
                f"{type(self).__name__}(first={first}, step={step}): first must be at least 0 and step at least 1"
            )
        self.first = first
        self.step = step

    def module_names(self, lm: nn.Module) -> list[str]:
        """The layers' module names."""
        return every_nth_layer(lm, self.first, self.step, type(self).__name__)

    @override
    def sites(self, lm: nn.Module) -> list[str]:
        return self.module_names(lm)
