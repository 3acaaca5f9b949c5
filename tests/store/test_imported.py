"""Activations made elsewhere are judged like those of madkit's own."""

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from madkit.cli.command import main
from madkit.derived import Delta
from madkit.detection.available import available
from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.detection.detector import Detector
from madkit.errors import StoreError
from madkit.scores import Mahalanobis, MaxSoftmax, QuantumEntropy
from madkit.store.feature_store import FeatureStore
from madkit.store.imported import import_vectors

N = {"test": 60, "trusted": 80, "calibration": 30}


def made(seed=0):
    """Vectors at two layers of a base and a tuned model, and their prompts, the test prompts first."""
    rng = np.random.default_rng(seed)
    split = np.repeat(list(N), list(N.values()))
    anomalous = (split == "test") & (np.arange(len(split)) % 2 == 1)
    base = {f"blocks.{k}.hook_resid_post": rng.normal(size=(len(split), 6)) for k in (2, 5)}
    tuned = {site: x + 0.1 * rng.normal(size=x.shape) + anomalous[:, None] for site, x in base.items()}
    return (
        base,
        tuned,
        pd.DataFrame({"split": split, "anomalous": anomalous, "prompt": [f"p{i}" for i in range(len(split))]}),
    )


def test_vectors_keep_their_prompts_their_format_and_their_layers(tmp_path):
    _, tuned, rows = made()
    half = {site: torch.tensor(x).to(torch.bfloat16) for site, x in tuned.items()}
    store = import_vectors(half, rows, tmp_path / "own")
    assert store.complete and list(store.layers.values()) == [2, 5]
    for split, count in N.items():
        assert store.count(split) == count
        numbers, x = store.read(store.sites[1], split)
        given = [int(prompt[1:]) for prompt in store.rows.set_index("row").loc[numbers.tolist(), "prompt"]]
        assert torch.equal(x, half[store.sites[1]][given]) and rows["split"].iloc[given].eq(split).all()
    assert import_vectors(half, rows, tmp_path / "own").folder == store.folder
    other = import_vectors({site: x + 1 for site, x in half.items()}, rows, tmp_path / "own")
    assert other.folder != store.folder and FeatureStore.current(store.folder.parent).folder == other.folder


def test_what_does_not_fit_is_refused_in_a_line(tmp_path):
    _, tuned, rows = made()
    x = tuned["blocks.2.hook_resid_post"]
    for vectors, table, said in (
        ({}, rows, "holds no site"),
        ({"a": x[:5]}, rows, "site 'a' has 5 vectors and there are 170 prompts"),
        ({"a": np.where(x > 2, np.nan, x)}, rows, "site 'a': x has NaN"),
        ({"a": torch.eye(170).to_sparse()}, rows, "site 'a' is sparse"),
        ({"a": x}, rows.drop(columns="anomalous"), "rows lack anomalous"),
        ({"a/b": x}, rows, "holds '/'"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            import_vectors(vectors, table, tmp_path / "own")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("current.json"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder that was imported and judged, in files as users have them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    base, tuned, rows = made()
    np.savez(folder / "tuned.npz", **tuned)
    np.savez(folder / "base.npz", **base)
    rows.astype({"anomalous": int}).to_csv(folder / "rows.csv", index=False)
    out = folder / "runs" / "own" / "stacks"
    words = ["--rows", str(folder / "rows.csv"), "--base", str(folder / "base.npz"), "--out", str(out)]
    assert main(["import", str(folder / "tuned.npz"), *words]) == 0
    listed = [
        Detector("activations", Mahalanobis()),
        Detector("activations", Mahalanobis(), adapter=False),
        Detector(Delta(), Mahalanobis()),
        Detector("activations", QuantumEntropy()),
        Detector("answers", MaxSoftmax()),
    ]
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=out, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    detection = Detection(listed, ["mean", "zscore"], ceiling=True, unavailable="skip")
    left_out = r"activations/quantum_entropy \(no untrusted prompts\); answers/max_softmax \(no answers\)"
    with pytest.warns(UserWarning, match=f"left out, .*: {left_out}"):
        trainer.test(detection, datamodule=StoreData("stacks"), verbose=False)
    return out


def test_detectors_judge_them(run):
    _, tuned, rows = made()
    results = pd.read_parquet(run / "detection" / "results.parquet")
    assert set(results["subset"]) == {"all"} and set(results["setting"]) == {"online", "ceiling"}
    assert results["auroc_within"].isna().all()
    site = "blocks.5.hook_resid_post"
    test = rows["split"] == "test"
    expected = Mahalanobis().fit(tuned[site][rows["split"] == "trusted"])(tuned[site][test])
    found = results.query(f"site == '{site}' and score == 'mahalanobis' and feature == 'activations' and adapter")
    assert found["auroc"].item() == pytest.approx(roc_auc_score(rows.loc[test, "anomalous"], expected))
    means = results.query("site == 'aggregate' and aggregation == 'mean' and score == 'mahalanobis'")
    control, delta = (means.loc[chosen, "auroc"].item() for chosen in (~means["adapter"], means["feature"] == "delta"))
    assert control < 0.7 < 0.95 < delta


def test_mistakes_of_the_command_are_one_line(tmp_path, capsys):
    _, tuned, rows = made()
    np.savez(tmp_path / "a.npz", **tuned)
    np.savez(tmp_path / "b.npz", other=tuned["blocks.2.hook_resid_post"])
    rows.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    rows.iloc[:9].to_parquet(tmp_path / "few.parquet")
    a, out = str(tmp_path / "a.npz"), ["--out", str(tmp_path / "own")]
    for words, said in (
        ([a], "there is no column split"),
        ([a, "--rows", str(tmp_path / "few.parquet")], "there are 9 prompts"),
        ([a, "--rows", str(tmp_path / "rows.txt")], "is none of .csv"),
        ([a, "--rows", str(tmp_path / "rows.jsonl"), "--base", str(tmp_path / "b.npz")], "has the sites other: give"),
    ):
        assert main(["import", *words, *out]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_nothing_that_is_there_is_an_error(run):
    with pytest.raises(StoreError, match=r"no detector of the recipe reads: answers/max_softmax \(no answers\)"):
        available([Detector("answers", MaxSoftmax())], ["mean"], "untrusted", run)
    kept, aggregations, left_out = available([Detector("activations", Mahalanobis())], ["mean"], "untrusted", run)
    assert len(kept) == 1 and aggregations == ["mean"] and not left_out
