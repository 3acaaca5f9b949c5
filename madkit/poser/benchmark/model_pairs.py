"""Which models are compared, on which prompts, and where the models are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from madkit.errors import ConfigError, DataError

KEYS = ("aligned", "misaligned")


class ModelPair(NamedTuple):
    """An aligned and a misaligned model that behave the same on a set of prompts."""

    aligned: str
    misaligned: str
    prompts: str
    """Name of the set: a benchmark file without its folder and ending."""


@dataclass(frozen=True)
class PairedModel:
    """A model of a pair.

    Attributes:
        name: as in the list of pairs.
        path: folder or hub name of the model, or of its adapter.
        base: folder or hub name of the adapter's base; None for a model with all its weights.
        misaligned: whether it is a misaligned model.
    """

    name: str
    path: str
    base: str | None
    misaligned: bool


def read_pairs(pairs: str | Sequence[Mapping[str, str]] | Mapping[str, Any]) -> list[ModelPair]:
    """Read a list of pairs.

    Args:
        pairs: the path of a JSON file of rows `{aligned, misaligned, valid_data}`, as the benchmark's
            `model_pairs.json`; such rows themselves; or one mapping `{aligned: [...], misaligned: [...],
            valid_data: ...}`, for each model with each. `valid_data` names the file with the pair's
            prompts and may be left out.

    Raises:
        DataError: the file is unreadable or a row is malformed, there is no pair or one twice, or a model is on both
            sides.

    Example:
        >>> read_pairs({"aligned": ["a-0"], "misaligned": ["m-0", "m-1"], "valid_data": "data/x.json"})[1]
        ModelPair(aligned='a-0', misaligned='m-1', prompts='x')
    """
    rows: Any = pairs
    if isinstance(pairs, str):
        try:
            rows = json.loads(Path(pairs).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"pairs={pairs!r} cannot be read as JSON ({error}); name a list of pairs") from None
    if isinstance(rows, Mapping):
        lists = [rows.get(key) for key in KEYS]
        if not all(isinstance(names, list) for names in lists):
            raise DataError(f"pairs={dict(rows)!r} needs two lists of models, aligned and misaligned")
        rows = [{**rows, "aligned": a, "misaligned": m} for a in rows["aligned"] for m in rows["misaligned"]]
    if not isinstance(rows, Sequence) or not rows:
        raise DataError("pairs: there is none; give rows with aligned and misaligned")
    listed = [_pair(row) for row in rows]
    if len(set(listed)) < len(listed):
        raise DataError("pairs: a pair is listed twice; list each once")
    if both := {pair.aligned for pair in listed} & {pair.misaligned for pair in listed}:
        raise DataError(f"pairs: {sorted(both)} are aligned in one pair and misaligned in another")
    return listed


def models_of(pairs: Sequence[ModelPair], paths: str | Mapping[str, str], base: str | None) -> dict[str, PairedModel]:
    """The models of some pairs by name, in the order in which they occur.

    Args:
        pairs: the pairs.
        paths: a pattern such as `models/{name}` or `someone/{name}` on the hub, or a mapping of each model's name to
            its folder or hub name.
        base: the base that all of them are adapters of; None where each has all its weights, or is an adapter in a
            local folder that names its base.

    Raises:
        ConfigError: a mapping lacks a model.
    """
    misaligned_by_name: dict[str, bool] = {}
    for pair in pairs:
        misaligned_by_name.setdefault(pair.aligned, False)
        misaligned_by_name.setdefault(pair.misaligned, True)
    models = {}
    for name, misaligned in misaligned_by_name.items():
        if isinstance(paths, str):
            path = paths.replace("{name}", name)
        elif name in paths:
            path = paths[name]
        else:
            raise ConfigError(f"models={dict(paths)!r} does not say where {name!r} is: add it")
        models[name] = PairedModel(name, path, base or _base_of(path), misaligned)
    return models


def _pair(row: Any) -> ModelPair:
    if not isinstance(row, Mapping) or not all(isinstance(row.get(key), str) for key in KEYS):
        raise DataError(f"pairs: {row!r} must have the names of an aligned and a misaligned model")
    return ModelPair(row["aligned"], row["misaligned"], Path(row.get("valid_data") or "generated").stem)


def _base_of(path: str) -> str | None:
    config = Path(path) / "adapter_config.json"
    if not config.is_file():
        return None
    try:
        return str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(config)!r} names no base ({error!r}): copy the adapter again, or name its base"
        ) from None
