"""The results of any number of run folders as one set of tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from madkit.errors import StoreError
from madkit.figures.naming import slug
from madkit.figures.reading import SCHEMAS, read_run

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

    @property
    def models(self) -> list[str]:
        """All models, by name."""
        return sorted({name for table in self._tables() for name in table["model"]})

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


def load(folders: Sequence[Path]) -> Results:
    """Read every run folder at or below `folders`.

    A run folder is one with `detection/results.parquet` or `history.parquet`. What else it lacks is left out.

    Raises:
        StoreError: nothing found; an unreadable file, a missing column, or two folders with the same model
            and dataset.
    """
    runs = _find(folders)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in SCHEMAS}
    owner: dict[tuple[str, str], Path] = {}
    for run in runs:
        tables = read_run(run)
        if not tables:
            continue
        first = next(iter(tables.values()))
        pair = (str(first["model"].iloc[0]), str(first["dataset"].iloc[0]))
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
    return Results(folders=tuple(runs), **joined)


def _find(folders: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StoreError(f"runs={folder}: no such folder; name a run folder or a folder of run folders.")
        hits = [path.parent.parent for path in folder.rglob("detection/results.parquet")]
        hits += [path.parent for path in folder.rglob("history.parquet")]
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
