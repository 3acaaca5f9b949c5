"""How scores and features are called in results: a stem, and options that are not at their default."""

import re
from collections.abc import Mapping
from typing import Any


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
    return re.sub(r"[^\w.+-]", "-", "_".join(parts))
