"""Whether the base that an adapter is read into is the one that it was trained on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_warn

from madkit.errors import ConfigError
from madkit.lm.adapters.adapter_folder import WEIGHTS, AdapterFolder
from madkit.lm.adapters.base_weights import BaseWeights
from madkit.runs import fingerprints
from madkit.runs.atomic import write_json
from madkit.runs.hub import hub_name

FILE = "base.json"

#: Names of folders that say nothing about which model is in them.
_ANYTHING = re.compile(r"(base|model|base[-_]model|merged|final|latest|last|best|output|weights|hf|checkpoint.*|\d*)$")
_CACHED = re.compile(r"models--([^/]+?)--([^/]+?)/snapshots/[^/]+/?$")


def record_base(folder: Path, name: str, base: str, weights: str) -> None:
    """Write beside an adapter which base it was trained on.

    Args:
        folder: the adapter's.
        name: what its adapter_config.json calls the base.
        base: folder or hub name of the base, with its revision.
        weights: the digest of its `BaseWeights`.
    """
    adapter = fingerprints.file_digest(folder / WEIGHTS)
    write_json(folder / FILE, {"name": name, "fingerprint": _fingerprint(base), "weights": weights, "adapter": adapter})


def require_base(adapter: AdapterFolder, base: str, weights: BaseWeights, accepted: str | None) -> None:
    """Refuse a base that an adapter was not trained on.

    Bases are told apart by the fingerprint that `madkit fit` leaves beside an adapter, wherever their folders lie and
    whatever they are called; an adapter from elsewhere has the base's name only.

    Args:
        adapter: the adapter.
        base: what the user named as its base.
        weights: what has been loaded from there.
        accepted: name or fingerprint of the adapter's base that the user says is this one.

    Raises:
        ConfigError: the adapter was trained on another base.
    """
    recorded = _recorded(adapter)
    if recorded is not None:
        if recorded["weights"] == weights.digest or accepted in (recorded["name"], recorded["fingerprint"]):
            return
        now = _fingerprint(base)
        if now is None or now != recorded["fingerprint"]:
            raise ConfigError(
                f"{adapter.label} was trained on {recorded['name']!r}, whose weights (fingerprint "
                f"{recorded['fingerprint']}) are not those of model.base={base!r} ({now}): name the base that it was "
                "trained on, or run `madkit fit` again; to read it all the same, say "
                f"`--model.adapter_base {recorded['fingerprint'] or recorded['name']}`"
            )
        return
    named = _named(adapter)
    if not named:
        rank_zero_warn(f"{adapter.label} does not say which base it was trained on: make sure that it is {base!r}")
    elif accepted != named and not _same(str(named), base):
        raise ConfigError(
            f"{adapter.label} was trained on {named!r} (its adapter_config.json), not on model.base={base!r}: name "
            f"that base, or, if the two are the same weights, say `--model.adapter_base {named}`"
        )


def _named(adapter: AdapterFolder) -> str | None:
    return adapter.settings.get("base_model_name_or_path")


def _recorded(adapter: AdapterFolder) -> dict[str, Any] | None:
    """What is recorded of an adapter's base; None where it is not of this adapter, but of one that lay there before."""
    file = adapter.path / FILE
    if not file.exists():
        return None
    try:
        recorded = json.loads(file.read_text())
        recorded = {name: recorded[name] for name in ("name", "fingerprint", "weights", "adapter")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(file)!r} is damaged ({type(error).__name__}): copy the adapter again, or run `madkit fit` again"
        ) from error
    same = recorded["name"] == _named(adapter) and recorded["adapter"] == fingerprints.file_digest(
        adapter.path / WEIGHTS
    )
    return recorded if same else None


def _same(named: str, base: str) -> bool:
    """Whether two names can be those of one model."""
    there, here = _stored(named), _stored(base)
    if there is not None and here is not None:  # what is in the folders decides, not what they are called
        if there.samefile(here):
            return True
        if (one := _fingerprint(str(there))) is not None:
            return one == _fingerprint(str(here))
    last = _last(named)
    return last == _last(base) and not _ANYTHING.match(last)


def _last(name: str) -> str:
    """The last part of a model's name, of the hub's cache too."""
    cached = _CACHED.search(name)
    return (cached[2] if cached else hub_name(name).repository.rstrip("/").rsplit("/", 1)[-1]).lower()


def _stored(name: str) -> Path | None:
    """The folder of a model, if it is on this machine."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        repository, revision = hub_name(name)
        config = try_to_load_from_cache(repository, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _fingerprint(base: str) -> str | None:
    """The fingerprint of a model's files; None where they cannot be had."""
    try:
        return fingerprints.fingerprint(base)
    except (ConfigError, OSError, ValueError):
        return None
