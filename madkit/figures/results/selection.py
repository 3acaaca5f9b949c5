"""Which models and datasets the pictures show where there are more than a reader can look at; tables show all."""

from collections.abc import Collection
from dataclasses import replace

from madkit.figures.results.reading import HELD
from madkit.figures.results.results import Results

MOST_MODELS = 12
"""Models that have pages of their own, or a place on the pages of all models."""
MOST_DATASETS = 24
"""Datasets that have a panel on a model's page."""


def only(results: Results, models: Collection[str], datasets: Collection[str]) -> Results:
    """The results of some models and datasets, with their controls, doses and seeds."""
    names = [*HELD, "own_answer"]
    tables = {name: getattr(results, name) for name in names}
    tables = {name: t[t["model"].isin(models) & t["dataset"].isin(datasets)] for name, t in tables.items()}
    # What is about all models of a folder, such as POSER's pairs, has no dataset.
    left_out = set(results.datasets) - set(datasets)
    folders = {(m, d): path for (m, d), path in results.run_folders.items() if m in models and d not in left_out}
    return replace(
        results,
        folders=tuple(folders.values()),
        run_folders=folders,
        benign=only(results.benign, models, datasets) if results.benign else None,
        doses={step: only(dose, models, datasets) for step, dose in results.doses.items()},
        obfuscated={against: only(part, models, datasets) for against, part in results.obfuscated.items()},
        seeds={seed: only(part, models, datasets) for seed, part in results.seeds.items()},
        **tables,
    )


def first_models(results: Results) -> Results:
    """At most `MOST_MODELS` models, by name, on all datasets, so that averages are those of the tables."""
    return _first(results, len(results.datasets))


def first_panels(results: Results) -> Results:
    """At most `MOST_MODELS` models, by name, on at most `MOST_DATASETS` datasets, in the order of the study."""
    return _first(results, MOST_DATASETS)


def _first(results: Results, most_datasets: int) -> Results:
    kept = (results.models, MOST_MODELS, "models"), (results.datasets, most_datasets, "datasets")
    words = ", ".join(f"the first {most} of {len(names)} {kind}" for names, most, kind in kept if len(names) > most)
    if not words:
        return results
    models, datasets = (list[str](names[:most]) for names, most, _ in kept)
    return replace(only(results, models, datasets), shown=f" ({words})")


def what_is_shown(results: Results) -> str:
    """A sentence about what pictures leave out; nothing where they leave out nothing."""
    shown = first_panels(results).shown.strip(" ()")
    return f"Pictures show {shown}; the tables have all." if shown else ""
