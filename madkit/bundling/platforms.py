"""Platforms of wheels: the one that a machine names, and the older ones whose wheels it takes as well."""

from __future__ import annotations

import re
import sys

from madkit.errors import ConfigError

#: The names before PEP 600, with the version of glibc that they mean.
_OLD = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}


def compatible(platform: str) -> list[str]:
    """The platform tags whose wheels a machine takes, which pip wants to be told one by one.

    Args:
        platform: such as ``manylinux_2_28_x86_64``, ``manylinux2014_aarch64`` or ``macosx_14_0_arm64``.

    Raises:
        ConfigError: it is none.

    Example:
        >>> compatible("manylinux_2_18_x86_64")[:3]
        ['manylinux_2_18_x86_64', 'manylinux_2_17_x86_64', 'manylinux2014_x86_64']
    """
    name = re.sub(r"^(manylinux\d+)_", lambda m: f"manylinux_2_{_OLD.get(m[1], 0)}_", platform)
    found = re.fullmatch(r"manylinux_2_([1-9]\d*)_(\w+)", name)
    if found is None:
        if re.fullmatch(r"(macosx_\d+_\d+|win|linux|musllinux_\d+_\d+)_\w+", platform):
            return [platform]
        raise ConfigError(f"platform={platform!r} is none of wheels; on Linux try manylinux_2_28_x86_64")
    tags = []
    for version in range(int(found[1]), 4, -1):
        tags.append(f"manylinux_2_{version}_{found[2]}")
        tags += [f"{old}_{found[2]}" for old, same in _OLD.items() if same == version]
    return tags


def machine_of(platform: str) -> str:
    """The processor that a platform names, as ``uname -m`` calls it.

    Example:
        >>> machine_of("manylinux_2_28_x86_64"), machine_of("macosx_14_0_arm64")
        ('x86_64', 'arm64')
    """
    found = re.search(r"(x86_64|amd64|aarch64|arm64|ppc64le|s390x|i686|armv7l|universal2)$", platform)
    return "" if found is None or found[1] == "universal2" else found[1]


def own_python() -> str:
    """The version of Python that is running, such as ``3.12``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
