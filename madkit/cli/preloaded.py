"""Imports, when it is imported, what the stages of a study need: for the process that its jobs are copies of."""

import gc

from madkit.cli.chain import LATER, import_later
from madkit.cli.deferred import defer
from madkit.cli.uncollected import uncollected

defer()
with uncollected():
    import madkit.cli.stages  # noqa: F401

    import_later(name for names in LATER.values() for name in names)
gc.freeze()  # pages of memory that the collector does not write on stay shared
