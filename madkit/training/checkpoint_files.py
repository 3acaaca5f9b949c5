"""CheckpointFiles: how checkpoints are written and read, and which one a run continues from."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from typing_extensions import override

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically

#: What a `ModelCheckpoint` keeps of paths.
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints of Lightning, each whole or not there.

    Lightning writes them in the temporary folder and moves them, which is a copy where that is another file system.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), lambda temporary: temporary.write_bytes(buffer.getbuffer()))

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, whose paths are those of the folder in which it lies now.

        Raises:
            StoreError: it is missing or damaged, or holds more than tensors and plain values.
        """
        return load(Path(path))


def load(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; no code that a pickle names is run.

    Args:
        path: the file.
        mapped: leave the tensors on the disk until they are used.

    Raises:
        StoreError: it is missing or damaged, or holds more than tensors and plain values.
    """
    try:
        require_intact(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise StoreError(f"{str(path)!r} holds no state_dict, so it is no checkpoint: name another --ckpt_path")
    except StoreError:
        raise
    except Exception as error:  # torch raises many unrelated types
        raise StoreError(
            f"{str(path)!r} is no checkpoint that can be read ({str(error).strip().splitlines()[0]}): delete it, or "
            "name another --ckpt_path"
        ) from error
    for state in _checkpoint_states(checkpoint):
        _relocate(state, path.absolute().parent)
    return checkpoint


def require_intact(path: Path) -> None:
    """Compare a checkpoint with the checksums in it, which torch writes and does not read.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        damaged = str(error)
    if damaged is not None:
        raise StoreError(f"{str(path)!r} is missing or damaged ({damaged}): delete it, or name another --ckpt_path")


def to_continue(folder: Path, *, remove: bool) -> Path | None:
    """The checkpoint that a run continues from: the last one, or the latest before it that is whole.

    Args:
        folder: of the checkpoints of one recipe.
        remove: whether to remove those that are damaged, and those of steps that will come again, which would else
            have its file names.

    Returns:
        A path, or None where the run starts anew.
    """
    paths = sorted(folder.glob("*.ckpt"), key=lambda path: (path.name != "last.ckpt", path.name))
    usable: dict[Path, dict[str, Any]] = {}
    for path in paths:
        try:
            checkpoint = load(path, mapped=True)
            for best in _mentioned(checkpoint, "best_model_path"):
                require_intact(folder / best)
        except StoreError as error:
            rank_zero_warn(f"{error}: an earlier one is used, or the run starts anew")
            continue
        usable[path] = {"step": checkpoint["global_step"], "mentions": _mentioned(checkpoint)}
        if path.name == "last.ckpt":
            break
    chosen = max(usable, key=lambda path: (path.name == "last.ckpt", usable[path]["step"]), default=None)
    if remove:
        kept = {chosen.name, *usable[chosen]["mentions"]} if chosen else set()
        for path in paths:
            if path.name not in kept:
                path.unlink(missing_ok=True)
    return chosen


def kept_checkpoint(folder: Path) -> Path | None:
    """The checkpoint whose weights a fit has left: the best one where one was chosen by a value, else the last.

    Args:
        folder: of the checkpoints of one recipe.
    """
    last = folder / "last.ckpt"
    if not last.is_file():
        return None
    states = [state for state in _checkpoint_states(load(last, mapped=True)) if state.get("monitor")]
    best = next((folder / Path(state["best_model_path"]).name for state in states if state["best_model_path"]), last)
    return best if best.is_file() else last


def _checkpoint_states(checkpoint: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The states of the callbacks that write checkpoints."""
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, dict) and "best_model_path" in state and state.get("dirpath"):
            yield state


def _relocate(state: dict[str, Any], folder: Path) -> None:
    """Have the paths of a callback's state point into a folder that has been moved since."""
    old = Path(state["dirpath"])
    if str(old) == str(folder) or old.name != folder.name:
        return
    state["dirpath"] = str(folder)
    for key in _PATHS:
        if state.get(key):
            state[key] = str(folder / Path(state[key]).name)
    state["best_k_models"] = {str(folder / Path(path).name): score for path, score in state["best_k_models"].items()}


def _mentioned(checkpoint: dict[str, Any], *keys: str) -> set[str]:
    """The names of the checkpoint files that the callbacks know of."""
    found: set[str] = set()
    for state in _checkpoint_states(checkpoint):
        found |= {Path(state[key]).name for key in keys or _PATHS if state.get(key)}
        if not keys:
            found |= {Path(path).name for path in state.get("best_k_models", {})}
    return found
