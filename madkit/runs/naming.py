"""What is called how: names of scores and features, and names that become folders and files of a run."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from madkit.errors import ConfigError

#: The most bytes of a name, so that there is room for what a temporary file's name adds to it.
_LONGEST = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: Names that Windows keeps for devices, whatever their suffix.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)


def folder_name(name: str, what: str) -> str:
    """A name that is safe as that of one folder or file, whoever chose it.

    Datasets, features, scores and sites all become folders of a run. Where one is joined to a path it passes through
    here, so that it stays inside.

    Args:
        name: any text.
        what: what it is the name of, for messages.

    Returns:
        The name as it is.

    Raises:
        ConfigError: it is empty, leads to another folder, is hidden or too long, or holds what no file name may hold.

    Example:
        >>> folder_name("a$b^$c", "dataset")
        'a$b^$c'
        >>> folder_name("../up", "dataset")
        Traceback (most recent call last):
        madkit.errors.ConfigError: dataset='../up' holds '/': give the name of one folder, without separators
    """
    shown = f"{what}={name[:80]!r}" if isinstance(name, str) else f"{what}={name!r}"
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{shown} names no folder: give a name")
    if separator := next((letter for letter in name if letter in "/\\"), None):
        raise ConfigError(f"{shown} holds {separator!r}: give the name of one folder, without separators")
    if name[0] == "." or name[-1] in ". " or name[0] == " ":
        raise ConfigError(f"{shown} begins or ends with a dot or a space: give a name of letters and digits")
    if found := _CONTROL.search(name):
        raise ConfigError(f"{shown} holds {found.group()!r}, which is no letter: give a name of letters and digits")
    if _DEVICES.match(name):
        raise ConfigError(f"{shown} is the name of a device on Windows: give another name")
    if (size := len(name.encode())) > _LONGEST:
        raise ConfigError(f"{shown} has {size} bytes: give a name of at most {_LONGEST}")
    return name


def snake(name: str) -> str:
    """A class name in snake case.

    Example:
        >>> snake("LaplaceNLL"), snake("SGDOneClassSVM")
        ('laplace_nll', 'sgd_one_class_svm')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def labelled(stem: str, options: Mapping[str, Any]) -> str:
    """The stem and the options, in letters that a folder may have.

    A string stands for itself, a flag for its name; the entries of a dictionary follow its name in alphabetical
    order, as options do that are written out.

    Example:
        >>> labelled("svm", {"nu": 0.1, "kernel": "rbf", "shrinking": False, "limits": {"upper": 2, "lower": 1}})
        'svm_nu0.1_rbf_no_shrinking_limits_lower1_upper2'
    """
    parts = [stem]
    for name, value in options.items():
        if isinstance(value, bool):
            parts.append(name if value else f"no_{name}")
        elif isinstance(value, Mapping):
            parts.append(labelled(name, dict(sorted(value.items()))))
        else:
            parts.append(value if isinstance(value, str) else f"{name}{value}")
    name = re.sub(r"[^\w.+-]", "-", "_".join(parts))
    if len(name.encode()) <= _LONGEST:
        return name
    # Still another name for other options, and one that a folder can have.
    shortened = name.encode()[: _LONGEST - 17].decode(errors="ignore")
    return f"{shortened}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
