"""`madkit recipes`: the recipes that come with madkit, to use and to change."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from madkit.errors import ConfigError
from madkit.runs.atomic import write_atomically
from madkit.runs.shipped import shipped


def recipes(out: str = "recipes", overwrite: bool = False) -> int:
    """Write them. Files that are the same already stay; the small base models that they name need no copy.

    Args:
        out: Where to write.
        overwrite: Whether files that differ from those of this version are replaced.
    """
    write_recipes(Path(out), overwrite=overwrite)
    return 0


def write_recipes(out: Path, *, overwrite: bool = False) -> None:
    """Write all recipes into a folder, or none where that would change somebody's.

    Raises:
        ConfigError: a file there differs, or this installation has no recipes.
    """
    source = shipped("recipes")
    if source is None:
        raise ConfigError("this installation of madkit has no recipes: install its wheel, or take those of a checkout")
    texts = {path.relative_to(source): path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()}
    changed = [name for name, text in texts.items() if (out / name).exists() and (out / name).read_bytes() != text]
    if changed and not overwrite:
        raise ConfigError(
            f"out={str(out)!r} has {len(changed)} recipes unlike those of this version, such as {changed[0]}; name "
            "another folder, or say --overwrite"
        )
    new = [name for name in texts if not (out / name).exists() or name in changed]
    for name in new:
        write_atomically(out / name, partial(Path.write_bytes, data=texts[name]))
    print(f"{out}: {len(new)} of {len(texts)} recipes written", file=sys.stderr)
