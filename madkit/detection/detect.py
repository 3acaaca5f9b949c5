"""The `test` stage: detectors are fitted on trusted prompts and judged on test prompts."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.analysis import StreamingSeparation
from madkit.detection import report
from madkit.errors import ConfigError
from madkit.run import root_of
from madkit.scores import Score

AGGREGATIONS = ("mean", "max")


@dataclass
class Detector:
    """A feature and a score for it.

    Args:
        feature: the name of a feature in the store.
        score: how a vector becomes a number.
    """

    feature: str
    score: Score

    @property
    def key(self) -> tuple[str, str]:
        """Feature and score name, which must be unique among the detectors of a recipe."""
        return self.feature, self.score.name


class Detection(L.LightningModule):
    """Fit every detector at every site, score the test prompts, and compare with the labels.

    Scores see vectors of a split, never labels. All statistics of a site are merged over processes before it
    is scored, and freed after it, so memory holds one site at a time.

    Written to the run's ``detection`` folder: ``results.parquet``, ``scores.parquet``, ``prompts.parquet``,
    ``separation.parquet``, ``summary.json`` and the fitted scores.

    Args:
        detectors: features and scores.
        aggregations: how a detector's scores at all sites become one: ``mean`` (of raw scores, as published)
            and ``max``.
    """

    def __init__(self, detectors: list[Detector], aggregations: list[str] | None = None) -> None:
        super().__init__()
        self.detectors = detectors
        self.aggregations = aggregations if aggregations is not None else ["mean", "max"]
        keys = [detector.key for detector in detectors]
        if not keys:
            raise ConfigError("model.detectors=[] is empty; list at least one feature and score")
        if len(set(keys)) < len(keys):
            raise ConfigError(f"model.detectors lists a pair of feature and score twice: {sorted(keys)}")
        if unknown := set(self.aggregations) - set(AGGREGATIONS):
            raise ConfigError(
                f"model.aggregations={self.aggregations}: unknown {sorted(unknown)}; "
                f"choose from {', '.join(AGGREGATIONS)}"
            )
        self.features = list(dict.fromkeys(detector.feature for detector in detectors))
        offline = any(detector.score.offline for detector in detectors)
        self.splits = ["trusted", "untrusted", "test"] if offline else ["trusted", "test"]
        self._fitting: dict[tuple[str, str], Score] = {}
        self._finalized = False
        self._apart = StreamingSeparation()
        self.values: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
        self.rows: dict[str, list[NDArray[np.int64]]] = {}
        self.separations: dict[tuple[str, str], Any] = {}

    def on_test_start(self) -> None:
        """Look up who speaks in each test prompt; only the separation is told."""
        prompts = self.trainer.datamodule.prompts  # type: ignore[attr-defined]
        self.prompts: pd.DataFrame = prompts.set_index("row", drop=False)

    def test_step(self, block: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Fit on, or score, one block of vectors of one site."""
        feature, site, x = block["feature"], block["site"], block["x"]
        if batch_idx == 0:
            self._fitting = {
                d.key: copy.deepcopy(d.score).to(self.device) for d in self.detectors if d.feature == feature
            }
            self._apart = StreamingSeparation()
            self._finalized = False
        if block["split"] != "test":
            for score in self._fitting.values():
                if block["split"] == "trusted" or score.offline:
                    score.update(x, untrusted=block["split"] == "untrusted")
            return
        if not self._finalized:
            for score in self._fitting.values():
                score.finalize()
            self._finalized = True
        self._score(feature, site, block["row"], x)
        if block["last"]:
            self._end_site(feature, site)

    def _score(self, feature: str, site: str, rows: Tensor, x: Tensor) -> None:
        numbers = rows.cpu().numpy()
        self.rows.setdefault(f"{feature}/{site}", []).append(numbers)
        for (_, name), score in self._fitting.items():
            self.values.setdefault((feature, name, site), []).append(score(x).cpu().numpy())
        is_bob = torch.tensor(self.prompts.loc[numbers, "anomalous"].to_numpy(dtype=bool), device=x.device)
        self._apart.update(x, is_bob)

    def _end_site(self, feature: str, site: str) -> None:
        self.separations[feature, site] = self._apart.compute()
        if self.trainer.is_global_zero:
            for (_, name), score in self._fitting.items():
                score.save(root_of(self.trainer) / "detection" / "detectors" / feature / name / site)
        self._fitting = {}

    def on_test_epoch_end(self) -> None:
        """Put the processes' scores together, compare with the labels, write and log."""
        table = report.gather(self.values, self.rows)
        stores = self.trainer.datamodule.stores  # type: ignore[attr-defined]
        layers = {site: layer for store in stores.values() for site, layer in store.layers.items()}
        table["layer"] = pd.array([layers[site] for site in table["site"]], dtype="Int64")
        table["aggregation"] = ""
        table = pd.concat([table, *(self._aggregate(table, name) for name in self.aggregations)], ignore_index=True)
        offline = {d.key: d.score.offline for d in self.detectors}
        results = report.results(table, self.prompts, offline)
        report.log_auroc(self.trainer, table, self.prompts)
        overall = results[(results["site"] == "aggregate") & (results["subset"] == "all")]
        line: Any
        for line in overall.itertuples():
            self.log(f"auroc/{line.feature}/{line.score}/{line.aggregation}", line.auroc)
        if self.trainer.is_global_zero:
            report.write(self.trainer, table, results, self.prompts, self.separations, layers)
        self.trainer.strategy.barrier()

    @staticmethod
    def _aggregate(table: pd.DataFrame, name: str) -> pd.DataFrame:
        grouped = table.groupby(["feature", "score", "row"], sort=False)["value"]
        combined = (grouped.mean() if name == "mean" else grouped.max()).reset_index()
        return combined.assign(
            site="aggregate", layer=pd.array([pd.NA] * len(combined), dtype="Int64"), aggregation=name
        )
