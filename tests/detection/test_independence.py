"""What is scored with a prompt does not matter: no online detector learns from test or untrusted prompts."""

import pandas as pd
import pytest
from small_stores import detect, write_stores

from madkit import derived
from madkit.derived import (
    Answered,
    Conditional,
    Delta,
    DerivedFeature,
    LayerDifferences,
    ModelDifference,
    Paired,
    RankTrajectories,
)
from madkit.detection.detector import Detector
from madkit.scores import AnswerMahalanobis, ConditionalT, LocalOutlierFactor, Mahalanobis, TrustedRange
from madkit.statistics.aggregation import AGGREGATIONS


def every():
    """Each derived feature, once at least; a stored one, plain, as a control and against its background."""
    return [
        Detector(Answered(), AnswerMahalanobis()),
        Detector(Conditional(), Mahalanobis()),
        Detector(Conditional(studentised=True), LocalOutlierFactor(k=10)),
        Detector(Delta(), TrustedRange()),
        Detector(LayerDifferences(), Mahalanobis()),
        Detector(Paired(), ConditionalT()),
        Detector(RankTrajectories(), Mahalanobis()),
        Detector(RankTrajectories(tube=0.5), Mahalanobis()),
        Detector("activations", Mahalanobis(), background=True),
        Detector("activations", Mahalanobis(), adapter=False),
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, one with half of the test prompts and all untrusted ones replaced, and the test prompts that are not."""
    folders = [tmp_path_factory.mktemp(name) / "small" / "addition" for name in ("one", "other")]
    write_stores(folders[0], answers=True)
    table = pd.read_parquet(next(folders[0].glob("features/activations/*/rows.parquet")))
    test = table["split"] == "test"
    changed = (test & (table["row"] % 4 < 2)) | (table["split"] == "untrusted")
    write_stores(folders[1], changed.to_numpy(), answers=True)
    return *folders, set(table["row"][test & ~changed])


def require_independence(runs, *detectors, aggregations=("mean",)):
    """Whoever centres or scales on what is scored, or on untrusted prompts, fails here."""
    one, other, kept = runs
    before, after = (detect(run, *detectors, aggregations=aggregations) for run in (one, other))
    keys = ["feature", "adapter", "score", "site", "aggregation", "row"]
    both = before.merge(after, on=keys, suffixes=("", "_after"), validate="one_to_one")
    assert len(both) == len(before) == len(after)
    both["same"] = abs(both["value"] - both["value_after"]) <= 1e-9 * (1 + abs(both["value"]))
    mine = both[both["row"].isin(kept)]
    dependent = mine[~mine["same"]].groupby(["feature", "score", "aggregation"]).size()
    assert dependent.empty, f"scores depend on other prompts: {list(dependent.index)}"
    assert not both[~both["row"].isin(kept)]["same"].all()  # those that were replaced have other scores


def test_every_derived_feature_is_tried():
    public = {v for v in vars(derived).values() if isinstance(v, type) and issubclass(v, DerivedFeature)}
    assert public - {DerivedFeature, ModelDifference} == {type(d.derived) for d in every() if d.derived is not None}


def test_no_online_detector_depends_on_the_others_of_the_test(runs):
    require_independence(runs, *every())


def test_no_aggregation_does(runs):
    require_independence(runs, Detector("activations", Mahalanobis()), aggregations=AGGREGATIONS)


class CentredOnTheBatch(Mahalanobis):
    """Wrong: it centres what it scores, so that it learns from the test prompts."""

    def score(self, x):
        return super().score(x - x.mean(0) + self.mean)


class DeltaOfTheBatch(Delta):
    """Wrong in the same way, as a feature."""

    def vectors(self, sources, trusted):
        delta = super().vectors(sources, trusted)
        return delta - delta.mean(0)


@pytest.mark.parametrize(
    "wrong", [Detector("activations", CentredOnTheBatch()), Detector(DeltaOfTheBatch(), Mahalanobis())]
)
def test_one_that_does_is_caught(runs, wrong):
    with pytest.raises(AssertionError, match="depend on other prompts"):
        require_independence(runs, wrong)
