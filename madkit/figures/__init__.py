"""Result folders become figures and tables. Reads files only: nothing here trains or imports torch.

`draw` draws everything; `artist` and `Sheet` are what a figure of one's own is made with.
"""

from madkit.figures.registry import Sheet, artist
from madkit.figures.study import draw

__all__ = ["Sheet", "artist", "draw"]
