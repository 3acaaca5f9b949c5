"""Heavy modules that others import and seldom use: the `madkit` command runs them when something is used of them.

Lightning imports `torch._dynamo`, the compiler, for the name of one class, and the whole of torchmetrics for two, and
that imports transformers, scipy and matplotlib: together nine tenths of the time that Lightning takes. transformers and
torch's optimizers ask the compiler to leave functions alone, which it does as long as it is not there. So each of these
modules begins as an empty one with stand-ins for what is only named; whatever else is asked of it runs the real module,
in place, and from then on it is what it always is. `import madkit` defers nothing, and of another version of a package
than those that this was written for nothing is deferred either.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Container
from types import FunctionType, ModuleType
from typing import Any

from madkit.cli.deferred_module import Deferral, DeferredModule, DeferringFinder, the_real


def defer() -> None:
    """Defer what is heavy and has not been imported, in this process, from now on."""
    if not any(isinstance(finder, DeferringFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeferringFinder(DEFERRALS))


def _compiler() -> ModuleType | None:
    """`torch._dynamo`, if it has been run."""
    module = sys.modules.get("torch._dynamo")
    return None if isinstance(module, DeferredModule) else module


class _CompiledMeta(type):
    """A class that has no instances before the compiler has been run."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler = _compiler()
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)

    def __subclasscheck__(cls, subclass: type) -> bool:
        compiler = _compiler()
        return compiler is not None and issubclass(subclass, compiler.OptimizedModule)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return the_real("torch._dynamo", "OptimizedModule")(*args, **kwargs)


class _Compiled(metaclass=_CompiledMeta):
    """Stands for `torch._dynamo.OptimizedModule`."""


def _left_alone(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """Stands for `torch._dynamo.disable`: there is nothing to disable until the compiler is there."""
    if fn is None:
        return functools.partial(_left_alone, recursive=recursive, **options)
    if not isinstance(fn, FunctionType):
        return the_real("torch._dynamo", "disable")(fn, recursive, **options)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def function(*args: Any, **kwargs: Any) -> Any:
        if (compiler := _compiler()) is None:
            return fn(*args, **kwargs)
        if not disabled:
            disabled.append(compiler.disable(fn, recursive, **options))
        return disabled[0](*args, **kwargs)

    return function


#: What the compiler shall know of functions once it is there: the name of its decorator, and the function.
_marked: list[tuple[str, Any]] = []


def _marking(name: str) -> Callable[[Any], Any]:
    """Stands for a decorator that tells the compiler something of a function, and gives it back."""

    def mark(fn: Any) -> Any:
        _marked.append((name, fn))
        return fn

    return mark


def _mark_all() -> None:
    while _marked:
        name, fn = _marked.pop(0)
        the_real("torch._dynamo", name)(fn)


def _function(module: str, name: str) -> Callable[..., Any]:
    """Stands for a function of a module, which is run when it is called."""
    return lambda *args, **kwargs: the_real(module, name)(*args, **kwargs)


class _Everything(Container[str]):
    def __contains__(self, item: object) -> bool:
        return True


_PLOT = "torchmetrics.utilities.plot"
_METRICS = {"metric": ["Metric"], "collections": ["MetricCollection"], "aggregation": ["MeanMetric", "CatMetric"]}

DEFERRALS = {
    "torch._dynamo": Deferral(
        "torch",
        "2.13",
        {
            "OptimizedModule": _Compiled,
            "disable": _left_alone,
            "graph_break": lambda msg="": None,  # as the real one, wherever nothing is compiled
            "allow_in_graph": _marking("allow_in_graph"),
            "assume_constant_result": _marking("assume_constant_result"),
        },
        alone=("_trace_wrapped_higher_order_op",),
        after=_mark_all,
    ),
    "torchmetrics": Deferral(
        "torchmetrics",
        "1.9",
        {"_logger": logging.getLogger("torchmetrics")},
        elsewhere={
            "__version__": ["torchmetrics.__about__"],
            # In this order, because they import each other.
            **{n: ["torchmetrics.utilities", f"torchmetrics.{m}"] for m, names in _METRICS.items() for n in names},
        },
        alone=("__about__", "utilities", "wrappers", *_METRICS),
    ),
    # It imports matplotlib.
    _PLOT: Deferral(
        "torchmetrics",
        "1.9",
        {
            "_AX_TYPE": Any,
            "_PLOT_OUT_TYPE": Any,
            "plot_single_or_multi_val": _function(_PLOT, "plot_single_or_multi_val"),
        },
    ),
    # torchmetrics and others import it for drawings of their own.
    "matplotlib": Deferral("matplotlib", "3", alone=("pyplot",)),
    "matplotlib.pyplot": Deferral("matplotlib", "3"),
    # transformers imports it for a loss of object detection, madkit for the ends of an interval.
    "scipy.optimize": Deferral(
        "scipy", "1", {n: _function("scipy.optimize", n) for n in ("linear_sum_assignment", "brentq")}
    ),
    # It reads the source of all models to know what there is to import by short paths, which `transformers` has done.
    "transformers.models": Deferral("transformers", "5", alone=_Everything()),
}
