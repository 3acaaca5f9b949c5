"""EncoderSite: the exact tensor of the exact model that an encoder was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from madkit.errors import ConfigError
from madkit.lm.hooks import Hookpoint
from madkit.lm.text_decoder import layer_names, residual_width
from madkit.runs.atomic import write_json

#: Every token but each text's first, at which models put a huge vector that says nothing of the text.
AFTER_FIRST = "after the first token"
LAST_TOKEN = "last prompt token"


@dataclass(frozen=True)
class EncoderSite:
    """What describes a trained encoder besides its weights; ``config.json`` of its folder."""

    kind: str
    """``flow`` or ``sae``."""
    module: str
    """The module as `named_modules` of the causal LM calls it, such as ``model.layers.23``."""
    side: str
    """``input`` or ``output`` of that module."""
    width: int
    """Length of the vectors."""
    positions: str
    """The token positions that the vectors are from."""
    base: str | None
    """Fingerprint of the base model; None where whoever published the encoder did not say."""
    data: dict[str, Any] = field(default_factory=dict)
    """What the training texts or prompts were."""

    @property
    def hookpoint(self) -> Hookpoint:
        """The tensor that the encoder reads."""
        return Hookpoint(self.module, self.side)  # type: ignore[arg-type]

    @property
    def site(self) -> str:
        """The name of the site in stores and results."""
        return site_name(self.hookpoint)

    def require(self, hookpoint: Hookpoint, width: int, base: str | None = None) -> None:
        """Refuse another tensor or model than the encoder was trained on.

        Args:
            hookpoint: the tensor to be read.
            width: its last dimension.
            base: the fingerprint of the base model; None to accept any.

        Raises:
            ConfigError: one of them differs.
        """
        for what, trained, other in (
            ("hookpoint", site_name(self.hookpoint), site_name(hookpoint)),
            ("width", self.width, width),
            ("base model", self.base, base),
        ):
            if trained is not None and other is not None and trained != other:
                raise ConfigError(
                    f"the {self.kind} of {self.site!r} was trained for {what} {trained} and would read {other}; "
                    "train one there with `madkit fit`"
                )

    def config(self) -> dict[str, Any]:
        """Plain data for ``config.json``."""
        return {"encoder": asdict(self)}

    def save(self, folder: Path) -> None:
        """Write ``config.json``."""
        write_json(folder / "config.json", self.config())

    @classmethod
    def load(cls, folder: Path) -> EncoderSite:
        """Read ``config.json``.

        Raises:
            ConfigError: it is missing, or describes no encoder.
        """
        try:
            return cls(**json.loads((folder / "config.json").read_text())["encoder"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{str(folder)!r} has no config.json of an encoder ({error}); train it again with `madkit fit`"
            ) from error


def site_name(point: Hookpoint) -> str:
    """The name of a hookpoint in stores and folders: the module's, with ``.output`` for what leaves it.

    Example:
        >>> site_name(Hookpoint("model.layers.3", "input")), site_name(Hookpoint("model.layers.3", "output"))
        ('model.layers.3', 'model.layers.3.output')
    """
    return point.module if point.side == "input" else f"{point.module}.output"


def hook_width(lm: nn.Module, point: Hookpoint) -> int:
    """The length of the vectors at a hookpoint: what a linear map takes or gives, else that of the residual stream."""
    module: Any = lm.get_submodule(point.module)
    linear, transposed = ("in_features", "nx") if point.side == "input" else ("out_features", "nf")
    return int(getattr(module, linear, getattr(module, transposed, residual_width(lm))))


def hookpoint_of(site: str) -> Hookpoint:
    """The hookpoint of a site: the inverse of `site_name`.

    Example:
        >>> hookpoint_of("model.layers.3.output")
        Hookpoint(module='model.layers.3', side='output')
    """
    return Hookpoint(site.removesuffix(".output"), "output" if site.endswith(".output") else "input")


def layer_hookpoints(lm: nn.Module, layers: list[int] | None, side: str) -> list[Hookpoint]:
    """What enters or leaves decoder layers.

    Args:
        lm: the model; a skeleton will do.
        layers: layer numbers from 0; None for all.
        side: ``input`` or ``output``.

    Raises:
        ConfigError: there is no such layer, or no such side.
    """
    names = layer_names(lm)
    if side not in ("input", "output"):
        raise ConfigError(f"data.side={side!r}: choose input or output")
    chosen = list(range(len(names))) if layers is None else layers
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= layer < len(names) for layer in chosen):
        raise ConfigError(f"data.layers={layers}: name different layers of the {len(names)} (0..{len(names) - 1})")
    return [Hookpoint(names[layer], side) for layer in chosen]  # type: ignore[arg-type]
