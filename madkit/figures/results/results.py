"""The results of any number of run folders as one set of tables."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from madkit.errors import StoreError
from madkit.figures.naming import slug
from madkit.figures.results.reading import SCHEMAS, read_aggregate_scores, read_parquet, read_run

DEFAULT_MARKERS = ("detection/results.parquet", "history.parquet")

STUDY_ORDER = (
    "addition",
    "subtraction",
    "multiplication",
    "modularaddition",
    "squaring",
    "capitals",
    "hemisphere",
    "population",
    "sciq",
    "sentiment",
    "nli",
    "authors",
)
"""The twelve quirky datasets, in the order of every figure; others come after them, by name."""


@dataclass(frozen=True)
class Results:
    """The tables of all run folders, one under the other; a part that no folder has is an empty table.

    Every table has the columns `model` and `dataset`, and those of its file in `detection/`.
    """

    folders: tuple[Path, ...]
    """The run folders read, sorted."""
    detection: pd.DataFrame
    """`results.parquet`: AUROC with its interval per detector, site and subset."""
    prompts: pd.DataFrame
    """`prompts.parquet`: the test prompts with their log odds."""
    separation: pd.DataFrame
    """`separation.parquet`: how far apart the characters are at each site."""
    quirkiness: pd.DataFrame
    """One row per model and dataset: value, low, high, in nats."""
    losses: pd.DataFrame
    """Four rows per model and dataset: which (`alice_own`, ...), value, low, high, in nats."""
    comparisons: pd.DataFrame
    """`comparisons.parquet`: paired tests between detectors."""
    history: pd.DataFrame
    """`history.parquet`: run, step, metric, value."""
    pca: pd.DataFrame
    """`pca.parquet`: test prompts on the first two principal components of each site."""
    costs: pd.DataFrame
    """Seconds a prompt: feature, score (empty for reading the feature), seconds_per_prompt, device."""
    places: dict[tuple[str, str], Path] = field(default_factory=dict)
    """The folder of each model and dataset."""

    def folders_of(self, model: str | None) -> list[Path]:
        """The folders of one model; of all where there is none."""
        return [folder for (name, _), folder in sorted(self.places.items()) if model in (None, name)]

    def table(self, file: str) -> pd.DataFrame:
        """A table that only some folders have, of all of them, with `model` and `dataset`.

        Args:
            file: its path in a result folder, such as ``poser/scores.parquet``.

        Returns:
            An empty table if no folder has it.

        Raises:
            StoreError: a file that cannot be read.
        """
        parts = [
            read_parquet(folder / file).assign(model=model, dataset=dataset)
            for (model, dataset), folder in sorted(self.places.items())
            if (folder / file).is_file()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"model": [], "dataset": []})

    def scores(self, model: str, dataset: str) -> pd.DataFrame:
        """Scores of the test prompts by whole detectors: the mean over sites, or the site where there is only one.

        Returns:
            feature, score, setting, row, value, and the columns of the prompts; empty where there are no scores.
        """
        folder = self.places.get((model, dataset))
        here = (self.prompts["model"] == model) & (self.prompts["dataset"] == dataset)
        if folder is None or not here.any() or not (folder / "detection" / "scores.parquet").is_file():
            return pd.DataFrame(columns=["feature", "score", "setting", "row", "value", *self.prompts.columns])
        found = read_aggregate_scores(folder / "detection" / "scores.parquet")
        known = self.detection[(self.detection["model"] == model) & (self.detection["dataset"] == dataset)]
        settings = known[["feature", "score", "setting"]].drop_duplicates()
        return found.merge(settings, on=["feature", "score"]).merge(self.prompts[here], on="row")

    @property
    def models(self) -> list[str]:
        """All models, by name."""
        return sorted({name for table in self._tables() for name in table["model"]} | {m for m, _ in self.places})

    @property
    def datasets(self) -> list[str]:
        """All datasets, in the order of the study."""
        return in_order(name for table in self._tables() for name in table["dataset"])

    def slug(self, model: str) -> str:
        """The model's part of a file name; two models never share one."""
        same = [other for other in self.models if slug(other) == slug(model)]
        return slug(model) if same[0] == model else f"{slug(model)}-{same.index(model) + 1}"

    def aggregate(self) -> pd.DataFrame:
        """The rows that stand for a whole detector: the mean over sites, or the site where there is only one.

        Returns:
            Rows of `detection`, at most one per model, dataset, feature, score, setting and subset.
        """
        whole = self.detection[(self.detection["site"] == "aggregate") & (self.detection["aggregation"] == "mean")]
        key = ["model", "dataset", "feature", "score", "setting", "subset"]
        sites = self.detection[self.detection["site"] != "aggregate"]
        lone = sites[~sites.duplicated(key, keep=False)]
        return pd.concat([whole, lone]).drop_duplicates(key, keep="first")

    def inside(self) -> pd.DataFrame:
        """The rows of detectors that read the model's layers: not its answers alone, and not the ceiling.

        Returns:
            Rows of `detection`.
        """
        layered = set(self.detection.loc[self.detection["layer"].notna(), "feature"])
        own = self.detection["feature"].isin(layered) & (self.detection["setting"] != "ceiling")
        return self.detection[own]

    def _tables(self) -> tuple[pd.DataFrame, ...]:
        return (
            self.detection,
            self.prompts,
            self.separation,
            self.quirkiness,
            self.losses,
            self.comparisons,
            self.history,
            self.pca,
            self.costs,
        )


def in_order(datasets: Iterable[str]) -> list[str]:
    """Each dataset once, in the order of the study; unknown ones last, by name.

    Example:
        >>> in_order(["nli", "my_own", "addition", "nli"])
        ['addition', 'nli', 'my_own']
    """
    place = {name: index for index, name in enumerate(STUDY_ORDER)}
    return sorted(set(datasets), key=lambda name: (place.get(name, len(place)), name))


def grouped(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The rows of each combination of `columns`, in the order of their names."""
    for key, rows in table.groupby(list(columns)):
        yield tuple(map(str, key)), rows


def load(folders: Sequence[Path], markers: Collection[str] = DEFAULT_MARKERS) -> Results:
    """Read every run folder at or below `folders`. What one lacks is left out.

    Args:
        folders: searched at any depth.
        markers: the files by which a run folder is known.

    Raises:
        StoreError: nothing found; an unreadable file, a missing column, or two folders with the same model
            and dataset.
    """
    runs = _find(folders, markers)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in SCHEMAS}
    owner: dict[tuple[str, str], Path] = {}
    for run in runs:
        pair, tables = read_run(run)
        own = [marker for marker in markers if marker not in DEFAULT_MARKERS and (run / marker).is_file()]
        if not tables and not own:
            continue
        if not tables:  # such as runs/tiny-poser/poser: what it is about is the whole of the folder above
            pair = run.resolve().name, own[0].partition("/")[0]
        if pair in owner:
            raise StoreError(
                f"runs: {owner[pair]} and {run} both hold model={pair[0]!r}, dataset={pair[1]!r}; "
                "name only one of them."
            )
        owner[pair] = run
        for name, table in tables.items():
            parts[name].append(table)
    joined = {
        name: pd.concat(tables, ignore_index=True)
        if tables
        else pd.DataFrame(columns=["model", "dataset", *SCHEMAS[name]])
        for name, tables in parts.items()
    }
    return Results(folders=tuple(runs), places=owner, **joined)


def _find(folders: Sequence[Path], markers: Collection[str]) -> list[Path]:
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StoreError(f"runs={folder}: no such folder; name a run folder or a folder of run folders.")
        hits = [path.parents[marker.count("/")] for marker in markers for path in folder.rglob(marker)]
        if folder.name == "detection" and (folder / "results.parquet").is_file():
            hits.append(folder.parent)
        # One folder named twice, or through a link, is one run.
        found.update({hit.resolve(): hit for hit in sorted(hits)})
    if not found:
        named = ", ".join(map(str, folders)) or "nothing"
        raise StoreError(
            f"runs={named}: no detection/results.parquet or history.parquet below; run `madkit test` first."
        )
    return sorted(found.values())
