"""One process that is a group by NCCL, which knows no tensor of a CPU: numbers are those without a group."""

import json

import pandas as pd
import pytest
import torch
from small_lms import make_batch, make_lm
from stage_words import configs

from madkit import scores
from madkit.cli.command import main
from madkit.derived import Conditional
from madkit.streaming import Moments, Pool, RowCount, UsedFeatures, Variances, merge_processes
from madkit.volume import lm_log_volume

ROWS = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)) + 5


@pytest.mark.parametrize("kind", [Moments, Pool, RowCount, UsedFeatures, Variances])
@pytest.mark.parametrize("where", ["cpu", "card"])
def test_statistics_are_merged_where_the_group_can(card, kind, where, group):
    def merged():
        of = kind().to("cpu" if where == "cpu" else card)
        of.update(ROWS.to(of.device))
        return merge_processes(of)

    found = merged()
    torch.distributed.destroy_process_group()
    expected = merged()
    torch.distributed.init_process_group(group, store=torch.distributed.HashStore(), rank=0, world_size=1)
    for part in ("n", *kind.parts):
        assert torch.equal(getattr(found, part), getattr(expected, part)), part
        assert getattr(found, part).device == getattr(expected, part).device


def test_a_process_without_rows_takes_part(card, group):
    assert int(merge_processes(Moments()).n) == 0


@pytest.mark.parametrize("make", [scores.Mahalanobis, scores.LocalOutlierFactor, scores.LikelihoodRatio])
def test_scores_in_a_group(card, make, group):
    rows = ROWS.to(card)
    found = make().fit(rows, rows)(rows[:9])
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.cpu(), make().fit(ROWS, ROWS)(ROWS[:9]), rtol=1e-9, atol=1e-9)


def test_conditional_in_a_group(card, group):
    base, tuned = ROWS[:, :3].to(card), ROWS[:, 3:].to(card)
    found, expected = Conditional(studentised=True), Conditional(studentised=True)
    for conditional, (x, y) in ((found, (base, tuned)), (expected, (base.cpu(), tuned.cpu()))):
        conditional.update([x, y])
        conditional.finalize()
    torch.testing.assert_close(found([base, tuned]).cpu(), expected([base.cpu(), tuned.cpu()]), rtol=1e-9, atol=1e-9)


def test_local_volume_in_a_group(card, group):
    lm, batch = make_lm().to(card), {name: x.to(card) for name, x in make_batch(3).items()}
    with torch.no_grad():
        estimate = lm_log_volume(lm, [batch], directions=2, progress=False)
    assert estimate.reached.all()


DATA = ["--data.task_options", json.dumps({"n_train": 1200, "n_validation": 400})]
SHORT = [
    "--trainer.max_steps", "6", "--trainer.max_epochs", "-1", "--trainer.val_check_interval", "6",
    "--trainer.check_val_every_n_epoch", "null", "--data.max_validation", "32", "--trainer.log_every_n_steps", "1",
    "--model.optimizer.lr", "1e-3",
]  # fmt: skip
FEW = [f"--data.max_{split}=90" for split in ("trusted", "calibration", "untrusted", "test")]
DETECTORS = [
    {"feature": {"class_path": "Conditional"}, "score": {"class_path": "LocalOutlierFactor"}},
    {"feature": "activations", "score": {"class_path": "Mahalanobis"}},
    {"feature": "attribution", "score": {"class_path": "Mahalanobis"}},
    {"feature": "probe", "score": {"class_path": "QuantumEntropy"}},
]


def stages(card, runs, base, *group):
    """All three stages, in bfloat16, with the accelerator that is there."""
    where = ["--trainer.accelerator", "gpu" if card.type == "cuda" else "cpu", "--trainer.devices", "1", *group]
    lm = ["--run", str(runs), "--model.base", str(base), *DATA, *where]
    assert main(["fit", *configs("llama"), *lm, *SHORT]) == 0
    assert main(["predict", *configs("predict"), *lm, *FEW]) == 0
    words = [
        "--model",
        "Detection",
        "--model.detectors",
        json.dumps(DETECTORS),
        "--model.aggregations",
        "[mean, zscore]",
    ]
    words += ["--data", "StoreData", "--data.dataset", "addition", "--trainer.logger", "false", *where]
    assert main(["test", "--run", str(runs), *words]) == 0
    return runs / "addition"


def test_the_stages_are_the_same_in_a_group(card, bases, tmp_path, no_group_is_left):
    alone = stages(card, tmp_path / "alone", bases["llama"])
    grouped = stages(card, tmp_path / "grouped", bases["llama"], "--trainer.strategy", "ddp")
    one, two = (json.loads((run / "fit.json").read_text())["metrics"] for run in (alone, grouped))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-3)
    costs = json.loads((alone / "predict.json").read_text())["cost"]
    expected = torch.cuda.get_device_name() if card.type == "cuda" else "cpu"
    assert {cost["device"] for cost in costs} == {expected}
    one, two = (pd.read_parquet(run / "detection" / "results.parquet") for run in (alone, grouped))
    keys = ["feature", "adapter", "score", "site", "aggregation", "subset"]
    assert one[keys].equals(two[keys])
    assert one["auroc"].between(0, 1).all()
    assert (one["auroc"] - two["auroc"]).abs().median() < 0.02


def test_encoders_are_trained_on_a_card(card, bases, fit_encoders, tmp_path, no_group_is_left):
    fit_encoders("llama", bases["llama"], tmp_path / "llama")
    for kind in ("flow", "sae"):
        metrics = json.loads((tmp_path / "llama" / kind / "fit.json").read_text())["metrics"]
        assert metrics and all(value == value for value in metrics.values())
