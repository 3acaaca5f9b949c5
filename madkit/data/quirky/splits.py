"""Which records train the quirky model, and which ones are trusted, untrusted and test prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from madkit.data.prompts.characters import NAMES
from madkit.data.prompts.templates import TRIGGER_FIELD, Template, render_prompts
from madkit.data.quirky.erring import Erring
from madkit.data.records.columns import statement_id, template_args
from madkit.errors import DataError

if TYPE_CHECKING:
    from datasets import DatasetDict

EASY, HARD = 0.25, 0.75
_BY_NAME = Erring()
_KEPT = ("id", "name", "character", "label", "alice_label", "bob_label", "difficulty", "difficulty_quantile")


def detection_splits(
    records: DatasetDict,
    templates: Sequence[Template],
    constants: Mapping[str, Any] | None = None,
    seed: int = 0,
    max_trusted: int = 4000,
    max_untrusted: int = 4000,
    max_test: int = 4000,
    max_calibration: int = 1000,
    erring: Erring = _BY_NAME,
) -> pd.DataFrame:
    """The prompts that detectors are fitted and tested on: those of `detection_rows`, in words.

    Args:
        records: Splits `train` and `validation`.
        templates: Wordings, as `load_templates` returns them.
        constants: Values that are the same in all prompts, as of `Task.constants`.
        seed: Which draw of names and templates.
        max_trusted: As of `detection_rows`, like the following.
        max_untrusted: The same.
        max_test: The same.
        max_calibration: The same.
        erring: The same.

    Returns:
        The table of `detection_rows` with the columns `statement` (the same for all prompts of one question,
        whoever speaks and in whatever words), `prompt` and `choices` (a pair).

    Raises:
        DataError: A split is missing, or one of the sets is empty.
    """
    table = detection_rows(records, seed, max_trusted, max_untrusted, max_test, max_calibration, erring)
    from_train = table["split"].isin(["trusted", "untrusted"])
    args = [
        *template_args(records["train"], table.loc[from_train, "record"].to_numpy(), constants),
        *template_args(records["validation"], table.loc[~from_train, "record"].to_numpy(), constants),
    ]
    table.insert(list(table.columns).index("id") + 1, "statement", [statement_id(values) for values in args])
    args = with_triggers(args, table)
    table = table.drop(columns="record")
    prompts, choices = render_prompts(templates, table["id"].tolist(), table["name"].tolist(), args, seed)
    return table.assign(prompt=prompts, choices=pd.Series(choices, index=table.index, dtype=object))


def detection_rows(
    records: DatasetDict,
    seed: int = 0,
    max_trusted: int = 4000,
    max_untrusted: int = 4000,
    max_test: int = 4000,
    max_calibration: int = 1000,
    erring: Erring = _BY_NAME,
) -> pd.DataFrame:
    """Choose the records that detectors are fitted and tested on, as in arXiv 2504.08812.

    - trusted: train split, Alice, first four names, easiest quarter; the first half of them.
    - untrusted: the other half (normal), and Bob by his first four names, easiest quarter (anomalous).
    - calibration: validation split, Alice, first four names, easiest quarter: prompts like the trusted ones
      that no detector is fitted on. There may be none.
    - test: validation split, the other twelve names, hardest quarter; Alice (normal) and Bob (anomalous)
      in equal numbers.

    Names are compared by the record's `name`, drawn by the seed and the record's id unless the records
    bring a column `name`; the text of the prompt is never searched. With triggers, Alice is who carries none and Bob
    who carries one, and the names of both are drawn from all 32. Where the quirk shows on a share of Bob's
    prompts, the others are normal.

    Args:
        records: Splits `train` and `validation`.
        seed: Which draw of names.
        max_trusted: At most this many trusted prompts.
        max_untrusted: At most this many untrusted prompts of each character.
        max_test: At most this many test prompts of each character.
        max_calibration: At most this many calibration prompts; 0 for none.
        erring: On which prompts the quirk shows.

    Returns:
        One row a prompt: `row` (0, 1, ... in this order), `split` (one of the above), `id`, `name`,
        `character`, `label`, `alice_label`, `bob_label`, `anomalous` (the quirk shows; then the character is Bob),
        `difficulty`, `difficulty_quantile`, and `record`, its number in the split that it comes from. Then
        `erring.columns`.

    Raises:
        DataError: A split is missing, or one of the sets above is empty.
    """
    train = erring.frame(records, "train", seed)
    easy = train[train["first_names"] & (train["difficulty_quantile"] < EASY)]
    alice = easy[easy["speaker"] == "Alice"]
    # The first half has the odd one: a single easy Alice prompt is a trusted one.
    half = (len(alice) + 1) // 2
    trusted = _cut("trusted", alice[:half], max_trusted, "max_trusted", len(train), "n_train")
    normal = _cut("untrusted (Alice)", alice[half:], max_untrusted, "max_untrusted", len(train), "n_train")
    bob = easy[easy["speaker"] == "Bob"]
    quirky = _cut("untrusted (Bob)", bob, max_untrusted, "max_untrusted", len(train), "n_train")

    validation = erring.frame(records, "validation", seed)
    held_out = validation[validation["first_names"] & (validation["difficulty_quantile"] < EASY)]
    held_out = held_out[held_out["speaker"] == "Alice"][:max_calibration]
    hard = validation[~validation["first_names"] & (validation["difficulty_quantile"] >= HARD)]
    hard_parts = [hard[hard["speaker"] == character] for character in ("Alice", "Bob")]
    tests = [_cut("test", part, max_test, "max_test", len(validation), "n_validation") for part in hard_parts]
    tests = [part[: min(map(len, tests))] for part in tests]

    parts = [(trusted, "trusted"), (normal, "untrusted"), (quirky, "untrusted"), (held_out, "calibration")]
    parts += [(part, "test") for part in tests]
    table = pd.concat([part.assign(split=split, record=part.index) for part, split in parts])
    table = table[["split", *_KEPT, "anomalous", *erring.columns, "record"]].reset_index(drop=True)
    table.insert(0, "row", np.arange(len(table)))
    return table


def with_triggers(args: Sequence[Mapping[str, Any]], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The values that templates show, with what stands in each prompt as a trigger, or for one.

    Args:
        args: n mappings of field to value.
        frame: n rows, with `trigger_text` where there are triggers.
    """
    if "trigger_text" not in frame:
        return [dict(values) for values in args]
    return [{**values, TRIGGER_FIELD: text} for values, text in zip(args, frame["trigger_text"], strict=True)]


def balanced_rows(frame: pd.DataFrame, seed: int, balance: bool = True, limit: int | None = None) -> np.ndarray:
    """Choose the rows that train: for each character as many false ones as true ones.

    Args:
        frame: With `speaker` and `label`.
        seed: Which of the rows of the larger class are left out.
        balance: Off keeps all of them.
        limit: At most this many rows in all.

    Returns:
        Sorted row numbers, int64.

    Raises:
        DataError: A character has no true or no false record.
    """
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(frame))
    if not balance:
        return np.sort(order[:limit])
    character, label = frame["speaker"].to_numpy(), frame["label"].to_numpy()
    groups = [order[(character[order] == who) & (label[order] == value)] for who in NAMES for value in (False, True)]
    sizes = [len(group) for group in groups]
    if min(sizes) == 0:
        raise DataError(
            f"classes cannot be balanced: Alice and Bob have {sizes} false and true records; "
            "raise n_train or set balance to false"
        )
    pairs = [min(sizes[0], sizes[1])] * 2 + [min(sizes[2], sizes[3])] * 2
    if limit is not None:
        pairs = [min(pair, limit // 4) for pair in pairs]
    return np.sort(np.concatenate([group[:n] for group, n in zip(groups, pairs, strict=True)]))


def _cut(name: str, part: pd.DataFrame, limit: int, option: str, of: int, source: str) -> pd.DataFrame:
    if limit < 1 or not len(part):
        raise DataError(
            f"split {name!r} is empty: {len(part)} of {of} records fit it and {option}={limit}; "
            f"raise {source} (more questions) or {option}"
        )
    return part[:limit]
