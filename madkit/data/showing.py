"""`madkit data show`: what the prompts of a dataset look like."""

from __future__ import annotations

from typing import Any

from madkit.data.splits import detection_splits


def show(
    dataset: str,
    template: str = "standardized",
    source: str | None = None,
    task_options: dict[str, Any] | None = None,
    split: str = "test",
    count: int = 3,
    seed: int = 0,
) -> int:
    """Print some prompts of a dataset.

    Args:
        dataset: A name, or the class path of one's own.
        template: standardized, first, mixture or compact, or a YAML file.
        source: Where its records or its table come from, as `data.source` of a recipe.
        task_options: Options of the dataset, as `data.task_options` of a recipe.
        split: trusted, untrusted, calibration or test.
        count: How many.
        seed: Which questions, names and templates.
    """
    from madkit.data.quirky import QuirkyData

    data = QuirkyData(dataset, template, source, task_options, seed=seed)
    table = detection_splits(data.records, data.templates, data.constants, seed)
    rows = table[table["split"] == split]
    for row in rows.sample(min(count, len(rows)), random_state=seed).itertuples():
        print(f"--- {row.name} ({row.character}), truth {row.alice_label}, quirk {row.bob_label}")
        print(f"{row.prompt}[{row.choices[int(row.label)]}]\n")
    return 0
