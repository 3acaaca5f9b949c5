"""`madkit bundle`: what a machine without a network needs, in files of bounded size."""

from __future__ import annotations

import platform as this_machine
import sys
from pathlib import Path

from madkit.bundling.bundle import (
    SCRIPT,
    base_files,
    bytes_of,
    default_command,
    needs_gguf,
    recipe_files,
    write_bundle,
)
from madkit.bundling.platforms import machine_of, own_python
from madkit.bundling.wheelhouse import Wheelhouse
from madkit.errors import ConfigError
from madkit.runs.gguf_base import cache_folder
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked


def bundle(
    out: str = "bundle",
    recipes: list[str] | None = None,
    base: str | None = None,
    command: str | None = None,
    part_size: str = "48MB",
    platform: str | None = None,
    python: str | None = None,
    without: list[str] | None = None,
    extras: list[str] | None = None,
    constraints: str | None = None,
    wheels: str | None = None,
    package: str | None = None,
) -> int:
    """Collect wheels, weights and recipes into parts, and write the script that unpacks, installs and runs them.

    Args:
        out: Folder to write.
        recipes: Recipes, and files or folders that they name; they keep their paths.
        base: The base model, as `--model.base` takes it; in the bundle it is base/NAME.
        command: What the script runs, in the words of a shell, such as "madkit fit ... && madkit predict ..."; by
            default the fit of the recipes with this base.
        part_size: Size of a part, such as 48MB.
        platform: What the wheels are for, such as manylinux_2_28_x86_64; by default this machine.
        python: The version of Python that they are for, such as 3.12; by default this one.
        without: Packages that the other machine has, such as torch; what only they require is left out, too.
        extras: Extras of madkit, such as gguf.
        constraints: A file of versions, as pip reads it.
        wheels: A folder of wheels to take as they are, in place of downloading any.
        package: Source folder or wheel of madkit; by default the source that is running.
    """
    size = bytes_of(part_size)
    called, files = base_files(base) if base else (None, {})
    named, texts = recipe_files(recipes or [])
    if wheels is not None:
        house = sorted(Path(wheels).glob("*.whl"))
        if not house:
            raise ConfigError(f"wheels={wheels!r}: that folder has no *.whl")
    with locked(Path(out) / ".lock", "madkit bundle"):
        sweep(Path(out))
        if wheels is None:
            wanted = [*(extras or []), *(["gguf"] if needs_gguf(called) else [])]
            pinned = Path(constraints) if constraints else None
            collected = Wheelhouse(cache_folder() / "wheels", platform, python, without or [], wanted, pinned)
            house = collected.collect(Path(package) if package else None)
        parts = write_bundle(
            Path(out), house, {**files, **texts}, command or default_command(named, called), part_size=size,
            python=python or own_python(), without=without or [],
            machine="" if wheels is not None else machine_of(platform) if platform else this_machine.machine(),
        )  # fmt: skip
    total = sum(part.size for part in parts) / 1e6
    print(f"{out}: {len(parts)} parts, {total:.0f} MB, {len(house)} wheels; sh {SCRIPT}", file=sys.stderr)
    return 0
