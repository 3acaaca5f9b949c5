"""A module that is not run before something is used of it, and the finder that puts it in the place of the real one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any

_LOCK = RLock()


@dataclass
class Deferral:
    """What a module has before it is run."""

    package: str
    """The package that it is of."""
    version: str
    """The beginning of the versions of which that is known."""
    stand_ins: Mapping[str, Any] = field(default_factory=dict)
    """By name, what stands there instead."""
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By name, the modules to import, of which the last one has it."""
    alone: Container[str] = ()
    """Its modules that can be imported without it."""
    after: Callable[[], None] = lambda: None
    """What is done once it has been run."""

    def fits(self) -> bool:
        """Whether the installed version is one of which that is known."""
        return f"{version(self.package)}.".startswith(f"{self.version}.")


class DeferredModule(ModuleType):
    """A module that has not been run."""

    _deferral: Deferral
    _runs = False
    _successor: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        with _LOCK:
            if name in self.__dict__:
                return self.__dict__[name]
            if self._successor is not None:
                return getattr(self._successor, name)
            if self._runs or (name.startswith("__") and name.endswith("__") and name not in self._deferral.elsewhere):
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            if name in self._deferral.elsewhere:
                modules = [import_module(module) for module in self._deferral.elsewhere[name]]
                return self.__dict__.setdefault(name, getattr(modules[-1], name))
            inner = f"{self.__name__}.{name}"
            if name in self._deferral.alone and find_spec(inner) is not None:
                return import_module(inner)
            self.run()
        return getattr(self, name)

    def run(self) -> None:
        """Run the module, once."""
        with _LOCK:
            if self._runs:
                return
            self._runs = True
            try:
                assert self.__spec__ is not None and self.__spec__.loader is not None  # noqa: S101 - set by the finder
                self.__spec__.loader.exec_module(self)
            except BaseException:
                self._runs = False
                raise
            after = self._deferral.after
            if sys.modules[self.__name__] is self:
                del self._runs, self._deferral
                self.__class__ = ModuleType  # type: ignore[assignment]
            else:  # a module may put another object in its place
                self._successor = sys.modules[self.__name__]
            after()


def the_real(module_name: str, name: str) -> Any:
    """What a module has of a name, be it deferred, which runs it."""
    module = import_module(module_name)
    if isinstance(module, DeferredModule):
        module.run()
    return getattr(module, name)


class DeferringFinder(MetaPathFinder):
    """Finds modules that are deferred, and runs one that has not been when another module of it is imported.

    Args:
        deferrals: by the module's name, what it has until it is run.
    """

    def __init__(self, deferrals: Mapping[str, Deferral]) -> None:
        self._deferrals = deferrals

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a deferred module; None for all others, which other finders find."""
        deferral = self._deferrals.get(fullname)
        if deferral is not None and deferral.fits():
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _DeferringLoader(spec.loader, deferral)
            return spec
        parent, _, name = fullname.rpartition(".")
        package = sys.modules.get(parent)
        if isinstance(package, DeferredModule) and name not in self._deferrals[parent].alone:
            package.run()
            if fullname in sys.modules:  # now
                return ModuleSpec(fullname, _PresentLoader(sys.modules[fullname]))
        return None


class _DeferringLoader(Loader):
    """Leaves a module empty, but for its stand-ins."""

    def __init__(self, loader: Loader, deferral: Deferral) -> None:
        self._loader, self._deferral = loader, deferral

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # noqa: S101 - the import system's
        module.__spec__.loader = module.__loader__ = self._loader
        module.__dict__.update(self._deferral.stand_ins, _deferral=self._deferral)
        module.__class__ = DeferredModule


class _PresentLoader(Loader):
    """Gives a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
