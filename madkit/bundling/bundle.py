"""Make a bundle: wheels, weights and recipes in parts, and the script that unpacks, installs and runs them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from importlib.resources import files as resources
from pathlib import Path

from madkit.bundling.part_writer import BundlePart, write_parts
from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically
from madkit.runs.gguf_base import SUFFIX, base_source
from madkit.runs.hub import MODEL
from madkit.runs.progress import ProgressLine

SCRIPT = "unpack-and-run.sh"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(text: str) -> int:
    """A size in bytes.

    Raises:
        ConfigError: it is none, or less than a megabyte.

    Example:
        >>> bytes_of("48MB"), bytes_of("1.5GiB")
        (48000000, 1610612736)
    """
    found = re.fullmatch(r"([\d.]+)\s*([kKMG]i?|)B?", text.strip())
    try:
        size = int(float(found[1]) * _UNITS[found[2].replace("K", "k").replace("ki", "Ki")]) if found else 0
    except ValueError:
        size = 0
    if size < 10**6:
        raise ConfigError(f"part_size={text!r}: give at least a megabyte, such as 48MB or 2GB")
    return size


def base_files(base: str) -> tuple[str, dict[str, Path]]:
    """The files of a base model.

    Args:
        base: what `model.base` of a recipe takes: a folder, a GGUF file, ``package://name``, or a name on the hub.

    Returns:
        What the base is called in the bundle, and its files by their names there.
    """
    source = base_source(base)
    if source.is_file():
        name = f"base/{source.name}"
        return name, {name: source}
    found = sorted({path for pattern in MODEL for path in source.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in found):
        raise ConfigError(f"base={base!r}: {str(source)!r} holds no .safetensors weights")
    name = f"base/{Path(base).name if Path(base).is_dir() else base.split('/')[-1].split('@')[0]}"
    return name, {f"{name}/{path.name}": path for path in found}


def recipe_files(recipes: Sequence[str]) -> tuple[list[str], dict[str, Path]]:
    """The files of recipes and of folders of them, under their own names from here on.

    Returns:
        The recipes that were named as files, and all files by their names in the bundle.
    """
    named, found = [], dict[str, Path]()
    for text in recipes:
        path = Path(text)
        if not path.exists():
            raise ConfigError(f"recipes: there is no {text!r}")
        inside = path.absolute().is_relative_to(Path.cwd()) and ".." not in path.parts
        name = path.absolute().relative_to(Path.cwd()).as_posix() if inside else path.name
        if path.is_file():
            named.append(name)
            found[name] = path
        else:
            every = (file for file in sorted(path.rglob("*")) if file.is_file())
            found |= {f"{name}/{f.relative_to(path).as_posix()}": f for f in every if not _hidden(f.relative_to(path))}
    if taken := sorted(name for name in found if name.split("/")[0] in ("wheels", "base", "venv", "site-packages")):
        raise ConfigError(f"recipes: {taken[0]!r} lies where the bundle has its own files: move it to another folder")
    return named, found


def default_command(recipes: Sequence[str], base: str | None) -> str:
    """What is run where nothing is said: the fit of the recipes.

    Example:
        >>> default_command(["recipes/my.yaml"], "base/llama")
        'madkit fit --config recipes/my.yaml --model.base base/llama'
    """
    if not recipes:
        return "madkit --help"
    words = [word for recipe in recipes for word in ("--config", recipe)]
    return shlex.join(["madkit", "fit", *words, *(["--model.base", base] if base else [])])


def write_bundle(
    out: Path,
    wheels: Sequence[Path],
    files: dict[str, Path],
    command: str,
    *,
    part_size: int,
    python: str,
    machine: str = "",
    without: Sequence[str] = (),
) -> list[BundlePart]:
    """Write the parts, and last the script, which has their sizes and digests.

    Args:
        out: the folder; parts of an earlier bundle there are replaced.
        wheels: what is installed.
        files: other files, by their names in the folder where the command runs.
        command: what is run there, in the words of a shell.
        part_size: bytes of each part but the last.
        python: the version of Python that the wheels are for.
        machine: the processor that they are for, as ``uname -m`` calls it; empty for any.
        without: packages that were left out.
    """
    everything = {**files, **{f"wheels/{wheel.name}": wheel for wheel in wheels}}
    total = -(-sum(path.stat().st_size + 1024 for path in everything.values()) // part_size)
    line = ProgressLine()
    done: list[BundlePart] = []

    def tell(part: BundlePart) -> None:
        done.append(part)
        line.show("bundle: parts", len(done), max(total, len(done)))

    (out / SCRIPT).unlink(missing_ok=True)  # which speaks of other parts
    parts = write_parts(everything, out, part_size, tell)
    for old in sorted(out.glob("part-*")):
        if old.name not in {part.name for part in parts}:
            old.unlink()
    filled = {
        "@PARTS@": "\n".join(f"{part.name} {part.size} {part.sha256}" for part in parts),
        "@ID@": hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        "@PYTHON@": python,
        "@MACHINE@": machine,
        "@WITHOUT@": " ".join(without),
        "@COMMAND@": command,
    }
    script = resources("madkit.bundling").joinpath(SCRIPT).read_text()
    for mark, text in filled.items():
        script = script.replace(mark, text)

    def write(path: Path) -> None:
        path.write_text(script)
        path.chmod(0o755)

    write_atomically(out / SCRIPT, write)
    return parts


def needs_gguf(base: str | None) -> bool:
    """Whether what a base is called in the bundle is a GGUF file."""
    return base is not None and base.endswith(SUFFIX)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)
