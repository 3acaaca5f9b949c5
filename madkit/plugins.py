"""Code of other people's: what may be imported because a recipe or a file names it, and what a user lists.

A recipe names classes, and to import one runs its module. So recipes, and files that name classes, reach the packages
that madkit works with, installed extensions, and the modules that the user lists on the command line (``--with``) or
has imported; never just any file of the working directory.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from madkit.errors import ConfigError

#: Packages whose classes any recipe may name.
PACKAGES = ("madkit", "lightning", "torch", "torchmetrics", "transformers", "peft", "sklearn", "pyod")

_listed: set[str] = set()


def list_module(name: str) -> None:
    """Let recipes and files name the classes of a module, or of a package and its modules, of the user's own.

    Modules of the working directory can be imported from now on, as `python -m` does.
    """
    _listed.add(name)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def listed_modules() -> list[str]:
    """The modules that the user has listed, and those of installed extensions."""
    return sorted(_listed)


def may_import(path: str, packages: Sequence[str] = PACKAGES) -> bool:
    """Whether a module or a class is of a package that any recipe may name, or of a module that is listed.

    Example:
        >>> may_import("torch.optim.AdamW"), may_import("setup.Command")
        (True, False)
    """
    return any(f"{path}.".startswith(f"{name}.") for name in (*packages, *_listed))


def import_class(path: str, packages: Sequence[str] = PACKAGES) -> Any:
    """What ``package.module.Class`` names, where its module may be imported or has been already.

    Args:
        path: the module and the attribute.
        packages: whose modules may be imported besides those that are listed.

    Raises:
        ConfigError: the module is neither of such a package, nor listed, nor imported.
        ImportError: there is no such module.
        AttributeError: it has no such attribute.
    """
    module, _, attribute = path.rpartition(".")
    if module not in sys.modules and not may_import(path, packages) and _is_there(module.partition(".")[0]):
        raise ConfigError(
            f"{path!r} is of a module that a recipe may not import: if you trust it, name it on the command line, "
            f"--with {module} (in Python: import it first)"
        )
    return getattr(import_module(module), attribute)


def _is_there(name: str) -> bool:
    """Whether a package or module can be found, also in the working directory; nothing is run to find out."""
    return Path(name).is_dir() or Path(f"{name}.py").is_file() or (name.isidentifier() and find_spec(name) is not None)


def import_listed(source: str) -> ModuleType:
    """Import a module that the user lists, under the name by which recipes know it.

    Args:
        source: ``my_scores.py`` or ``my_package.my_scores``; a file below the working directory goes by its path,
            ``examples/my_scores.py`` as ``examples.my_scores``, and one elsewhere by its name.

    Raises:
        ConfigError: there is none, it fails when it is imported, or another module has its name.
    """
    path, name, folder = Path(source), source, Path.cwd()
    if path.suffix == ".py":
        if not path.is_file():
            raise ConfigError(f"with={source!r}: no such file; name a Python file or a module that can be imported")
        parts = path.resolve().with_suffix("").parts
        below = parts[: len(folder.parts)] == folder.parts
        name, folder = (".".join(parts[len(folder.parts) :]), folder) if below else (path.stem, path.resolve().parent)
    list_module(name)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        module = import_module(name)
    except Exception as error:
        file = str(path.resolve()) if path.suffix == ".py" else None
        raise ConfigError(f"with={source!r} cannot be imported ({describe_failure(error, file)})") from error
    if path.suffix == ".py" and Path(str(module.__file__)).resolve() != path.resolve():
        raise ConfigError(f"with={source!r}: there is another module {name!r}, {module.__file__}; rename the file")
    return module


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
        _listed.add(entry.module)
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
    list_module(str(source))
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
