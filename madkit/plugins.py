"""Code of other people's: the modules that installed packages name by entry points, and files that a user names."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from madkit.errors import ConfigError


def load_entry_points(group: str) -> list[Any]:
    """Import what installed packages name under a group of entry points.

    A package does so in its pyproject.toml, and what its module registers when it is imported is there for madkit::

        [project.entry-points."madkit.figures"]
        my_figures = "my_package.figures"

    Args:
        group: such as ``"madkit.figures"``.

    Returns:
        The modules, or the attributes of modules where an entry point names one, in the order of their names.

    Raises:
        ConfigError: one cannot be imported.

    Example:
        >>> load_entry_points("madkit.a_group_that_nobody_uses")
        []
    """
    return [_load(entry) for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))]


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an installed package"
        raise ConfigError(
            f"plugin {entry.name!r} of {package}: {entry.group} = {entry.value!r} cannot be imported "
            f"({describe_failure(error)}); correct or uninstall the package"
        ) from error


def import_source(source: str | Path) -> ModuleType:
    """Import a Python file, or a module by its dotted name, also from the current folder.

    Args:
        source: ``my_figure.py`` or ``my_package.my_module``.

    Raises:
        ConfigError: there is none, or it fails when it is imported.
    """
    path = Path(source)
    if path.suffix == ".py" or path.is_file() or len(path.parts) > 1:
        if not path.is_file():
            raise ConfigError(f"{source}: no such file; name a Python file or a module that can be imported")
        return _import_file(path.resolve())
    # As `python -m` does.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return import_module(str(source))
    except Exception as error:
        raise ConfigError(f"{source} cannot be imported ({describe_failure(error)})") from error


def _import_file(path: Path) -> ModuleType:
    """Run a file as a module whose name is not that of any other; its neighbours can be imported from it."""
    name = f"user_file_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file; its name has to end with .py")
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path} cannot be imported ({describe_failure(error, str(path))})") from error
    return module


def describe_failure(error: BaseException, file: str | None = None) -> str:
    """An exception in one line: where in `file` it came from, if it did, its type and its message.

    Example:
        >>> describe_failure(KeyError("auroc"))
        "KeyError: 'auroc'"
    """
    words = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file and frame.filename == file]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {words}" if frames else words
