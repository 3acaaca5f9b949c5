"""All families of figures: every file in `families/` is one, found by being there."""

from importlib import import_module
from pkgutil import iter_modules

from madkit.figures import families
from madkit.figures.registry import ARTISTS

for _module in sorted(module.name for module in iter_modules(families.__path__)):
    import_module(f"{families.__name__}.{_module}")
ARTISTS.sort(key=lambda artist: (artist.place, artist.draw.__module__))

__all__ = ["ARTISTS"]
