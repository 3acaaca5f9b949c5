"""The `test` stage: detectors are fitted on trusted prompts and judged on test prompts."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.analysis.streaming_separation import StreamingSeparation
from madkit.data.prompts.characters import name_order
from madkit.detection import output, pca, result_tables
from madkit.detection.supervised_probe import PROBE, SETTING, probe
from madkit.errors import ConfigError
from madkit.runs.cost import Cost, measured
from madkit.runs.folder import root_of
from madkit.scores import Score, ScoreCollection
from madkit.statistics.aggregation import AGGREGATIONS, CALIBRATED
from madkit.streaming.accumulator import merge_processes
from madkit.streaming.pool import Pool
from madkit.streaming.validation import row_chunks

#: What counts as untrusted, as results name it.
UNTRUSTED = {"untrusted": "untrusted split", "test": "test prompts"}

#: Prompts that a score is timed on.
TIMED = 512


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

    Scores see vectors of a split, never labels. All scores of a site share one pass and what they compute alike
    (`madkit.scores.ScoreCollection`). The statistics of a site are merged over processes before it is scored, and
    freed after it, so memory holds one site at a time.

    Written to the run's ``detection`` folder: ``results.parquet``, ``comparisons.parquet``, ``scores.parquet``,
    ``calibration.parquet`` (where an aggregation needs it), ``prompts.parquet``, ``separation.parquet``,
    ``pca.parquet`` (some test prompts in the two widest directions of each site), ``summary.json`` and the fitted
    scores.

    Args:
        detectors: features and scores.
        aggregations: how a detector's scores at all sites become one: ``mean`` (of raw scores, as published)
            and ``max``; ``zscore``, ``rank`` and ``fisher`` measure each site against the store's calibration
            prompts first. See `madkit.statistics.aggregation`.
        untrusted: what offline scores learn from besides trusted prompts: ``untrusted``, the split of easy normal
            and easy quirky prompts [the study's words], or ``test``, the unlabelled test prompts themselves
            (transductive) [what the study's code did]. Results name it.
        ceiling: also cross-validate a logistic probe on the labels of the test prompts, at every site of a
            dense feature. It is no detector, and results call it ``logistic_probe`` with the setting ``ceiling``.

    Raises:
        ConfigError: no detector, two of one name, or an unknown aggregation.
    """

    def __init__(
        self,
        detectors: list[Detector],
        aggregations: list[str] | None = None,
        untrusted: Literal["untrusted", "test"] = "untrusted",
        ceiling: bool = False,
    ) -> None:
        super().__init__()
        self.detectors = detectors
        self.aggregations = aggregations if aggregations is not None else ["mean", "max"]
        self.untrusted = untrusted
        self.ceiling = ceiling
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
        if untrusted not in UNTRUSTED:
            raise ConfigError(f"model.untrusted={untrusted!r}: choose from {', '.join(UNTRUSTED)}")
        self.features = list(dict.fromkeys(detector.feature for detector in detectors))
        self._scores: ScoreCollection
        self._seen: dict[str, Pool] = {}
        self._apart: StreamingSeparation
        self._probing = False
        self.sites: dict[tuple[str, str], result_tables.Site] = {}
        self.separations: dict[tuple[str, str], Any] = {}
        self.views: dict[tuple[str, str], pca.View] = {}
        self.costs: dict[str, Cost] = {}
        self._timed: set[tuple[str, str]] = set()

    @property
    def calibrated(self) -> bool:
        """Whether an aggregation needs the scores of calibration prompts."""
        return bool(set(self.aggregations) & set(CALIBRATED))

    def feeds(self, feature: str) -> list[tuple[str, str]]:
        """The parts that vectors of a feature play, each with the split that they come from, in order."""
        feeds = [("trusted", "trusted"), ("test", "test")]
        if any(d.score.offline for d in self.detectors if d.feature == feature):
            feeds.insert(1, ("untrusted", self.untrusted))
        if self.calibrated:
            feeds.insert(-1, ("calibration", "calibration"))
        return feeds

    def on_test_start(self) -> None:
        """Look up who speaks in each test prompt; only the separation and the ceiling are told."""
        prompts = self.trainer.datamodule.prompts  # type: ignore[attr-defined]
        self.prompts: pd.DataFrame = prompts.set_index("row", drop=False)
        self._shown = torch.from_numpy(pca.sample(self.prompts["row"].to_numpy()))

    def test_step(self, block: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Fit on, or score, one block of vectors of one site."""
        part, x = block["part"], block["x"]
        if batch_idx == 0:
            self._begin_site(block["feature"])
        if part in ("trusted", "untrusted"):
            self._scores.update(x, untrusted=part == "untrusted")
            return
        self._scores.finalize()
        rows = block["row"].to(x.device)
        values = self._scores(x)
        _keep(self._seen[part], rows, torch.stack(list(values.values()), dim=1))
        if part == "test":
            is_bob = self.prompts.loc[rows.cpu().numpy(), "anomalous"].to_numpy(dtype=bool)
            self._apart.update(x, torch.tensor(is_bob, device=x.device))
            # Every process, with rows or without, comes to the same answer: a feature is sparse for all of them.
            self._probing = self.ceiling and x.layout == torch.strided
            if self._probing:
                _keep(self._seen["vectors"], rows, x)
            elif x.layout == torch.strided:
                shown = torch.isin(rows, self._shown.to(rows.device))
                _keep(self._seen["vectors"], rows[shown], x[shown])
            self._time(block["feature"], block["site"], x)
        if block["last"]:
            self._end_site(block["feature"], block["site"])

    @torch.inference_mode(False)
    def _begin_site(self, feature: str) -> None:
        own = [copy.deepcopy(d.score) for d in self.detectors if d.feature == feature]
        self._scores = ScoreCollection(own).to(self.device)
        self._seen = {name: Pool().to(self.device) for name in ("calibration", "test", "vectors")}
        self._apart = StreamingSeparation()

    def _end_site(self, feature: str, site: str) -> None:
        self.separations[feature, site] = self._apart.compute()
        names = list(self._scores.names)
        rows, values = _gathered(self._seen["test"], len(names))
        held_out, calibration = _gathered(self._seen["calibration"], len(names))
        rows_of, vectors = _gathered(self._seen["vectors"], self._scores[names[0]].d)
        if len(rows_of):
            kept = np.isin(rows_of, self._shown.numpy())
            self.views[feature, site] = pca.view(rows_of[kept], vectors[kept])
        if self._probing:
            values = np.column_stack([values, self._probe(rows_of, vectors)])
            calibration = np.column_stack([calibration, np.full(len(calibration), np.nan)])
            names.append(PROBE)
        self.sites[feature, site] = result_tables.Site(names, rows, values, held_out, calibration)
        if self.trainer.is_global_zero:
            for name, score in self._scores.items():
                score.save(root_of(self.trainer) / "detection" / "detectors" / feature / name / site)
        del self._scores
        self._seen = {}

    def _time(self, feature: str, site: str, x: Tensor) -> None:
        """Time each score by itself, once a site, on a part of the first block that has rows; sites add up."""
        if (feature, site) in self._timed or not len(x):
            return
        self._timed.add((feature, site))
        part = x[:TIMED] if x.layout == torch.strided else next(row_chunks(x, dense=False))
        for name, score in self._scores.items():
            cost = measured(partial(score, part), len(part), self.device)
            before = self.costs.get(f"{feature}/{name}")
            if before is not None:
                cost["seconds_per_prompt"] += before["seconds_per_prompt"]
            self.costs[f"{feature}/{name}"] = cost

    def _probe(self, rows: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        prompts = self.prompts.loc[rows]
        return probe(x, prompts["anomalous"].to_numpy(dtype=bool), name_order(prompts["name"].tolist()))

    def on_test_epoch_end(self) -> None:
        """Compare with the labels, write and log."""
        stores = self.trainer.datamodule.stores  # type: ignore[attr-defined]
        layers = {site: layer for store in stores.values() for site, layer in store.layers.items()}
        settings = {d.key: self._setting(d.score) for d in self.detectors}
        settings |= {(feature, PROBE): (SETTING, "") for feature in self.features}
        table = result_tables.long_table(self.sites, self.aggregations, layers)
        results = result_tables.results(table, self.prompts, settings)
        output.log_auroc(self.trainer, table, self.prompts)
        overall = results[(results["site"] == "aggregate") & (results["subset"] == "all")]
        line: Any
        for line in overall.itertuples():
            self.log(f"auroc/{line.feature}/{line.score}/{line.aggregation}", line.auroc)
        if self.trainer.is_global_zero:
            parts = {
                "scores": table,
                "comparisons": result_tables.comparisons(table, self.prompts),
                "results": results,
            }
            if self.calibrated:
                parts["calibration"] = result_tables.calibration_table(self.sites)
            if self.views:
                parts["pca"] = pca.table(self.views, layers)
            output.write(self.trainer, parts, self.prompts, self.separations, layers, self.costs)
        self.trainer.strategy.barrier()

    def _setting(self, score: Score) -> tuple[str, str]:
        return ("offline", UNTRUSTED[self.untrusted]) if score.offline else ("online", "")


@torch.inference_mode(False)
@torch.no_grad()
def _keep(pool: Pool, rows: Tensor, values: Tensor) -> None:
    """Remember values (b, k) with the numbers of their rows, which float64 holds exactly up to 2^53."""
    pool.update(torch.column_stack([rows.double(), values.double()]).to(pool.device))


def _gathered(pool: Pool, k: int | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Row numbers (n,) and values (n, k) of all processes, in row order."""
    whole = merge_processes(pool).result().cpu().numpy()
    whole = whole.reshape(-1, 1 + (k or 0))
    whole = whole[np.argsort(whole[:, 0], kind="stable")]
    return whole[:, 0].astype(np.int64), whole[:, 1:]
