"""Result cards: what a run is and what it found, in one small file that can be shown, checked and compared."""

from madkit.figures.cards.card import Card
from madkit.figures.cards.check import missing, outdated
from madkit.figures.cards.of_run import card_of

__all__ = ["Card", "card_of", "missing", "outdated"]
