"""The `test` stage: detectors are fitted on trusted prompts and judged on test prompts."""

from __future__ import annotations

import copy
from typing import Any, Literal

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn

from madkit.detection import output, own_answer, pca
from madkit.detection.available import available
from madkit.detection.background import fitted_detectors, listed_scores
from madkit.detection.data import Feed, StoreData
from madkit.detection.detector import Assumptions, Detector
from madkit.detection.judging import Judging
from madkit.detection.nearest_prompts import FEATURE, NearestPrompts
from madkit.detection.prevalence import Prevalences
from madkit.detection.score_costs import ScoreCosts
from madkit.detection.site_pass import SitePass
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.subsets import Subset
from madkit.detection.supervised_probe import PROBE, SETTING
from madkit.detection.thresholds import SHARE
from madkit.errors import ConfigError
from madkit.runs.atomic import remove
from madkit.runs.folder import root_of
from madkit.statistics.aggregation import AGGREGATIONS, CALIBRATED
from madkit.store.variant import Variant
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
        self._site: SitePass

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
        if any(d.score.offline for d in self.detectors):
            self.prevalences.start(self.data.prompts(self.untrusted))
        if self.trainer.is_global_zero:
            remove(output.unfinished(root_of(self.trainer)))

    def test_step(self, block: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Fit on, or score, one block of vectors of one site."""
        role, rows = block["role"], block["row"]
        key = block["variant"], block["site"]
        if batch_idx == 0:
            self._begin_site(key)
        if role == "source" and self._site.derived is not None:
            self._site.derived.update(block["sources"])
            return
        x = self._site.vectors(block["sources"], trusted=role == "trusted")
        compares = block["variant"] == FEATURE and self._site.is_dense_and_stored(x)
        if role in ("trusted", "untrusted"):
            self._site.scores.update(x, untrusted=role == "untrusted")
            self.prevalences.learn(rows.to(x.device), x, untrusted=role == "untrusted")
            if role == "trusted" and compares:
                self.nearest.add_trusted(rows, x)
            return
        self._site.score(role, rows.to(x.device), x)
        if role == "test":
            self.prevalences.add_test(rows.to(x.device), x)
            if compares:
                self.nearest.add_test(rows.to(x.device), x)
            self.costs.measure(key, self._site.scores, x)
        if block["last"]:
            self._end_site()

    @torch.inference_mode(False)
    def _begin_site(self, key: SiteKey) -> None:
        variant = key[0]
        scores = [copy.deepcopy(d.score) for d in self.fitted if d.variant == variant]
        derived = copy.deepcopy(self.derived.get(variant))
        self._site = SitePass(key, scores, derived, self.prompts, self.ceiling, self.device)
        offline = [d.score for d in self.detectors if d.variant == variant and d.score.offline and not d.background]
        self.prevalences.begin_site(offline, self.device)
        self.nearest.begin_site(self.device)

    def _end_site(self) -> None:
        key = self._site.key
        self.nearest.end_site(key)
        self.prevalences.end_site(key)
        self.sites[key] = self._site.site_scores()
        self.separations[key] = self._site.separation.compute()
        if (projection := self._site.projection()) is not None:
            self.projections[key] = projection
        self.recalls |= self._site.recalls()
        if self.trainer.is_global_zero:
            self._site.save(output.unfinished(root_of(self.trainer)) / "detectors")
        del self._site

    def on_test_epoch_end(self) -> None:
        """Compare with the labels, write and log."""
        layers = {(variant, site.name): site.layer for variant, sites in self.data.sites.items() for site in sites}
        # They came by what they are made of; tables have them by feature.
        sites = listed_scores({key: self.sites[key] for key in layers}, self.detectors)
        settings = {d.key: self._assumptions(d) for d in self.detectors}
        settings |= {(d.variant, PROBE): Assumptions(SETTING, "", "labels") for d in self.detectors}
        judging = Judging(sites, layers, self.prompts, self.data, self.aggregations, settings)
        self.sites = judging.sites
        for message in judging.warnings():
            rank_zero_warn(message)
        output.log_auroc(self.trainer, judging.results[judging.results["setting"] != own_answer.SETTING])
        for tag, auroc in judging.overall().items():
            self.log(tag, auroc)
        if self.trainer.is_global_zero:
            tables = judging.tables(self.stream_shares)
            tables |= self._prompt_tables(layers, settings, judging.everyone)
            separations = {key: self.separations[key] for key in layers if key in self.sites}
            costs = self.costs.of(self.detectors)
            stores = self.data.stores
            output.write(self.trainer, stores, tables, judging.prompts, separations, layers, costs, self.recalls)
        self.trainer.strategy.barrier()

    def _prompt_tables(
        self,
        layers: dict[SiteKey, int | None],
        settings: dict[tuple[Variant, str], Assumptions],
        everyone: Subset,
    ) -> dict[str, pd.DataFrame]:
        """Where test prompts lie, what they resemble, and what is found where few of them are anomalous."""
        projections = {key: self.projections[key] for key in layers if key in self.sites and key in self.projections}
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
