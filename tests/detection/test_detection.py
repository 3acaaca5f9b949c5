"""The `test` stage on stores made by hand: what it writes, what it leaves, and which layer a site belongs to."""

import json

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.detection.detector import Detector
from madkit.detection.output import behaviour
from madkit.errors import ConfigError, DataError, StoreError
from madkit.scores import KNearestNeighbours, LocalOutlierFactor, Mahalanobis
from madkit.store.feature_store import FeatureStore
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant

SITE = "model.layers.1"
SPLITS = ["trusted"] * 40 + ["test"] * 40


def prompts():
    rng = np.random.default_rng(0)
    n = len(SPLITS)
    bob = np.arange(n) % 2 == 1
    table = pd.DataFrame({"row": np.arange(n), "split": SPLITS, "id": [f"q{i}" for i in range(n)]})
    table["anomalous"] = bob & (table["split"] == "test")
    table["statement"] = [f"q{i // 2}" for i in range(n)]
    table["character"] = table["name"] = np.where(table["anomalous"], "Bob", "Alice")
    table["alice_label"], table["bob_label"] = rng.random(n) < 0.5, rng.random(n) < 0.5
    table["label"] = np.where(table["anomalous"], table["bob_label"], table["alice_label"])
    return table.assign(difficulty=0.0, difficulty_quantile=0.5, prompt="1 + 1 = 2?")


def write_store(run, variant, layer, sites=(SITE,), shift=3.0, spread=1.0):
    """A store of two-dimensional vectors, those of anomalous prompts moved by `shift` with the adapter on."""
    table, shards = prompts(), cut_shards(SPLITS, 40)
    identity = {"base": "b", "adapter": "a", "prompts": {}, "feature": {}, "control": not variant.adapter}
    layers = [layer] * len(sites)
    store = FeatureStore.create(variant.folder(run), identity, list(sites), shards, table, layers)
    moved = torch.tensor(table["anomalous"].to_numpy()).double() * (shift if variant.adapter else 0.0)
    x = spread * torch.randn(len(table), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for shard in shards:
        rows = torch.tensor(shard.rows)
        store.write(shard.index, rows, dict.fromkeys(sites, (x + moved[:, None])[rows]))
    store.finish()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "small" / "addition"
    write_store(folder, Variant("activations"), 1)
    write_store(folder, Variant("activations", adapter=False), 1)
    write_store(folder, Variant("mine"), 5)
    return folder


def detect(run, *detectors, aggregations=("mean",)):
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=run, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.test(Detection(list(detectors), list(aggregations)), datamodule=StoreData("addition"), verbose=False)
    return pd.read_parquet(run / "detection" / "results.parquet")


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_two_features_with_a_site_of_one_name_keep_their_own_layers(run):
    results = detect(run, Detector("activations", Mahalanobis()), Detector("mine", Mahalanobis()))
    layers = results[results["site"] == SITE].groupby("feature")["layer"].unique().map(list).to_dict()
    assert layers == {"activations": [1], "mine": [5]}
    for name in ("separation", "pca", "scores"):
        table = pd.read_parquet(run / "detection" / f"{name}.parquet")
        table = table[table["site"] == SITE]
        assert table.groupby("feature")["layer"].unique().map(list).to_dict() == layers, name


def test_a_control_is_the_same_feature_with_the_adapter_off(run):
    results = detect(run, Detector("activations", Mahalanobis()), Detector("activations", Mahalanobis(), adapter=False))
    assert set(results["feature"]) == {"activations", "own_answer"}
    needs = results[results["feature"] == "activations"].groupby("adapter")["needs"].unique().map(list).to_dict()
    assert needs == {True: ["trusted prompts"], False: ["trusted prompts, base model"]}
    auroc = results[(results["site"] == SITE) & (results["subset"] == "all")].set_index("adapter")["auroc"]
    assert auroc[True] > 0.9 and abs(auroc[False] - 0.5) < 0.25
    cost = json.loads((run / "detection" / "summary.json").read_text())["cost"]
    assert {(c["feature"], c["adapter"], c["score"]) for c in cost} == {
        ("activations", adapter, "mahalanobis") for adapter in (True, False)
    }
    saved = f"{SITE}/config.json"
    expected = {f"detectors/{part}activations/mahalanobis/{saved}" for part in ("", "controls/")}
    assert expected == {name for name in files(run / "detection") if name.endswith("config.json")}


def test_nearest_prompts_are_those_of_all_distances(tmp_path):
    run, sites = tmp_path / "runs" / "small" / "addition", [SITE, "model.layers.2"]
    write_store(run, Variant("activations"), 1, sites=sites)
    write_store(run, Variant("mine"), 5)
    detect(run, Detector("activations", Mahalanobis()), Detector("mine", Mahalanobis()))
    table = pd.read_parquet(run / "detection" / "nearest.parquet")
    assert set(table["feature"]) == {"activations"} and set(table["site"]) == set(sites)
    store = FeatureStore.current(Variant("activations").folder(run))
    for site in sites:
        (rows, trusted), (test_rows, test) = (store.read(site, split) for split in ("trusted", "test"))
        scale = trusted.numpy().std(axis=0) * np.sqrt(2)
        distances = cdist(test.numpy() / scale, trusted.numpy() / scale)
        order = np.argsort(distances, axis=1)[:, :3]
        found = table[table["site"] == site].set_index(["row", "rank"]).sort_index()
        assert found["trusted_row"].to_numpy().reshape(-1, 3).tolist() == rows.numpy()[order].tolist()
        expected = np.take_along_axis(distances, order, axis=1).ravel()
        np.testing.assert_allclose(found["distance"], expected, rtol=1e-6)
        among = cdist(trusted.numpy() / scale, trusted.numpy() / scale) + np.diag([np.inf] * len(trusted))
        assert found["typical"].iloc[0] == pytest.approx(np.sort(among.min(axis=1))[(len(trusted) - 1) // 2], rel=1e-6)
        assert sorted(set(found.index.get_level_values("row"))) == test_rows.tolist()
        assert set(found["prompt"]) == {"1 + 1 = 2?"}


def test_own_answer_is_a_control_of_every_run(run):
    with pytest.warns(UserWarning, match="answers are not stored.*list the feature Answers"):
        results = detect(run, Detector("activations", Mahalanobis()))
    own = results[results["setting"] == "own answer"]
    assert set(own["score"]) == {"label"} and set(results["answers_from"]) == {"label"}
    write_store(run, Variant("answers"), None, sites=("logits",), shift=0.0)
    results = detect(run, Detector("activations", Mahalanobis()))
    own = results[(results["setting"] == "own answer") & (results["subset"] == "all")].set_index("score")
    table = pd.read_parquet(run / "detection" / "prompts.parquet")
    for score, values in (("log_odds", table["log_odds"]), ("label", table["label"])):
        area = roc_auc_score(table["anomalous"], values.astype(float))
        assert own.loc[score, "auroc"] == pytest.approx(max(area, 1 - area))
        assert own.loc[score, "sign"] == (1 if area >= 0.5 else -1)
    assert set(results["answers_from"]) == {"log_odds"}
    scores = pd.read_parquet(run / "detection" / "scores.parquet")
    assert set(scores["feature"]) == {"activations"}


def test_answers_stored_for_other_splits_alone_are_none():
    class NoTest:
        def count(self, split):
            return 0 if split == "test" else 40

    assert behaviour(prompts(), NoTest())["log_odds"].isna().all()


def test_another_recipe_leaves_nothing_of_the_one_before(run):
    detect(run, Detector("activations", Mahalanobis()), Detector("mine", KNearestNeighbours()))
    (run / "detection" / "detectors" / "mine" / "note.txt").write_text("by hand")
    detect(run, Detector("activations", Mahalanobis()))
    again = files(run / "detection")
    fresh = run.parents[1] / "fresh" / "addition"
    write_store(fresh, Variant("activations"), 1)
    detect(fresh, Detector("activations", Mahalanobis()))
    assert again == files(fresh / "detection")
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_store_without_calibration_prompts_names_the_way_out(run):
    with pytest.raises(DataError, match="no calibration prompts"):
        detect(run, Detector("activations", Mahalanobis()), aggregations=["mean", "zscore"])


def test_what_a_score_cannot_learn_from_is_said_with_its_feature_and_site(run):
    write_store(run, Variant("constant"), 2, sites=("model.layers.2",), spread=0.0)
    with pytest.raises(DataError, match=r"^constant at model\.layers\.2: mahalanobis has n=40 rows without variance"):
        detect(run, Detector("activations", Mahalanobis()), Detector("constant", Mahalanobis()))


def test_a_recipe_that_fails_leaves_the_results_before_it(run):
    before = detect(run, Detector("activations", Mahalanobis()))
    with pytest.raises(StoreError, match="no complete store of feature 'other'"):
        detect(run, Detector("other", Mahalanobis()))
    path = FeatureStore.current(Variant("mine").folder(run)).path(1)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match="damaged"):
        detect(run, Detector("activations", Mahalanobis()), Detector("mine", Mahalanobis()))
    pd.testing.assert_frame_equal(pd.read_parquet(run / "detection" / "results.parquet"), before)
    detect(run, Detector("activations", Mahalanobis()))
    assert not (run / "detection" / "detectors" / "mine").exists()


def test_a_detector_is_listed_once_for_each_state_of_the_adapter():
    twice = [Detector("activations", Mahalanobis()), Detector("activations", Mahalanobis())]
    with pytest.raises(ConfigError, match="twice"):
        Detection(twice)
    twice[1].adapter = False
    assert len(Detection(twice).detectors) == 2


def test_a_store_that_does_not_say_which_prompts_share_a_statement_is_refused(run, monkeypatch):
    from madkit.store.feature_store import FeatureStore

    monkeypatch.setattr(FeatureStore, "rows", prompts().drop(columns="statement"))
    with pytest.raises(StoreError, match="rows lack statement, which test prompts need.*delete it and make it again"):
        detect(run, Detector("activations", Mahalanobis()))


def test_results_count_statements_and_names_where_they_are_enough(run):
    from madkit.statistics import auroc

    results = detect(run, Detector("activations", Mahalanobis()))
    stored = pd.read_parquet(run / "detection" / "prompts.parquet")
    whole = results[(results["subset"] == "all") & (results["site"] == SITE) & (results["score"] == "mahalanobis")]
    assert whole["n_statements"].tolist() == [20] == [stored["statement"].nunique()]
    scores = pd.read_parquet(run / "detection" / "scores.parquet")
    values = scores[(scores["site"] == SITE) & (scores["score"] == "mahalanobis")].set_index("row")["value"]
    values = values.loc[stored["row"]].to_numpy()
    found = whole.iloc[0]
    expected = auroc(values, stored["anomalous"], clusters=stored["statement"])
    assert (found["auroc"], found["low"], found["high"]) == pytest.approx(tuple(expected))


def test_results_say_how_many_neighbours_an_approximate_search_finds(run):
    pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
    approximate = LocalOutlierFactor(k=5, index="ivf")
    detect(run, Detector("activations", approximate), Detector("mine", LocalOutlierFactor(k=5)))
    (told,) = json.loads((run / "detection" / "summary.json").read_text())["recall"]
    place = {"feature": "activations", "adapter": True, "score": "lof_k5_ivf", "site": SITE}
    assert told == {**place, "recall": 1.0}  # of 40 rows there is one cell
