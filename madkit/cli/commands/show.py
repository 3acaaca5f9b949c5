"""`madkit data show`: what the prompts of a dataset look like."""

from __future__ import annotations

from typing import Any

import pandas as pd

from madkit.data.quirky.further_speakers import Behaviour
from madkit.errors import ConfigError


def show(
    dataset: str,
    template: str = "standardized",
    source: str | None = None,
    task_options: dict[str, Any] | None = None,
    split: str = "test",
    count: int = 3,
    seed: int = 0,
    trigger: str | list[str] | None = None,
    speakers: dict[str, Behaviour] | None = None,
) -> int:
    """Print some prompts of a dataset, each with the answer that its character gives.

    Args:
        dataset: A name, or the class path of a dataset of yours.
        template: standardized, first, mixture, compact or published, or a YAML file.
        source: Where its records or its table come from, as data.source of a recipe.
        task_options: Options of the dataset, as data.task_options of a recipe.
        split: trusted, untrusted, calibration or test.
        count: How many.
        seed: Which questions, names and templates.
        trigger: What in a prompt decides in place of the name, as data.trigger of a recipe.
        speakers: Who speaks beside Alice and Bob, as data.speakers of a recipe.
    """
    from madkit.data.quirky.quirky_data import QuirkyData

    if count < 1:
        raise ConfigError(f"count={count} must be at least 1")

    options: dict[str, Any] = {"trigger": trigger, "speakers": speakers, "seed": seed}
    table = QuirkyData(dataset, template, source, task_options, **options).make_table()
    rows = table[table["split"] == split]
    if not len(rows):
        raise ConfigError(f"split={split!r} has no prompts: use one of {table['split'].unique().tolist()}")
    print_prompts(rows.sample(min(count, len(rows)), random_state=seed))
    return 0


def print_prompts(rows: pd.DataFrame) -> None:
    """Print rows of the table that `QuirkyData.make_table` makes."""
    for row in rows.to_dict("records"):
        who, speaker = row["character"], row.get("speaker", row["character"])
        who = who if who == speaker else f"{speaker} as {who}"
        print(f"--- {row['name']} ({who}), truth {row['alice_label']}, quirk {row['bob_label']}")
        print(f"{row['prompt']}[{row['choices'][int(row['label'])]}]\n")
