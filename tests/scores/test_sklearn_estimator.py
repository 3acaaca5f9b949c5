"""Estimators of other libraries: their own numbers in our direction, and none of their surprises."""

import copy
import json
import pickle
import random
import sys
import textwrap

import numpy as np
import pytest
import scipy.stats
import torch
from jsonargparse import ArgumentParser
from pyod.models.ecod import ECOD
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity
from sklearn.neighbors import LocalOutlierFactor as SklearnLOF
from sklearn.svm import OneClassSVM

from madkit.errors import ConfigError, DataError, StoreError
from madkit.scores import LocalOutlierFactor, Score, SklearnEstimator, load_score

HERE = __name__


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(
    ("path", "peer"),
    [
        ("sklearn.svm.OneClassSVM", OneClassSVM()),
        ("sklearn.ensemble.IsolationForest", IsolationForest(random_state=3)),
        ("sklearn.covariance.EllipticEnvelope", EllipticEnvelope(random_state=3)),
        ("sklearn.neighbors.KernelDensity", KernelDensity()),
    ],
)
def test_sklearn_scores_are_negated(path, peer):
    trusted, test = draw(120, 4), draw(30, 4, 1)
    keys = np.ascontiguousarray(trusted).view(f"V{trusted[0].nbytes}")[:, 0]
    expected = -peer.fit(trusted[np.argsort(keys)]).score_samples(test)
    np.testing.assert_allclose(SklearnEstimator(path, seed=3).fit(trusted)(test), expected, rtol=1e-9)


def test_a_given_random_state_comes_before_the_seed():
    trusted, test = draw(120, 4), draw(30, 4, 1)
    given = SklearnEstimator("sklearn.ensemble.IsolationForest", {"random_state": 3}).fit(trusted)(test)
    assert torch.equal(given, SklearnEstimator("sklearn.ensemble.IsolationForest", seed=3).fit(trusted)(test))


def test_the_same_method_in_three_libraries():
    trusted, test = draw(90, 4), draw(30, 4, 1)
    ours = LocalOutlierFactor(k=7).fit(trusted)(test)
    sklearn = SklearnEstimator("sklearn.neighbors.LocalOutlierFactor", {"novelty": True, "n_neighbors": 7}).fit(trusted)
    pyod = SklearnEstimator("pyod.models.lof.LOF", {"n_neighbors": 7}).fit(trusted)
    np.testing.assert_allclose(sklearn(test), ours, rtol=1e-8)
    np.testing.assert_allclose(pyod(test), ours, rtol=1e-8)
    assert len({ours_name.name for ours_name in (LocalOutlierFactor(k=7), sklearn, pyod)}) == 3


def test_ecod_sees_the_trusted_rows_and_one_row():
    """Li et al. (2022): tail probabilities of the empirical distribution, to which the row itself is added."""
    trusted, test = draw(40, 3), draw(8, 3, 1)
    with pytest.warns(UserWarning, match="pyod_ecod scores a row by its batch too"):
        fitted = SklearnEstimator("pyod.models.ecod.ECOD").fit(trusted)
    for row, value in zip(test, fitted(test), strict=True):
        rows = np.concatenate([trusted, row[None]])
        left, right = -np.log((rows <= row).mean(0)), -np.log((rows >= row).mean(0))
        skewed = np.where(scipy.stats.skew(rows) < 0, left, right)
        assert value.item() == pytest.approx(np.maximum(np.maximum(left, right), skewed).sum())
    # As PyOD gives them, a row's score is another one in other company.
    peer = ECOD().fit(trusted)
    assert abs(peer.decision_function(test)[0] - peer.decision_function(test[:1])[0]) > 0.01


@pytest.mark.parametrize("path", ["pyod.models.sos.SOS", "pyod.models.rod.ROD", "pyod.models.cof.COF"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_only_a_batch_has_are_refused(path):
    with pytest.raises(DataError, match=r"gives a single row no finite score|score rows one by one \(IndexError"):
        SklearnEstimator(path).fit(draw(60, 3))


class Drawn(OutlierMixin, BaseEstimator):
    """Draws from all generators in `fit` and `decision_function`, overwrites what it gets, knows no other score."""

    def fit(self, X):
        self.noise = np.random.rand() + random.random() + torch.rand(()).item()
        self.centre = X.mean(0)
        X[:] = 0

    def decision_function(self, X):
        self.last = -np.abs(X - self.centre).sum(1) * np.random.rand(len(X)) - self.noise
        X[:] = 0
        return self.last


class Near(Drawn):
    """Higher is more normal, as scikit-learn has it."""

    def decision_function(self, X):
        return 3 - np.abs(X - self.centre).max(1)


class Odd(Drawn):
    """It gives one number for all rows."""

    def decision_function(self, X):
        return np.zeros(1)


class Breaking(Drawn):
    def fit(self, X):
        raise RuntimeError("two\nlines")


class Late(Drawn):
    """It breaks at rows that it has never seen the like of."""

    def decision_function(self, X):
        if (X > 1e6).any():
            raise ValueError("too large")
        return X.sum(1)


class Classifier(BaseEstimator):
    """Something that is no outlier estimator."""

    def fit(self, X):
        return self

    def decision_function(self, X):
        return X.sum(1)


@pytest.mark.filterwarnings("ignore:.*drawn.* scores a row by its batch too")
def test_drawing_and_overwriting_stay_inside(tmp_path):
    trusted, test = torch.tensor(draw(30, 3)), torch.tensor(draw(9, 3, 1))
    before = trusted.clone(), test.clone()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    score = SklearnEstimator(f"{HERE}.Drawn").fit(trusted)
    values = score(test)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(trusted, before[0]) and torch.equal(test, before[1])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert torch.equal(score(test), values)
    assert torch.equal(torch.cat([score(row[None]) for row in test]), values)
    assert torch.equal(SklearnEstimator(f"{HERE}.Drawn").fit(trusted.flip(0))(test), values)
    score.save(tmp_path)
    assert torch.equal(load_score(tmp_path)(test), values)
    assert torch.equal(copy.deepcopy(score)(test), values)
    assert torch.equal(pickle.loads(pickle.dumps(score))(test), values)
    assert not torch.equal(SklearnEstimator(f"{HERE}.Drawn", seed=1).fit(trusted)(test), values)


def test_a_decision_function_of_sklearns_kind_is_negated():
    trusted, test = draw(30, 3), draw(9, 3, 1)
    expected = np.abs(test - trusted.mean(0)).max(1) - 3
    np.testing.assert_allclose(SklearnEstimator(f"{HERE}.Near").fit(trusted)(test), expected, rtol=1e-9)


def test_networks_learn_although_scores_need_no_gradients():
    trusted, test = draw(40, 3), draw(5, 3, 1)
    make = {"estimator": "pyod.models.auto_encoder.AutoEncoder", "init_args": {"epoch_num": 2, "verbose": 0}}
    with pytest.warns(UserWarning, match="by its batch"):
        values = [SklearnEstimator(**make).fit(trusted)(test) for _ in range(2)]
    assert torch.equal(*values)


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("OneClassSVM", None, "is no class path: give module.Class"),
        ("sklearn.svm.OneClasSVM", None, "has no estimator 'OneClasSVM'; did you mean 'OneClassSVM'"),
        ("sklearn.svmm.OneClassSVM", None, "cannot be imported (No module named 'sklearn.svmm'): check the spelling"),
        ("nowhere_at_all.Some", None, "cannot be imported (No module named 'nowhere_at_all')"),
        ("sklearn.svm.sys", None, "has no estimator 'sys'"),
        ("os.system", None, "os has no estimator 'system'"),
        ("sklearn.svm.OneClassSVM", {"mu": 1}, "OneClassSVM does not take init_args={'mu': 1}"),
        ("pyod.models.ecod.ECOD", {"contamination": 3.0}, "ECOD does not take init_args={'contamination': 3.0}"),
        ("sklearn.neighbors.LocalOutlierFactor", None, "give init_args: {novelty: true}"),
        ("sklearn.cluster.KMeans", None, "KMeans has no score for new rows"),
        (f"{HERE}.Classifier", None, "Classifier has no score for new rows"),
    ],
)
def test_what_is_no_outlier_estimator_is_refused(path, arguments, said):
    with pytest.raises(ConfigError) as caught:
        SklearnEstimator(path, arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


class NoPyod:
    """An importer that does what Python does where PyOD is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name == "pyod":
            raise ModuleNotFoundError("No module named 'pyod'", name="pyod")


def test_without_pyod_the_way_out_is_named(monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "pyod"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [NoPyod(), *sys.meta_path])
    with pytest.raises(ConfigError, match=r"'pyod\.models\.ecod\.ECOD' cannot be imported .*: pip install pyod"):
        SklearnEstimator("pyod.models.ecod.ECOD")
    assert SklearnEstimator("sklearn.svm.OneClassSVM").fit(draw(20, 3))(draw(4, 3)).shape == (4,)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Breaking", "_breaking does not fit n=20 trusted rows of d=3 .*RuntimeError: two lines.*: change init_args"),
        ("Odd", "_odd does not fit .*: 1 scores of [0-9]+ rows"),
        ("Late", "_late cannot score 2 rows .*too large"),
    ],
)
def test_failures_name_the_estimator(name, said):
    with pytest.raises(DataError, match=said) as caught:
        SklearnEstimator(f"{HERE}.{name}").fit(draw(20, 3))(np.full((2, 3), 1e7))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="sklearn_one_class_svm_nu3 does not fit .*nu"):
        SklearnEstimator("sklearn.svm.OneClassSVM", {"nu": 3}).fit(draw(20, 3))


def test_names_do_not_depend_on_the_order_of_arguments():
    names = {
        SklearnEstimator("sklearn.svm.OneClassSVM", a).name for a in ({"nu": 0.2, "gamma": 2}, {"gamma": 2, "nu": 0.2})
    }
    assert names == {"sklearn_one_class_svm_gamma2_nu0.2"}


def test_a_recipe_can_name_it_with_arguments():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--score", type=Score)
    recipe = """
        score:
          class_path: SklearnEstimator
          init_args:
            estimator: sklearn.svm.OneClassSVM
            init_args: {nu: 0.2, kernel: linear, shrinking: false}
    """
    parsed = parser.parse_string(textwrap.dedent(recipe))
    score = parser.instantiate_classes(parsed).score
    assert score.name == "sklearn_one_class_svm_linear_nu0.2_no_shrinking"
    assert score.init_args == {"nu": 0.2, "kernel": "linear", "shrinking": False}


def saved(folder, **changes):
    SklearnEstimator("sklearn.svm.OneClassSVM").fit(draw(20, 3)).save(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_an_estimator_named_by_a_file_is_not_imported(tmp_path):
    (tmp_path / "intruder.py").write_text("raise SystemExit('imported')")
    folder = saved(tmp_path / "score", init={"estimator": "intruder.Outlier", "init_args": None, "seed": 0})
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(
            StoreError, match=r"'intruder\.Outlier' is named by a file, and files import nothing: .*--with intruder"
        ):
            load_score(folder)
    finally:
        sys.path.remove(str(tmp_path))


def test_a_class_that_is_imported_but_no_estimator_is_not_constructed(tmp_path):
    folder = saved(tmp_path, init={"estimator": "lightning.pytorch.Trainer", "init_args": {"max_epochs": 1}})
    with pytest.raises(StoreError, match="files import nothing"):
        load_score(folder)
    with pytest.raises(ConfigError, match=r"no score_samples and no decision_function|may not import"):
        SklearnEstimator("lightning.pytorch.Trainer", {"max_epochs": 1})


def test_a_module_of_the_working_directory_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "intruder.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"'intruder\.Outlier' is of a module .* --with intruder"):
        SklearnEstimator("intruder.Outlier")


def test_another_version_is_refused(tmp_path):
    import sklearn

    config = json.loads((saved(tmp_path / "same") / "config.json").read_text())
    assert config["libraries"] == {"sklearn": sklearn.__version__}
    load_score(tmp_path / "same")
    with pytest.raises(StoreError, match=r"fitted with \{'sklearn': '0\.1'\}, here is .*: install those versions"):
        load_score(saved(tmp_path / "other", libraries={"sklearn": "0.1"}))


def test_the_rows_of_a_loaded_score_are_fitted_once(tmp_path, monkeypatch):
    calls = []
    fit = SklearnLOF.fit
    monkeypatch.setattr(SklearnLOF, "fit", lambda *args: calls.append(1) or fit(*args))
    SklearnEstimator("sklearn.neighbors.LocalOutlierFactor", {"novelty": True}).fit(draw(40, 3)).save(tmp_path)
    loaded = load_score(tmp_path)
    assert len(calls) == 1
    loaded(draw(5, 3)), loaded(draw(5, 3))
    assert len(calls) == 2
