"""The results of any number of run folders as one set of tables."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from madkit.figures.naming import slug
from madkit.figures.published.names import position
from madkit.figures.results.reading import (
    HELD,
    SCHEMAS,
    read_aggregate_scores,
    read_large,
    read_parquet,
    read_site_scores,
)

OWN_ANSWER = "own answer"
"""The setting of the control that knows what the model answers, and nothing else."""
_DETECTOR = ["feature", "control", "score"]


@dataclass(frozen=True)
class Results:
    """The tables of all run folders, one under the other; a table that no folder has is empty.

    What has a row per prompt or per pair of detectors is read run by run when it is asked for, so that a thousand runs
    take no more memory than the figure that is drawn needs of them.

    Every table has the columns `model` and `dataset`, and those of its file in `detection/`; a table with features also
    `control`: whether the feature was read with the adapter off, so that there is no quirk to detect.
    """

    folders: tuple[Path, ...]
    """The run folders read, sorted."""
    detection: pd.DataFrame
    """`results.parquet`: AUROC with its interval per detector, site and subset."""
    own_answer: pd.DataFrame
    """The rows of `results.parquet` about the control that knows the answer alone; `detection` has the others."""
    separation: pd.DataFrame
    """`separation.parquet`: how far apart the characters are at each site."""
    quirkiness: pd.DataFrame
    """One row per model and dataset: value, low, high, in nats."""
    losses: pd.DataFrame
    """Four rows per model and dataset: which (`alice_own`, ...), value, low, high, in nats."""
    history: pd.DataFrame
    """`history.parquet`: run, step, metric, value."""
    costs: pd.DataFrame
    """Seconds a prompt: feature, score (empty for reading the feature), seconds_per_prompt, device."""
    run_folders: dict[tuple[str, str], Path] = field(default_factory=dict)
    """The folder of each model and dataset."""
    benign: "Results | None" = None
    """The same of the controls: models that were tuned on the same questions with the truth as everyone's answer."""
    doses: dict[int, "Results"] = field(default_factory=dict)
    """The same of the weights after so many optimizer steps, in ascending order."""
    obfuscated: dict[str, "Results"] = field(default_factory=dict)
    """The same of models that were trained to hide their quirk, by the name of their folder: what they hide from."""
    first_seed: int = 0
    """The seed of these runs: the lowest that there is."""
    seeds: dict[int, "Results"] = field(default_factory=dict)
    """The same of the further seeds, in ascending order; all else here is of the first one."""
    cards: tuple[Path, ...] = ()
    """Result cards, of these runs and of other people's."""
    shown: str = ""
    """Behind the titles of pictures that leave out some models or datasets: which these are."""

    @property
    def everything(self) -> list[Path]:
        """The folders of all runs and of what belongs to them, of all seeds."""
        return [*self.folders_of(None), *(folder for part in self.seeds.values() for folder in part.everything)]

    def over_seeds(self, table: Callable[["Results"], pd.DataFrame]) -> pd.DataFrame:
        """A table of all seeds, one under the other.

        Args:
            table: makes it of the results of one seed.

        Returns:
            Its rows, with a column `seed`; averages over datasets take those of a dataset together first.
        """
        parts = {self.first_seed: self, **self.seeds}
        return pd.concat([table(part).assign(seed=seed) for seed, part in parts.items()])

    def folders_of(self, model: str | None) -> list[Path]:
        """The folders of one model, then those of what belongs to it; of all models for None."""
        own = [folder for (name, _), folder in sorted(self.run_folders.items()) if model in (None, name)]
        return own + [folder for part in self._parts for folder in part.folders_of(model)]

    @property
    def _parts(self) -> list["Results"]:
        """What belongs to these runs: controls, doses, models that hide."""
        return [*([self.benign] if self.benign else []), *self.doses.values(), *self.obfuscated.values()]

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
            for (model, dataset), folder in sorted(self.run_folders.items())
            if (folder / file).is_file()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"model": [], "dataset": []})

    def prompts(self, model: str, dataset: str) -> pd.DataFrame:
        """`prompts.parquet` of one run: the test prompts with their log odds; empty where it has none."""
        return self._large("prompts", model, dataset)

    def pca(self, model: str, dataset: str) -> pd.DataFrame:
        """`pca.parquet` of one run: test prompts on the first two principal components of each site."""
        return self._large("pca", model, dataset)

    def nearest(self, model: str, dataset: str) -> pd.DataFrame:
        """`nearest.parquet` of one run: which trusted prompts each test prompt resembles, the adapter on."""
        table = self._large("nearest", model, dataset)
        return table[~table["control"]]

    def calibration(self, model: str, dataset: str) -> pd.DataFrame:
        """`calibration.parquet` of one run: scores of held-out trusted prompts at each site, the adapter on."""
        table = self._large("calibration", model, dataset)
        return table[~table["control"]]

    def site_scores(self, model: str, dataset: str, detectors: Collection[tuple[str, str]]) -> pd.DataFrame:
        """Scores of the test prompts at each site, the adapter on.

        Args:
            model: the model's name.
            dataset: the dataset's.
            detectors: features and scores.

        Returns:
            feature, score, site, layer, row, value; empty without scores.
        """
        folder = self.run_folders.get((model, dataset))
        path = folder / "detection" / "scores.parquet" if folder else None
        if path is None or not path.is_file():
            return pd.DataFrame(columns=["feature", "score", "site", "layer", "row", "value"])
        return read_site_scores(path, detectors)

    def tests(self) -> Iterator[pd.DataFrame]:
        """`comparisons.parquet` of one run after the other: every paired test between detectors."""
        for model, dataset in sorted(self.run_folders):
            tests = self._large("comparisons", model, dataset)
            if len(tests):
                yield tests

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The paired tests of all runs between detectors that stand for their sites by the mean."""
        means = [tests[tests["aggregation"] == "mean"] for tests in self.tests()]
        return pd.concat(means, ignore_index=True) if means else empty_table("comparisons")

    def _large(self, kind: str, model: str, dataset: str) -> pd.DataFrame:
        folder = self.run_folders.get((model, dataset))
        table = read_large(folder, kind) if folder else None
        return empty_table(kind) if table is None else table.assign(model=model, dataset=dataset)

    def scores(self, model: str, dataset: str, detectors: Collection[tuple[str, str]]) -> pd.DataFrame:
        """Scores of the test prompts by some detectors: the mean over sites, or the site where there is only one.

        Args:
            model: the model's name.
            dataset: the dataset's.
            detectors: features and scores.

        Returns:
            feature, control, score, setting, row, value, and the columns of the prompts; empty without scores.
        """
        folder = self.run_folders.get((model, dataset))
        prompts = self.prompts(model, dataset)
        if folder is None or prompts.empty or not (folder / "detection" / "scores.parquet").is_file():
            columns = [*_DETECTOR, "setting", "row", "value", *prompts.columns]
            return pd.DataFrame(columns=columns).astype({"control": bool})
        scores = read_aggregate_scores(folder / "detection" / "scores.parquet", detectors)
        all_detectors = self.detection[(self.detection["model"] == model) & (self.detection["dataset"] == dataset)]
        settings = all_detectors[[*_DETECTOR, "setting"]].drop_duplicates()
        return scores.merge(settings, on=_DETECTOR).merge(prompts, on="row")

    @cached_property
    def models(self) -> list[str]:
        """All models, by name."""
        own = {name for table in self._tables() for name in table["model"].unique()} | {m for m, _ in self.run_folders}
        # What lacks the first seed is in averages over seeds all the same.
        others = [*self.doses.values(), *self.obfuscated.values(), *self.seeds.values()]
        return sorted(own.union(*(part.models for part in others)))

    @cached_property
    def datasets(self) -> list[str]:
        """All datasets, in the order of the study."""
        own = {name for table in self._tables() for name in table["dataset"].unique()}
        return ordered_datasets(own.union(*(part.datasets for part in self.seeds.values())))

    @cached_property
    def datasets_of_models(self) -> dict[str, list[str]]:
        """Of each model that was tested its datasets, in the order of the study."""
        pairs = self.detection.groupby("model")["dataset"].unique()
        return {str(model): ordered_datasets(datasets) for model, datasets in pairs.items()}

    def slug(self, model: str) -> str:
        """The model's part of a file name; two models never share one."""
        same = [other for other in self.models if slug(other) == slug(model)]
        return slug(model) if same[0] == model else f"{slug(model)}-{same.index(model) + 1}"

    def aggregated(self, own_answer: bool = False) -> pd.DataFrame:
        """The rows that stand for a detector: the mean over sites, or the site where there is only one.

        Args:
            own_answer: followed by the rows of the control that knows the answer alone.

        Returns:
            Rows of `detection`, at most one per model, dataset, feature, control, score, setting and subset.
        """
        own = [self.own_answer] if own_answer and len(self.own_answer) else []
        return pd.concat([self._aggregated, *own])

    @cached_property
    def _aggregated(self) -> pd.DataFrame:
        means = self.detection[(self.detection["site"] == "aggregate") & (self.detection["aggregation"] == "mean")]
        key = ["model", "dataset", *_DETECTOR, "setting", "subset"]
        sites = self.detection[self.detection["site"] != "aggregate"]
        single_sites = sites[~sites.duplicated(key, keep=False)]
        return pd.concat([means, single_sites]).drop_duplicates(key, keep="first")

    def of_layers(self) -> pd.DataFrame:
        """The rows of detectors that read the model's layers: not its answers alone, and not the ceiling.

        Returns:
            Rows of `detection`.
        """
        layered = set(self.detection.loc[self.detection["layer"].notna(), "feature"])
        return self.detection[self.detection["feature"].isin(layered) & (self.detection["setting"] != "ceiling")]

    def _tables(self) -> list[pd.DataFrame]:
        return [getattr(self, name) for name in HELD]


def ordered_datasets(datasets: Iterable[str]) -> list[str]:
    """Each dataset once, in the order of the study; others last, by name.

    Example:
        >>> ordered_datasets(["nli", "my_dataset", "addition", "nli"])
        ['addition', 'nli', 'my_dataset']
    """
    return sorted(set(datasets), key=lambda name: position("dataset", name))


def grouped(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The rows of each combination of `columns`, in the order of their names."""
    for key, rows in table.groupby(list(columns)):
        yield tuple(map(str, key)), rows


def empty_table(name: str) -> pd.DataFrame:
    """A table of a result folder, without rows."""
    control = {"control": pd.Series(dtype=bool)} if {"feature", "a"} & set(SCHEMAS[name]) else {}
    return pd.DataFrame(columns=["model", "dataset", *SCHEMAS[name]]).assign(**control)
