"""The families of figures. Importing one registers it: a new family is a file and a name here."""

from madkit.figures import (  # noqa: F401
    auroc_layers,
    log_odds,
    losses,
    quirkiness,
    separation,
    table,
    training,
)
from madkit.figures.registry import ARTISTS

__all__ = ["ARTISTS"]
