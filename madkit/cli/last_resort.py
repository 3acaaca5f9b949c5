"""What a command says of an error: one line, from one process, and where the full traceback is."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

from madkit.cli.slurm import launch_name
from madkit.errors import MadkitError

#: Set for the processes that a command starts, so that only one of them speaks of what ends them all.
_LAUNCH = "MADKIT_LAUNCH"
_INHERITED = os.environ.get(_LAUNCH) if "LOCAL_RANK" in os.environ else None
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}


def begin() -> None:
    """Give the command a name that the processes which it starts inherit, and that the tasks of a step share."""
    os.environ[_LAUNCH] = _INHERITED or launch_name(os.environ) or f"{os.getpid()}-{time.time_ns()}"


def complain(message: str, error: BaseException | None = None, debug: bool = False, status: int = 2) -> int:
    """Print one line on standard error, unless another process of the same command has done so.

    Args:
        message: what is wrong and what to do; made one line.
        error: of which the traceback is shown too, with `debug`.
        debug: whether to.
        status: the exit status.

    Returns:
        The exit status.
    """
    if _speaks_first():
        if debug and error is not None:
            print("".join(traceback.format_exception(error)), file=sys.stderr, end="")
        print(f"madkit: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return status


def unexpected(error: Exception, command: str, folder: Path | None, debug: bool) -> int:
    """Say of any other exception what it is and where its traceback was written.

    Args:
        error: the exception.
        command: the command that it ended.
        folder: the run folder, where the traceback goes if it is there; else to the temporary folder.
        debug: whether to show the traceback as well.

    Returns:
        The exit status: 2 for what the user can mend, 1 for anything else.
    """
    if (cause := madkit_cause(error)) is not None:
        return complain(str(cause), error, debug)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if told := _told(error):
        return complain(f"{command}: {told}", error, debug)
    file = _written(error, command, folder)
    where = f"its traceback is in {file}" if file is not None else "its traceback: the same command with --debug"
    shown = reason if len(reason) < 300 else f"{reason[:300]}..."
    return complain(f"{command} ended by an error that madkit does not know, {shown}; {where}", error, debug, status=1)


def madkit_cause(error: BaseException | None) -> MadkitError | None:
    """The error of madkit that led to another one, if any."""
    seen: set[int] = set()  # what is raised "from" one that it led to goes round in a circle
    while error is not None and not isinstance(error, MadkitError) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    return error if isinstance(error, MadkitError) else None


def _told(error: Exception) -> str:
    """What the user can do about an error of the machine's or of Lightning's, in one line; empty for another one."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        what = text[:120] or "MemoryError"
        return f"not enough memory ({what}); use smaller batches, such as --data.device_batch_size 1"
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return (
            f"{error.filename or 'a file'!s} cannot be written or read ({error.strerror}): make room or set its "
            "permissions, then give the same command again"
        )
    if re.search(r"No space left on device|[Dd]isk quota exceeded|PytorchStreamWriter failed", text):
        return f"a file cannot be written ({text[:120]}): make room, then give the same command again"
    if type(error).__name__ == "UnpicklingError" or "PytorchStreamReader" in text:
        return (
            "a checkpoint cannot be read, it is half-written, damaged or no checkpoint: name another by --ckpt_path, "
            "or delete the run's folder `checkpoints` to begin again"
        )
    if type(error).__name__ == "MisconfigurationException" or _is_about_options(error):
        return text
    if type(error).__name__ in ("DistBackendError", "DistNetworkError") or re.search(
        r"[Cc]onnection (closed|reset) by (remote )?peer|Broken pipe.*gloo|gloo.*(closed|reset|Broken)", text
    ):
        return "another process of this run has ended, and this one with it; the same command continues"
    return ""


def _is_about_options(error: Exception) -> bool:
    """Whether Lightning itself complains of options, whose names it puts in backquotes."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(frames[-1].filename).parts if frames else ()
    kinds = ValueError | TypeError | AttributeError | RuntimeError | ImportError
    return isinstance(error, kinds) and "`" in str(error) and "lightning" in here and "site-packages" in here


def _written(error: Exception, command: str, folder: Path | None) -> Path | None:
    """The file that holds the traceback now."""
    text = "".join(traceback.format_exception(error))
    name = f"traceback-{command.replace(' ', '-')}.txt"
    try:
        if folder is not None and folder.is_dir():
            (folder / name).write_text(text, encoding="utf-8")
            return folder / name
    except OSError:
        pass
    try:
        handle, path = tempfile.mkstemp(prefix="madkit-", suffix=f"-{name}")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        return Path(path)
    except OSError:
        return None


def _speaks_first() -> bool:
    """Whether this is the first process of its command that has something to say; always so where it is alone."""
    if "MASTER_PORT" not in os.environ or _LAUNCH not in os.environ:
        return True
    try:
        claim = Path(tempfile.gettempdir()) / f"madkit-{os.environ[_LAUNCH]}.ended"
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:
        pass
    return True
