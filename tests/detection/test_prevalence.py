"""Offline scores against the share of anomalous prompts that they learn from."""

import lightning as L
import numpy as np
import pandas as pd
import pytest
import small_stores
import torch
from sklearn.metrics import roc_auc_score

from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.detection.detector import Detector
from madkit.detection.prevalence import mixtures
from madkit.errors import ConfigError, DataError
from madkit.scores import Mahalanobis, QuantumEntropy
from madkit.store.feature_store import FeatureStore
from madkit.store.variant import Variant


def prompts(n_normal, n_anomalous):
    return pd.DataFrame({"row": range(n_normal + n_anomalous), "anomalous": [False] * n_normal + [True] * n_anomalous})


@pytest.mark.parametrize(("sizes", "share"), [((990, 500), 0.01), ((500, 500), 0.2), ((100, 10), 0.5), ((300, 7), 0.1)])
def test_a_mixture_has_its_share_and_as_many_prompts_as_there_can_be(sizes, share):
    table = prompts(*sizes)
    mixture = mixtures(table, [share])[share]
    anomalous = table.set_index("row").loc[mixture.rows, "anomalous"]
    assert int(anomalous.sum()) == mixture.n_anomalous and len(set(mixture.rows)) == len(mixture.rows)
    assert anomalous.mean() == pytest.approx(share, abs=0.5 / len(anomalous) + 1e-9)
    # One more of each kind would be more than there are.
    assert len(mixture.rows) > min(sizes[0] / (1 - share), sizes[1] / share) - 2


def test_a_larger_share_holds_the_anomalous_prompts_of_a_smaller_one():
    few, many = (
        set(m.rows.tolist()) & set(range(500, 1000)) for m in mixtures(prompts(500, 500), [0.01, 0.2]).values()
    )
    assert few < many


def test_too_few_prompts_and_no_shares_are_named():
    with pytest.raises(DataError, match="prevalence 0.01: 10 normal and 1 anomalous .* too few"):
        mixtures(prompts(10, 1), [0.01])
    with pytest.raises(ConfigError, match="model.prevalences has 0"):
        Detection([Detector("activations", QuantumEntropy())], prevalences=[0.0])


def test_each_mixture_is_learned_by_itself(tmp_path):
    run = tmp_path / "small" / "addition"
    small_stores.write_stores(run, untrusted_bob=True)
    detectors = [Detector("activations", score) for score in (Mahalanobis(), QuantumEntropy())]
    found = []
    for prevalences in ([0.2, 0.5], None):
        trainer = L.Trainer(
            accelerator="cpu", default_root_dir=run, logger=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False, enable_checkpointing=False,
        )  # fmt: skip
        module = Detection(detectors, ["mean", "zscore"], prevalences=prevalences)
        trainer.test(module, datamodule=StoreData("addition", block_size=7), verbose=False)
        found.append({p.stem: pd.read_parquet(p) for p in (run / "detection").glob("*.parquet")})
    curves = found[0].pop("prevalence")
    for name, table in found[1].items():
        pd.testing.assert_frame_equal(table, found[0][name], obj=name)
    assert list(curves[["score", "aggregation", "prevalence"]].itertuples(index=False, name=None)) == [
        ("quantum_entropy", "mean", 0.2), ("quantum_entropy", "mean", 0.5),
    ]  # fmt: skip
    # By hand: the score of each site fitted on trusted prompts and on the rows of the mixture.
    store = FeatureStore.current(Variant("activations").folder(run))
    rows = store.rows
    test = rows[rows["split"] == "test"]
    for share, mixture in mixtures(rows[rows["split"] == "untrusted"], [0.2, 0.5]).items():
        means = []
        for site in small_stores.SITES:
            vectors = {s: store.read(site, s) for s in ("trusted", "untrusted", "test")}
            score = QuantumEntropy()
            score.update(vectors["trusted"][1])
            numbers, x = vectors["untrusted"]
            score.update(x[torch.isin(numbers, torch.from_numpy(mixture.rows))], untrusted=True)
            score.finalize()
            means.append(score(vectors["test"][1]).numpy())
        area = roc_auc_score(test["anomalous"], np.mean(means, axis=0))
        line = curves[curves["prevalence"] == share].iloc[0]
        assert line["auroc"] == pytest.approx(area, abs=1e-9)
        assert (line["n_untrusted"], line["n_untrusted_anomalous"]) == (len(mixture.rows), mixture.n_anomalous)
