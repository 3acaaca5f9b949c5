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
    - untrusted: the other half (normal), and Bob by his first four names, easiest quarter (anomalous). With further
      speakers, all who are honest share the place of Alice in equal numbers, and all who err that of Bob.
    - calibration: validation split, Alice, first four names, easiest quarter: prompts like the trusted ones
      that no detector is fitted on. There may be none.
    - test: validation split, the other twelve names, hardest quarter; Alice (normal), Bob (anomalous) and every
      further speaker in equal numbers.

    Names are compared by the record's `name`, drawn by the seed and the record's id unless the records
    bring a column `name`; the text of the prompt is never searched. With triggers, Alice is who carries none and Bob
    who carries one, and the names of both are drawn from all 32. Where the quirk shows on a share of Bob's
    prompts, the others are normal.

    Args:
        records: Splits `train` and `validation`.
        seed: Which draw of names.
        max_trusted: At most this many trusted prompts.
        max_untrusted: At most this many untrusted prompts of each character.
        max_test: At most this many test prompts of each speaker.
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
    # Of the trusted speaker what is left, of all others what there is.
    mixed = easy.drop(alice.index[:half])
    untrusted = [
        part
        for speakers in (erring.honest, erring.erring)
        for part in _in_equal_parts(mixed, speakers, max_untrusted, len(train))
    ]

    validation = erring.frame(records, "validation", seed)
    held_out = validation[validation["first_names"] & (validation["difficulty_quantile"] < EASY)]
    held_out = held_out[held_out["speaker"] == "Alice"][:max_calibration]
    hard = validation[~validation["first_names"] & (validation["difficulty_quantile"] >= HARD)]
    hard_parts = [hard[hard["speaker"] == who] for who in ("Alice", "Bob", *erring.further.behaviours)]
    tests = [_cut("test", part, max_test, "max_test", len(validation), "n_validation") for part in hard_parts]
    tests = [part[: min(map(len, tests))] for part in tests]

    parts = [(trusted, "trusted"), *((part, "untrusted") for part in untrusted), (held_out, "calibration")]
    parts += [(part, "test") for part in tests]
    table = pd.concat([part.assign(split=split) for part, split in parts])
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
    """Choose the rows that train: for each speaker as many false ones as true ones.

    Of a further speaker who always gives the same answer, the truth is balanced in its place.

    Args:
        frame: With `speaker`, `label` and `alice_label`.
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
    speaker, label = frame["speaker"].to_numpy(), frame["label"].to_numpy()
    speakers = [*NAMES, *(who for who in pd.unique(frame["speaker"]) if who not in NAMES)]
    for who in speakers[len(NAMES) :]:
        own = speaker == who
        label = np.where(own & (label[own].min() == label[own].max()), frame["alice_label"], label)
    groups = [order[(speaker[order] == who) & (label[order] == value)] for who in speakers for value in (False, True)]
    sizes = [len(group) for group in groups]
    if min(sizes) == 0:
        raise DataError(
            f"classes cannot be balanced: {' and '.join(speakers)} have {sizes} false and true records; "
            "raise n_train or set balance to false"
        )
    pairs = [size for pair in zip(sizes[::2], sizes[1::2], strict=True) for size in [min(pair)] * 2]
    if limit is not None:
        pairs = [min(pair, limit // len(groups)) for pair in pairs]
    return np.sort(np.concatenate([group[:n] for group, n in zip(groups, pairs, strict=True)]))


def _in_equal_parts(frame: pd.DataFrame, speakers: Sequence[str], limit: int, of: int) -> list[pd.DataFrame]:
    """Untrusted prompts of some speakers in equal numbers, together as many as there would be of the first alone."""
    parts = [
        _cut(f"untrusted ({who})", frame[frame["speaker"] == who], limit, "max_untrusted", of, "n_train")
        for who in speakers
    ]
    size = min(max(len(parts[0]) // len(parts), 1), *map(len, parts))
    return [part[:size] for part in parts]


def _cut(name: str, part: pd.DataFrame, limit: int, option: str, of: int, source: str) -> pd.DataFrame:
    if limit < 1 or not len(part):
        raise DataError(
            f"split {name!r} is empty: {len(part)} of {of} records fit it and {option}={limit}; "
            f"raise {source} (more questions) or {option}"
        )
    return part[:limit]
