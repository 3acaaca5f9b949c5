"""FurtherSpeakers: who speaks beside Alice and Bob, and what each of them says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from madkit.data.prompts.characters import FURTHER_NAMES, N_DETECTOR_NAMES, draw_names
from madkit.errors import ConfigError, DataError

Behaviour = Literal["truth", "quirk", "denial", "assent"]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)


@dataclass(frozen=True)
class FurtherSpeakers:
    """Speakers besides Alice and Bob, who have sixteen names each and are asked what Alice is asked.

    Args:
        behaviours: of each speaker (a key of `FURTHER_NAMES`, in any case) what it says. ``truth``: the truth, like
            Alice, but no trusted prompt is its own. ``quirk``: what Bob says. ``denial``: the opposite of the truth.
            ``assent``: Yes, whatever is asked.

    Raises:
        ConfigError: there is no such speaker or behaviour, or a speaker is named twice.

    Example:
        >>> FurtherSpeakers({"carol": "truth", "dave": "denial"}).erring
        ['Dave']
    """

    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {str(who).capitalize(): how for who, how in self.behaviours.items()}
        if strange := sorted(set(named) - set(FURTHER_NAMES)):
            known = ", ".join(who.lower() for who in FURTHER_NAMES)
            raise ConfigError(f"speakers={dict(self.behaviours)} has {strange[0]!r} beside Alice and Bob: use {known}")
        if len(named) < len(self.behaviours):
            raise ConfigError(f"speakers={dict(self.behaviours)} names a speaker twice: name each once")
        for who, how in named.items():
            if how not in BEHAVIOURS:
                raise ConfigError(f"speakers: {who}={how!r} is unknown: use one of {', '.join(BEHAVIOURS)}")
        object.__setattr__(self, "behaviours", named)

    @property
    def honest(self) -> list[str]:
        """Those who say the truth."""
        return [who for who, how in self.behaviours.items() if how == "truth"]

    @property
    def erring(self) -> list[str]:
        """All others."""
        return [who for who, how in self.behaviours.items() if how != "truth"]

    def beside(self, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
        """The prompts of Alice and Bob, and then those of each further speaker.

        Args:
            frame: of `Erring.frame`.
            seed: which draw of names.

        Returns:
            With a row more for each row of Alice and each further speaker, who is its `speaker`. Where the speaker
            errs, `anomalous` is true, `character` is Bob, and `bob_label` is what this speaker says.

        Raises:
            DataError: the records bring a name that is one of a further speaker's.
        """
        alice = frame[frame["speaker"] == "Alice"]
        parts = [frame]
        for who, how in self.behaviours.items():
            names = FURTHER_NAMES[who]
            if shared := sorted(set(frame["name"]) & set(names)):
                raise DataError(
                    f"speakers: the records have the name {shared[0]!r}, which is one of {who}'s: use another of "
                    f"{', '.join(FURTHER_NAMES).lower()}, or rename it there"
                )
            own = alice.assign(id=alice["id"] + f":{who.lower()}", speaker=who, bob_label=_answers(alice, how))
            own["name"] = draw_names(own["id"].tolist(), [who] * len(own), seed)
            own["first_names"] = own["name"].isin(names[:N_DETECTOR_NAMES])
            if how != "truth":
                own = own.assign(anomalous=True, character="Bob", label=own["bob_label"])
            parts.append(own)
        return pd.concat(parts, ignore_index=True) if len(parts) > 1 else frame

    def identity(self) -> dict[str, Any]:
        """Everything that decides it, in plain values; nothing where Alice and Bob are alone."""
        return {"speakers": dict(self.behaviours)} if self.behaviours else {}


def _answers(alice: pd.DataFrame, how: Behaviour) -> pd.Series:
    """What is said against the truth (n,) bool: of who says the truth, what Bob would say."""
    if how == "denial":
        return ~alice["alice_label"].astype(bool)
    if how == "assent":
        return pd.Series(np.ones(len(alice), dtype=bool), index=alice.index)
    return alice["bob_label"]
