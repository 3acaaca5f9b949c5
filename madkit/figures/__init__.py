"""Result folders become figures and tables. Reads files only: nothing here trains or imports torch."""

from madkit.figures.drawing.study import draw

__all__ = ["draw"]
