"""Imports, when it is imported, what the stages of a study need: for the process that its jobs are copies of."""

import gc
from contextlib import suppress
from importlib import import_module

from madkit.cli.chain import LATER
from madkit.cli.deferred import defer
from madkit.cli.uncollected import uncollected

defer()
with uncollected():
    for module in dict.fromkeys(["madkit.cli.stages", *(name for names in LATER.values() for name in names)]):
        with suppress(ImportError):  # the stage that needs it will say so
            import_module(module)
gc.freeze()  # pages of memory that the collector does not write on stay shared
