"""The families of figures. Importing one registers it: a new family is a file and a name here."""

from madkit.figures import (  # noqa: F401
    aggregations,
    auroc_layers,
    comparisons,
    log_odds,
    losses,
    quirkiness,
    rare_alarms,
    separation,
    table,
    training,
)
from madkit.figures.registry import ARTISTS

__all__ = ["ARTISTS"]
