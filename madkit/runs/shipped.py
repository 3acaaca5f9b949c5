"""What comes with madkit beside its code: the recipes, and the small base models that they tune.

In a wheel they lie inside the package, in a checkout beside it; either way there is one copy.
"""

from __future__ import annotations

from pathlib import Path

import madkit

_PACKAGE = Path(madkit.__file__).parent


def shipped(name: str) -> Path | None:
    """A folder that comes with madkit; None where it has none of that name.

    Args:
        name: ``recipes``, ``bases``, or what is inside of one of these.

    Example:
        >>> sorted(path.name for path in shipped("bases").glob("tiny-*"))
        ['tiny-llama', 'tiny-mistral']
        >>> shipped("bases/../madkit") is None and shipped("madkit") is None
        True
    """
    parts = Path(name).parts
    if not parts or parts[0] not in ("recipes", "bases") or ".." in parts:
        return None
    path = _PACKAGE / "shipped" / name
    if not path.exists():
        path = _PACKAGE.parent / name
    return path if path.exists() else None
