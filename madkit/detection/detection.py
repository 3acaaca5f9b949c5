"""The `test` stage: detectors are fitted on trusted prompts and judged on test prompts."""

from __future__ import annotations

import copy
from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from madkit.analysis.streaming_separation import StreamingSeparation
from madkit.data.prompts.characters import name_order
from madkit.derived import DerivedFeature
from madkit.detection import output, own_answer, pca, result_tables
from madkit.detection.available import available
from madkit.detection.background import fitted_detectors, listed_scores
from madkit.detection.covariates import covariates
from madkit.detection.data import ANSWERS, Feed, StoreData
from madkit.detection.detector import Assumptions, Detector
from madkit.detection.distractors import Judged, distractor_scores, distractor_table, right_answers
from madkit.detection.held_out_scores import held_out_scores
from madkit.detection.nearest_prompts import FEATURE, NearestPrompts
from madkit.detection.prevalence import Prevalences
from madkit.detection.row_pools import gathered, keep
from madkit.detection.score_costs import ScoreCosts
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.subsets import Subset, contested
from madkit.detection.supervised_probe import PROBE, SETTING, probe
from madkit.detection.thresholds import SHARE, threshold_table
from madkit.detection.within_answers import answer_warning, answers_missing
from madkit.errors import ConfigError, DataError
from madkit.runs.atomic import remove
from madkit.runs.folder import root_of
from madkit.scores import ScoreCollection
from madkit.statistics.aggregation import AGGREGATIONS, CALIBRATED
from madkit.store.variant import Variant
from madkit.streaming.pool import Pool
from madkit.training.lightning_internals import datamodule_of

#: What counts as untrusted, as results name it.
UNTRUSTED = {"untrusted": "untrusted split", "test": "test prompts"}


class Detection(L.LightningModule):
    """Fit every detector at every site, score the test prompts, and compare with the labels.

    Scores see vectors of a split, never labels. All scores of a site share one pass and the computations that they have
    in common (`madkit.scores.ScoreCollection`). The statistics of a site are merged over processes before it is scored,
    and freed after it, so memory holds one site at a time.

    Written to the run's ``detection`` folder, replacing all that an earlier recipe left there: ``results.parquet``,
    ``comparisons.parquet``, ``scores.parquet``, ``calibration.parquet`` and ``thresholds.parquet`` (where the store has
    calibration prompts), ``distractors.parquet`` (where it has distractors, see `madkit.detection.distractors`),
    ``prevalence.parquet`` (with `prevalences`),
    ``prompts.parquet``, ``separation.parquet``, ``pca.parquet`` (some test prompts on the first
    two principal components of each site), ``nearest.parquet`` (which trusted prompts the activations of
    each test prompt resemble), ``summary.json`` and the fitted scores, in
    ``detectors/<feature>/<score>/<site>`` and, of controls, in ``detectors/controls/<feature>/<score>/<site>``; what a
    derived feature has learned, in ``detectors/<feature>/derived/<site>``.

    Args:
        detectors: features and scores.
        aggregations: how a detector's scores at all sites become one: ``mean`` (of raw scores, as published)
            and ``max``; ``zscore``, ``rank``, ``fisher``, ``ledoit_wolf``, ``cauchy`` and ``higher_criticism`` measure
            each site against the store's calibration prompts first. See `madkit.statistics.aggregation`.
        untrusted: what offline scores learn from besides trusted prompts: ``untrusted``, the split of easy normal
            and easy quirky prompts [the study's words], or ``test``, the unlabelled test prompts themselves
            (transductive) [what the study's code did]. Results name it.
        unavailable: what becomes of detectors and aggregations that read what the run does not have, such as a feature
            or calibration prompts: ``error``, or ``skip``, which leaves them out and says so. For activations that were
            imported.
        ceiling: also cross-validate a logistic probe on the labels of the test prompts, at every site of a
            dense stored feature. It is no detector: results call it ``logistic_probe`` with the setting ``ceiling``.
        prevalences: shares of anomalous prompts in mixtures of untrusted prompts, such as ``[0.01, 0.05, 0.2]``: each
            offline score also learns from each of these mixtures, and ``prevalence.parquet`` says what it finds then.
        stream_shares: shares of anomalous prompts in the unlabelled streams, made of test prompts, by which thresholds
            are re-calibrated (`madkit.detection.thresholds`); None: 0.05.

    Raises:
        ConfigError: no detector, two of one name, or an unknown aggregation.
    """

    def __init__(
        self,
        detectors: list[Detector],
        aggregations: list[str] | None = None,
        untrusted: Literal["untrusted", "test"] = "untrusted",
        ceiling: bool = False,
        unavailable: Literal["error", "skip"] = "error",
        prevalences: list[float] | None = None,
        stream_shares: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.detectors = detectors
        self.aggregations = aggregations if aggregations is not None else ["mean", "max"]
        self.untrusted = untrusted
        self.ceiling = ceiling
        self.stream_shares = stream_shares if stream_shares is not None else [SHARE]
        self.prevalences = Prevalences(prevalences or [])
        self.unavailable = unavailable
        keys = [detector.key for detector in detectors]
        if not keys:
            raise ConfigError("model.detectors=[] is empty; list at least one feature and score")
        if len(set(keys)) < len(keys):
            twice = sorted({f"{variant.feature} {name}" for variant, name in keys if keys.count((variant, name)) > 1})
            raise ConfigError(f"model.detectors lists {', '.join(twice)} twice: list each feature and score once")
        if len(set(self.aggregations)) < len(self.aggregations):
            raise ConfigError(f"model.aggregations={self.aggregations}: list each of them once")
        if unknown := set(self.aggregations) - set(AGGREGATIONS):
            raise ConfigError(
                f"model.aggregations={self.aggregations}: unknown {sorted(unknown)}; "
                f"choose from {', '.join(AGGREGATIONS)}"
            )
        if wrong := [share for share in self.stream_shares if not 0 <= share < 1]:
            raise ConfigError(f"model.stream_shares has {wrong[0]}: give shares of anomalous prompts, such as 0.05")
        if wrong := [share for share in self.prevalences.shares if not 0 < share < 1]:
            raise ConfigError(f"model.prevalences has {wrong[0]}: give shares of anomalous prompts, such as 0.05")
        if untrusted not in UNTRUSTED:
            raise ConfigError(f"model.untrusted={untrusted!r}: choose from {', '.join(UNTRUSTED)}")
        if unavailable not in ("error", "skip"):
            raise ConfigError(f"model.unavailable={unavailable!r}: choose from error, skip")
        self.fitted = fitted_detectors(detectors)
        self.derived = {d.variant: d.derived for d in detectors if d.derived is not None}
        self.sites: dict[SiteKey, SiteScores] = {}
        self.separations: dict[SiteKey, Any] = {}
        self.projections: dict[SiteKey, pca.Projection] = {}
        self.nearest = NearestPrompts()
        self.costs = ScoreCosts()
        self.recalls: dict[tuple[SiteKey, str], float] = {}
        self._scores: ScoreCollection
        self._made: DerivedFeature | None = None
        self._pools: dict[str, Pool] = {}
        self._separation: StreamingSeparation
        self._with_probe = False

    @property
    def data(self) -> StoreData:
        """The feature stores."""
        data: StoreData = datamodule_of(self, StoreData)
        return data

    @property
    def calibrated(self) -> bool:
        """Whether an aggregation, or a background ratio, needs the scores of calibration prompts.

        Where they are stored they are scored in any case: thresholds are set on them.
        """
        return bool(set(self.aggregations) & set(CALIBRATED)) or any(d.background for d in self.detectors)

    def feeds(self, variant: Variant) -> list[Feed]:
        """What the detectors of a feature are fed, in order."""
        feeds = [Feed("trusted", "trusted"), Feed("test", "test")]
        if variant in self.derived and self.derived[variant].accumulator is not None:
            feeds.insert(0, Feed("source", "trusted"))
        if any(d.score.offline for d in self.fitted if d.variant == variant):
            feeds.insert(-1, Feed("untrusted", self.untrusted))
        feeds.insert(-1, Feed("calibration", "calibration", needed=self.calibrated))
        # The last feed ends a site, and that has to be one that every store has.
        feeds.insert(-1, Feed("distractor", "distractor", needed=False))
        return feeds

    def setup(self, stage: str) -> None:
        """Open the stores of the features that the detectors name."""
        if self.unavailable == "skip":
            self.detectors, self.aggregations, left_out = available(
                self.detectors, self.aggregations, self.untrusted, root_of(self.trainer)
            )
            if left_out:
                rank_zero_warn(f"left out, as the run does not have what they read: {'; '.join(left_out)}")
            self.fitted = fitted_detectors(self.detectors)
            self.derived = {d.variant: d.derived for d in self.detectors if d.derived is not None}
        self.data.open({detector.variant: self.feeds(detector.variant) for detector in self.fitted}, self.derived)

    def on_test_start(self) -> None:
        """Look up who speaks in each test prompt; only the separation and the ceiling are told."""
        self.prompts: pd.DataFrame = self.data.prompts().set_index("row", drop=False)
        self._sample = torch.from_numpy(pca.sample(self.prompts["row"].to_numpy()))
        if any(d.score.offline for d in self.detectors):
            self.prevalences.start(self.data.prompts(self.untrusted))
        if self.trainer.is_global_zero:
            remove(output.unfinished(root_of(self.trainer)))

    def test_step(self, block: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Fit on, or score, one block of vectors of one site."""
        role, sources = block["role"], block["sources"]
        key = block["variant"], block["site"]
        if batch_idx == 0:
            self._begin_site(block["variant"])
        if role == "source" and self._made is not None:
            self._made.update(sources)
            return
        x = sources[0] if self._made is None else self._made(sources, trusted=role == "trusted")
        if role in ("trusted", "untrusted"):
            self._scores.update(x, untrusted=role == "untrusted")
            self.prevalences.learn(block["row"].to(x.device), x, untrusted=role == "untrusted")
            if role == "trusted" and self._compares(block["variant"], x):
                self.nearest.add_trusted(block["row"], x)
            return
        self._finalize(key)
        rows = block["row"].to(x.device)
        values = self._scores(x)
        # Distractors are scored as test prompts are, and judged by themselves.
        keep(self._pools["test" if role == "distractor" else role], rows, torch.stack(list(values.values()), dim=1))
        if role == "test":
            self.prevalences.add_test(rows, x)
            is_bob = self.prompts.loc[rows.cpu().numpy(), "anomalous"].to_numpy(dtype=bool)
            self._separation.update(x, torch.tensor(is_bob, device=x.device))
            # Every process, with rows or without, comes to the same answer: a feature is sparse for all of them.
            self._with_probe = self.ceiling and self._made is None and x.layout == torch.strided
            if self._with_probe:
                keep(self._pools["vectors"], rows, x)
            elif x.layout == torch.strided:
                sampled = torch.isin(rows, self._sample.to(rows.device))
                keep(self._pools["vectors"], rows[sampled], x[sampled])
            if self._compares(block["variant"], x):
                self.nearest.add_test(rows, x)
            self.costs.measure(key, self._scores, x)
        if block["last"]:
            self._end_site(key)

    def _finalize(self, key: SiteKey) -> None:
        try:
            self._scores.finalize()
        except DataError as error:
            raise DataError(f"{key[0]} at {key[1]}: {error}") from error

    @torch.inference_mode(False)
    def _begin_site(self, variant: Variant) -> None:
        scores = [copy.deepcopy(d.score) for d in self.fitted if d.variant == variant]
        self._scores = ScoreCollection(scores).to(self.device)
        self._made = copy.deepcopy(self.derived[variant]).to(self.device) if variant in self.derived else None
        offline = [d.score for d in self.detectors if d.variant == variant and d.score.offline and not d.background]
        self.prevalences.begin_site(offline, self.device)
        self._pools = {name: Pool().to(self.device) for name in ("calibration", "test", "vectors")}
        self._separation = StreamingSeparation()
        self.nearest.begin_site(self.device)

    def _compares(self, variant: Variant, x: Tensor) -> bool:
        """Whether prompts are compared by these vectors."""
        return variant == FEATURE and self._made is None and x.layout == torch.strided

    def _end_site(self, key: SiteKey) -> None:
        variant, site = key
        self.nearest.end_site(key)
        self.prevalences.end_site(key)
        self.separations[key] = self._separation.compute()
        names = list(self._scores.names)
        rows, values = gathered(self._pools["test"], len(names))
        held_out, calibration = gathered(self._pools["calibration"], len(names))
        vector_rows, vectors = gathered(self._pools["vectors"], self._scores[names[0]].d)
        if len(vector_rows):
            sampled = np.isin(vector_rows, self._sample.numpy())
            self.projections[key] = pca.project(vector_rows[sampled], vectors[sampled])
        if self._with_probe:
            column = np.full(len(values), np.nan)
            column[np.isin(rows, vector_rows)] = self._probe(vector_rows, vectors)
            values = np.column_stack([values, column])
            calibration = np.column_stack([calibration, np.full(len(calibration), np.nan)])
            names.append(PROBE)
        for name, score in self._scores.items():
            if "recall" in (fitted := dict(score.named_buffers())):
                self.recalls[key, name] = float(fitted["recall"])
        self.sites[key] = SiteScores(names, rows, values, held_out, calibration)
        if self.trainer.is_global_zero:
            folder = output.unfinished(root_of(self.trainer)) / "detectors" / str(variant)
            for name, score in self._scores.items():
                score.save(folder / name / site)
            if self._made is not None:
                self._made.save(folder / "derived" / site)
        del self._scores, self._made
        self._pools = {}

    def _probe(self, rows: NDArray[np.int64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        prompts = self.prompts.loc[rows]
        anomalous, statements = prompts["anomalous"].to_numpy(dtype=bool), pd.factorize(prompts["statement"])[0]
        # Where nobody is named, what is not independent is a statement's prompts.
        if not prompts["name"].any():
            return probe(x, anomalous, statements)
        return probe(x, anomalous, name_order(prompts["name"].tolist()), statements)

    def on_test_epoch_end(self) -> None:
        """Compare with the labels, write and log."""
        layers = {(variant, site.name): site.layer for variant, sites in self.data.sites.items() for site in sites}
        # They came by what they are made of; tables have them by feature.
        everything = listed_scores({key: self.sites[key] for key in layers}, self.detectors)
        self.sites = {key: scores.of(self.prompts["row"].to_numpy()) for key, scores in everything.items()}
        separations = {key: self.separations[key] for key in layers if key in self.sites}
        projections = {key: self.projections[key] for key in layers if key in self.sites and key in self.projections}
        stores = self.data.stores
        settings = {d.key: self._assumptions(d) for d in self.detectors}
        settings |= {(d.variant, PROBE): Assumptions(SETTING, "", "labels") for d in self.detectors}
        scores = result_tables.scores_table(self.sites, self.aggregations, layers)
        prompts = output.behaviour(self.prompts, stores.get(ANSWERS))
        # The control that knows the answer alone is in the results; its scores are columns of the prompts already.
        judged = pd.concat([scores, own_answer.own_answer_scores(prompts)], ignore_index=True)
        held_out = held_out_scores(self.sites, self.aggregations)
        results = result_tables.results_table(judged, prompts, settings | own_answer.settings_of(), held_out)
        for message in (answers_missing(results), answer_warning(results)):
            if message:
                rank_zero_warn(message)
        output.log_auroc(self.trainer, results[results["setting"] != own_answer.SETTING])
        overall = results[(results["site"] == "aggregate") & (results["subset"] == "all")]
        line: Any
        for line in overall.itertuples():
            self.log(f"auroc/{Variant(line.feature, line.adapter)}/{line.score}/{line.aggregation}", line.auroc)
        if self.trainer.is_global_zero:
            everyone = contested(self.prompts)["all"]
            tables = {
                "scores": scores,
                "comparisons": result_tables.comparisons_table(scores, self.prompts),
                "results": results,
                **self._threshold_tables(Judged(scores, held_out, prompts), everything, layers, settings, everyone),
                **self._prompt_tables(projections, layers, settings, everyone),
            }
            output.write(
                self.trainer, stores, tables, prompts, separations, layers, self.costs.of(self.detectors), self.recalls
            )
        self.trainer.strategy.barrier()

    def _threshold_tables(
        self,
        judged: Judged,
        everything: dict[SiteKey, SiteScores],
        layers: dict[SiteKey, int | None],
        settings: dict[tuple[Variant, str], Assumptions],
        everyone: Subset,
    ) -> dict[str, pd.DataFrame]:
        """What calibration prompts and distractors say of thresholds, where there are any."""
        tables = {}
        if judged.held_out:
            tables["calibration"] = result_tables.calibration_table(self.sites)
            texts = self.prompts["prompt"], self.data.prompts("calibration")["prompt"]
            tables["thresholds"] = threshold_table(
                judged.scores,
                judged.held_out,
                settings,
                everyone,
                covariates(self.sites, *texts),
                self.stream_shares,
            )
        distractors = self.data.prompts("distractor")
        if len(distractors):
            tables["distractors"] = distractor_table(
                distractor_scores(everything, distractors, self.aggregations, layers),
                distractors.assign(right=right_answers(distractors, self.data.stores.get(ANSWERS))),
                judged,
                settings,
            )
        return tables

    def _prompt_tables(
        self,
        projections: dict[SiteKey, pca.Projection],
        layers: dict[SiteKey, int | None],
        settings: dict[tuple[Variant, str], Assumptions],
        everyone: Subset,
    ) -> dict[str, pd.DataFrame]:
        """Where test prompts lie, what they resemble, and what is found where few of them are anomalous."""
        trusted = self.data.prompts("trusted").set_index("row")["prompt"]
        tables = {
            "pca": pca.pca_table(projections, layers) if projections else None,
            "prevalence": self.prevalences.table(self.aggregations, layers, everyone, settings),
            "nearest": self.nearest.table(layers, trusted),
        }
        return {name: table for name, table in tables.items() if table is not None}

    def _assumptions(self, detector: Detector) -> Assumptions:
        if detector.score.offline:
            return Assumptions("offline", UNTRUSTED[self.untrusted], detector.needs(self.data.stores))
        return Assumptions("online", "", detector.needs(self.data.stores))
