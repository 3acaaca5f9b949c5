"""Judging: scores of all sites, compared with the labels, as the tables that figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from madkit.detection import output, result_tables
from madkit.detection.covariates import covariates
from madkit.detection.data import ANSWERS, StoreData
from madkit.detection.detector import Assumptions
from madkit.detection.distractors import Judged, distractor_scores, distractor_table, right_answers
from madkit.detection.held_out_scores import held_out_scores
from madkit.detection.own_answer import own_answer_scores, settings_of
from madkit.detection.site_scores import SiteKey, SiteScores
from madkit.detection.subsets import contested
from madkit.detection.thresholds import threshold_table
from madkit.detection.within_answers import answer_warning, answers_missing
from madkit.store.variant import Variant


class Judging:
    """What the scores of all sites are worth, and what thresholds on them do.

    Args:
        sites: scores of the test prompts, and of the distractors where there are any, in the order of the tables.
        layers: the layer of each site.
        prompts: the test prompts, by row.
        data: the stores that the scores were made of.
        aggregations: how a detector's scores at all sites become one.
        settings: of each detector, what it is told and needs.

    Attributes:
        sites: the scores of the test prompts alone.
        prompts: the test prompts with the model's answers, see `madkit.detection.output.behaviour`.
        scores: every score of every test prompt, see `madkit.detection.result_tables.scores_table`.
        results: every AUROC, see `madkit.detection.result_tables.results_table`.
        everyone: the test prompts on which anomalous and normal ones are compared, all of them.
    """

    def __init__(
        self,
        sites: Mapping[SiteKey, SiteScores],
        layers: Mapping[SiteKey, int | None],
        prompts: pd.DataFrame,
        data: StoreData,
        aggregations: Sequence[str],
        settings: Mapping[tuple[Variant, str], Assumptions],
    ) -> None:
        self._with_distractors, self._layers, self._data = dict(sites), dict(layers), data
        self._aggregations, self._settings = list(aggregations), dict(settings)
        self.sites = {key: scores.of(prompts["row"].to_numpy()) for key, scores in sites.items()}
        self.prompts = output.behaviour(prompts, data.stores.get(ANSWERS))
        self.scores = result_tables.scores_table(self.sites, self._aggregations, self._layers)
        # The control that knows the answer alone is in the results; its scores are columns of the prompts already.
        judged = pd.concat([self.scores, own_answer_scores(self.prompts)], ignore_index=True)
        self._held_out = held_out_scores(self.sites, self._aggregations)
        settings = self._settings | settings_of()
        self.results = result_tables.results_table(judged, self.prompts, settings, self._held_out)
        self._by_row = prompts
        self.everyone = contested(prompts)["all"]

    def warnings(self) -> list[str]:
        """What who reads the results should know."""
        return [message for message in (answers_missing(self.results), answer_warning(self.results)) if message]

    def overall(self) -> dict[str, float]:
        """The AUROC of each aggregate over all prompts, by the name that loggers have it under."""
        found = {}
        line: Any
        for line in self.results[
            (self.results["site"] == "aggregate") & (self.results["subset"] == "all")
        ].itertuples():
            found[f"auroc/{Variant(line.feature, line.adapter)}/{line.score}/{line.aggregation}"] = line.auroc
        return found

    def tables(self, stream_shares: Sequence[float]) -> dict[str, pd.DataFrame]:
        """By file name; those of calibration prompts and of distractors where there are any.

        Args:
            stream_shares: shares of anomalous prompts by which thresholds are re-calibrated.
        """
        tables = {
            "scores": self.scores,
            "comparisons": result_tables.comparisons_table(self.scores, self._by_row),
            "results": self.results,
        }
        if self._held_out:
            tables["calibration"] = result_tables.calibration_table(self.sites)
            texts = self._by_row["prompt"], self._data.prompts("calibration")["prompt"]
            cofactors = covariates(self.sites, *texts)
            tables["thresholds"] = threshold_table(
                self.scores, self._held_out, self._settings, self.everyone, cofactors, stream_shares
            )
        distractors = self._data.prompts("distractor")
        if len(distractors):
            tables["distractors"] = distractor_table(
                distractor_scores(self._with_distractors, distractors, self._aggregations, self._layers),
                distractors.assign(right=right_answers(distractors, self._data.stores.get(ANSWERS))),
                Judged(self.scores, self._held_out, self.prompts),
                self._settings,
            )
        return tables
