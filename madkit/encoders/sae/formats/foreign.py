"""What a folder is that is not read, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from madkit.errors import ConfigError

_CONVERT = "convert it to SAELens's format (cfg.json with sae_weights.safetensors)"
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt", ".pickle")


def foreign(folder: Path, readable: str) -> ConfigError:
    """The error of a folder in no format that is read.

    Args:
        folder: the folder.
        readable: the formats that are read.
    """
    what, way = _kind(folder)
    return ConfigError(f"{str(folder)!r} holds no sparse autoencoder that is read ({readable}): it is {what}; {way}")


def _kind(folder: Path) -> tuple[str, str]:
    files = {path.name for path in folder.iterdir() if path.is_file()}
    if pickles := sorted(name for name in files if name.endswith(_PICKLES)):
        if "ae.pt" in pickles:
            return "a folder of dictionary_learning, whose ae.pt is a pickle", _CONVERT + " where you trust it"
        return f"a folder with {pickles[0]!r}, a pickle, which is never read", _CONVERT + " where you trust it"
    if {"config.json", "sae_weights.safetensors"} <= files:
        return "a folder of Language-Model-SAEs (2025 and later)", _CONVERT
    if any(name.startswith("W_enc") for name in files):
        return "a cross-layer transcoder, which reads another tensor than it writes", "give an SAE"
    if "adapter_config.json" in files or any(name.startswith("model") for name in files):
        return "a language model or an adapter", "name the folder of an SAE"
    if {"cfg.json", "hyperparams.json", "params.npz"} & files or any(f.endswith(".safetensors") for f in files):
        return f"a folder that has {', '.join(sorted(files)[:6])}, of which a part is missing", "download all of it"
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if inside:
        return f"a folder of the folders {', '.join(inside[:6])}", "name one of those, or one inside, in `subfolders`"
    return "without any file of one", "train one with `madkit fit --config .../sae.yaml` or name another folder"
