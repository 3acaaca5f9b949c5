"""The ceiling: a probe that is told the labels, but never judged by names that it knows."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madkit.detection.supervised_probe import probe
from madkit.errors import DataError
from madkit.statistics import auroc


def speakers(n=600, d=8, gap=0.0, seed=0, twins=False):
    """Vectors in which every speaker has a place of their own, and Bobs lie `gap` further along one direction."""
    rng = np.random.default_rng(seed)
    who = rng.integers(24, size=n)
    bob = who >= 12
    places = 3 * rng.normal(size=(24, d))
    if twins:
        # The four Alices and the four Bobs of every block are the same four places.
        places = np.concatenate([places[:4]] * 6) + 0.1 * rng.normal(size=(24, d))
    x = rng.normal(size=(n, d)) + places[who]
    x[:, 0] = rng.normal(size=n) + gap * bob
    return x, bob, who


def test_the_ceiling_finds_a_direction_and_does_not_pass_by_names():
    x, bob, names = speakers(gap=3)
    assert auroc(probe(x, bob, names), bob).value > 0.9
    # Told the names apart it would know all; held-out names keep it near chance.
    blind = [speakers(gap=0, seed=seed) for seed in range(8)]
    assert abs(np.mean([auroc(probe(*one), one[1]).value for one in blind]) - 0.5) < 0.1
    x, bob, _ = blind[0]
    assert auroc(probe(x, bob, np.arange(len(x))), bob).value > 0.65


def test_the_ceiling_is_at_chance_where_every_name_has_a_twin():
    """Left out one by one, a name would be judged by its twin of the other kind, and always wrongly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    found, alone = [], []
    for seed in range(4):
        x, bob, names = speakers(seed=seed, twins=True)
        found.append(auroc(probe(x, bob, names), bob).value)
        model, options = LogisticRegression(C=100), {"cv": LeaveOneGroupOut(), "method": "decision_function"}
        alone.append(auroc(cross_val_predict(model, x, bob, groups=names, **options), bob).value)
    assert abs(np.mean(found) - 0.5) < 0.1
    assert np.mean(alone) < 0.3


def test_the_ceiling_is_at_chance_where_both_kinds_make_the_same_statements():
    """A statement that is left out with one speaker would be judged by the same statement of the other kind."""
    found, by_names = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        statements = np.tile(np.arange(150), 2)
        bob = np.arange(300) >= 150
        names = rng.integers(12, size=300) + 12 * bob
        x = rng.normal(size=(150, 200))[statements] + 0.3 * rng.normal(size=(300, 200))
        found.append(auroc(probe(x, bob, names, statements), bob).value)
        by_names.append(auroc(probe(x, bob, names), bob).value)
    assert abs(np.mean(found) - 0.5) < 0.05
    assert np.mean(by_names) < 0.3


def test_neither_names_nor_statements_are_on_both_sides(monkeypatch):
    from sklearn.linear_model import LogisticRegression

    x, bob, names = speakers(gap=1)
    statements = np.random.default_rng(1).integers(90, size=len(x))
    x = np.column_stack([x, names, statements, np.arange(len(x))])
    fit, score, seen = LogisticRegression.fit, LogisticRegression.decision_function, []

    class Untouched:
        def fit_transform(self, x, y=None, **_):
            return x

        def transform(self, x):
            return x

        def __sklearn_tags__(self):
            return LogisticRegression().__sklearn_tags__()

    def fitted(self, rows, y):
        seen.append([rows, None])
        return fit(self, rows[:, :-3], y)

    def scored(self, rows):
        seen[-1][1] = rows
        return score(self, rows[:, :-3])

    monkeypatch.setattr(LogisticRegression, "fit", fitted)
    monkeypatch.setattr(LogisticRegression, "decision_function", scored)
    monkeypatch.setattr("sklearn.preprocessing.StandardScaler", Untouched)
    probe(x, bob, names, statements)
    for kept, left_out in seen:
        assert not set(kept[:, -3]) & set(left_out[:, -3]) and not set(kept[:, -2]) & set(left_out[:, -2])
    assert sorted(np.concatenate([rows for _, rows in seen])[:, -1]) == list(range(len(x)))


def test_the_ceiling_is_scikit_learns_regression_on_held_out_names():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, bob, names = speakers(gap=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = PredefinedSplit(names % 12 // 4)
    expected = cross_val_predict(model, x, bob, cv=folds, method="decision_function")
    np.testing.assert_allclose(probe(x, bob, names), expected, rtol=1e-6, atol=1e-9)


def test_where_nobody_is_named_a_statement_of_both_kinds_is_in_one_fold():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    statements = np.repeat([0, 1, 2, 2, 3], 20)
    anomalous = np.repeat([False, False, False, True, True], 20)
    x = rng.normal(size=(100, 3)) + anomalous[:, None]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    # Two statements of each kind are left out in turn: 2 has both, so that 0 goes with it, and 1 with 3.
    folds = PredefinedSplit(np.array([0, 1, 0, 1])[statements])
    expected = cross_val_predict(model, x, anomalous, cv=folds, method="decision_function")
    np.testing.assert_allclose(probe(x, anomalous, statements), expected, rtol=1e-6, atol=1e-9)


@given(
    prompts=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=40),
    folds=st.integers(2, 4),
)
@settings(max_examples=150)
def test_every_prompt_is_scored_once_by_a_probe_of_both_kinds(prompts, folds):
    """Whichever statements the two kinds share."""
    statements, anomalous = (np.array(column) for column in zip(*prompts, strict=True))
    seen = []

    class Spy:
        def fit(self, x, y):
            assert set(y) == {False, True}
            self.known = set(x[:, 0])

        def decision_function(self, x):
            assert not self.known & set(x[:, 0])
            seen.extend(x[:, 1])
            return x[:, 1]

    x = np.column_stack([statements, np.arange(len(statements))]).astype(float)
    with mock.patch("sklearn.pipeline.make_pipeline", lambda *_: Spy()):
        if min(len(set(statements[anomalous == kind])) for kind in (False, True)) < 2:
            with pytest.raises(DataError, match="two names or more of each kind"):
                probe(x, anomalous, statements, folds=folds)
        else:
            assert probe(x, anomalous, statements, folds=folds).tolist() == sorted(seen) == x[:, 1].tolist()


def test_the_ceiling_needs_two_names_of_a_kind():
    x, bob, _ = speakers()
    with pytest.raises(DataError, match="two names or more of each kind, there are 1 normal"):
        probe(x, bob, bob.astype(int))


def test_the_ceiling_needs_statements():
    x, bob, names = speakers()
    with pytest.raises(DataError, match="1 statements, too few"):
        probe(x, bob, names, np.zeros(len(x), dtype=int))
    # Bob's few prompts are all of statements that are left out together.
    with pytest.raises(DataError, match="4 statements, too few"):
        probe(x, bob, names, np.where(bob, 0, np.arange(len(x)) % 4))
