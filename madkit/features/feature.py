"""What a feature is: a prompt becomes one vector per site."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.features.trace import Trace
from madkit.lm.hooks import Hookpoint
from madkit.runs.configured import Configured
from madkit.runs.fingerprints import code_digest
from madkit.runs.naming import labelled
from madkit.streaming.accumulator import Accumulator

SPLITS = ("trusted", "untrusted", "calibration", "test", "distractor")


class Feature(Configured, ABC):
    """A feature turns what passes through an LM into one vector per site.

    A subclass says where it reads (``hookpoints``), what its vectors are called (``sites``) and how they are computed
    (``__call__``); the extractor runs as few forward passes as all features together need. It keeps each constructor
    argument as an attribute of the same name. Arguments must be plain, because they identify the feature in the store.
    So does the code of the class: the vectors of an edited feature are computed again.

    A feature that must know the trusted prompts before it can be computed says what to accumulate over them
    (``statistics``, ``observe``) and what follows from it (``learn``). The extractor does so once, over all
    processes, and keeps the outcome in the feature's store; each ``Trace`` then brings it along.

    Whether the LM's adapter is on is the extractor's business: a feature must not depend on it.

    Class attributes:
        short: the stem of ``name``; the class name in snake case unless given.
        in_name: the options that ``name`` mentions when they are not at their default.
        needs: what it needs besides the tuned model and trusted prompts: ``base model``, ``adapter weights``. Where the
            latter, the skeletons that it is given have the adapter's modules in them.
        needs_logits: whether the forward pass has to run to the end.
        needs_gradients: whether a backward pass has to follow it, from the log odds to the hookpoints.

    Attributes:
        splits: the splits it is made for.
    """

    in_name: ClassVar[tuple[str, ...]] = ()
    needs: tuple[str, ...] = ()
    needs_logits: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    splits: Sequence[str] = SPLITS

    @property
    @override
    def name(self) -> str:
        options = self.options()
        shown = {key: value for key, value in self.config.items() if key in self.in_name}
        return labelled(self.short, {key: value for key, value in shown.items() if value != options[key].default})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def identity(self) -> dict[str, Any]:
        """Everything that decides the vectors besides the LM and the prompts, as plain data; see `prepare`."""
        plain = {"class": type(self).__name__, "source": self.source(), "options": self.config}
        return {**plain, "needs": list(self.needs)} if self.needs else plain

    @classmethod
    def source(cls) -> str:
        """A digest of the modules that define the class and its bases up to `Feature`.

        Raises:
            ConfigError: the class was typed in at a prompt and is in no file.
        """
        try:
            inspect.getfile(cls)
        except (OSError, TypeError):
            raise ConfigError(
                f"feature {cls.__name__} is in no file, so an edited one could not be told from the old one: define it "
                "in a module and name it by class_path"
            ) from None
        return code_digest(cls, stop=Feature)

    def prepare(self, lm: nn.Module, base: str, folder: Path) -> None:
        """Load what the feature needs besides the LM, before any other method is called.

        Args:
            lm: a skeleton of the base model, without weights.
            base: the fingerprint of its weights.
            folder: the run folder.
        """

    @abstractmethod
    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:
        """Where to read; ``lm`` may be a skeleton without weights."""

    @abstractmethod
    def sites(self, lm: nn.Module) -> list[str]:
        """Names of the vectors, in order; ``lm`` may be a skeleton without weights."""

    def layers(self, lm: nn.Module) -> list[int | None]:
        """The layer that each site belongs to, counted from 0, where it belongs to one."""
        return [layer_of(site) for site in self.sites(lm)]

    def widths(self, lm: nn.Module) -> dict[str, int]:
        """The length of the vectors of each sparse site; a site that is not here is dense."""
        return {}

    @abstractmethod
    def __call__(self, trace: Trace) -> dict[str, Tensor]:
        """The vectors (B, d) of a batch by site; of a sparse site, ``<site>.indices`` and ``<site>.values`` (B, k)."""

    def statistics(self, lm: nn.Module) -> dict[str, Accumulator]:
        """Empty statistics of trusted prompts by name, or none where the feature has nothing to learn."""
        return {}

    def observe(self, trace: Trace) -> dict[str, Tensor]:
        """The rows (B, d) of a trusted batch that each statistic is to be given; no logits, no gradients."""
        return {}

    def learn(self, statistics: Mapping[str, Any]) -> dict[str, Tensor]:
        """What follows from the results of the statistics, as the tensors that a ``Trace`` will bring along."""
        return {}


def layer_of(site: str) -> int | None:
    """The layer number in a module's name, if it has one.

    Example:
        >>> layer_of("model.layers.12"), layer_of("logits")
        (12, None)
    """
    match = re.search(r"\.(\d+)(?:\.|$)", site)
    return int(match.group(1)) if match else None
