"""The weights of a model are those of its files, all of them, and numbers."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from madkit.errors import ConfigError
from madkit.lm.text_decoder import layer_names

#: Tables that older versions saved, and that are computed today.
_COMPUTED = re.compile(r"inv_freq$|rotary_emb\.|masked_bias$|(attn|attention)\.bias$|position_ids$")


def require_complete(lm: PreTrainedModel, info: dict[str, Any], argument: str, name: str) -> None:
    """Refuse a model some of whose weights are not from its files; transformers makes them up.

    Args:
        lm: the model.
        info: what ``from_pretrained(output_loading_info=True)`` says.
        argument: what the user calls the model.
        name: its name.

    Raises:
        ConfigError: weights are missing, have another shape, or belong to layers that the configuration has not.
    """
    model = f"{argument}={name!r}"
    if mismatched := sorted(info["mismatched_keys"]):
        _, stored, wanted = mismatched[0]
        raise ConfigError(
            f"{model}: {_some([key for key, *_ in mismatched])} of another shape in its files than in config.json "
            f"({list(stored)} and {list(wanted)}): the two do not belong together, download the model again"
        )
    if missing := sorted(info["missing_keys"]):
        raise ConfigError(
            f"{model}: {_some(missing)} not in its files, and would be random: download or train the model again"
        )
    unexpected = sorted(key for key in info["unexpected_keys"] if not _COMPUTED.search(key))
    layers = layer_names(lm)[0].rpartition(".")[0] + "."
    if inside := [key for key in unexpected if key.startswith(layers)]:
        raise ConfigError(
            f"{model}: {_some(inside)} in its files, and the architecture of config.json has no place for it: the two "
            "do not belong together, download the model again"
        )
    if unexpected:
        rank_zero_warn(f"{model}: {_some(unexpected)} in its files and no part of {type(lm).__name__}: left out")


def require_numbers(lm: PreTrainedModel, argument: str, name: str) -> None:
    """Refuse a model whose weights are NaN or infinite.

    Raises:
        ConfigError: naming one of them.
    """
    bad = [key for key, weight in lm.named_parameters() if not _is_finite(weight)]
    if bad:
        raise ConfigError(
            f"{argument}={name!r}: {_some(bad)} NaN or infinite in places: download or train the model again, or try "
            "another dtype"
        )


@torch.no_grad()
def _is_finite(weight: torch.Tensor) -> bool:
    if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2:  # quantised ones have no NaN
        return True
    # One pass without a copy; in single precision, so that a sum of half-precision numbers stays finite.
    total = weight.sum(dtype=torch.promote_types(weight.dtype, torch.float32))
    return bool(total.isfinite()) or bool(weight.isfinite().all())


def _some(names: Collection[str]) -> str:
    """The first of some names, how many there are, and a verb.

    Example:
        >>> _some(["a.weight"]), _some(["a.weight", "b.weight"])
        ("the weight 'a.weight' is", "2 weights, the first of them 'a.weight', are")
    """
    first = next(iter(names))
    return f"the weight {first!r} is" if len(names) == 1 else f"{len(names)} weights, the first of them {first!r}, are"
