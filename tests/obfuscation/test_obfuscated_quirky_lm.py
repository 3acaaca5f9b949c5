"""A model trained against detectors: the same from a checkpoint, with batches in parts, and in two processes."""

import json
from functools import partial

import lightning as L
import pandas as pd
import pytest
import torch
from forked import in_two
from lightning.pytorch.callbacks import ModelCheckpoint

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError, DataError
from madkit.lm.quirky_lm import QuirkyLM
from madkit.obfuscation.obfuscated_quirky_lm import ObfuscatedQuirkyLM
from madkit.obfuscation.reference_prompts import reference_prompts

ALL = ["mahalanobis", "delta", "conditional", "probe"]
STEPS = 6
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj", "up_proj"]}


def make_module(base, **options):
    torch.manual_seed(0)
    options = {"against": ALL, "floor": 1e-6, "refresh": 2, "n_trusted": 60, "n_reference": 40, "step": 2, **options}
    return ObfuscatedQuirkyLM(str(base), lora=LORA, optimizer=partial(torch.optim.AdamW, lr=5e-3), **options)


def make_data(**options):
    sizes = {"n_train": 800, "n_validation": 60, "n_test": 0, "max": 99}
    options = {"batch_size": 32, "predict_batch_size": 32, **options}
    return QuirkyData("addition", template="compact", task_options=sizes, **options)


def fit(module, data, folder, checkpoint=None, **options):
    options = {"enable_checkpointing": False, "max_steps": STEPS, **options}
    trainer = L.Trainer(
        accelerator="cpu", logger=False, limit_val_batches=0, log_every_n_steps=1, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=folder / "m" / "d", **options,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    weights = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    return weights, pd.read_parquet(folder / "m" / "d" / "history.parquet")


def curve(history, metric):
    return history[history["metric"] == metric].set_index("step")["value"]


def same(found, expected, **tolerance):
    assert set(found) == set(expected)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, **tolerance)


@pytest.fixture(scope="module")
def trained(bases, tmp_path_factory):
    return fit(make_module(bases["llama"]), make_data(), tmp_path_factory.mktemp("trained"))


def test_the_penalty_acts_and_all_is_logged(trained, bases, tmp_path):
    weights, history = trained
    assert curve(history, "train/ease").iloc[-1] == 1 and curve(history, "train/quirkiness").iloc[-1] > 0
    assert all(curve(history, f"train/excess/{name}").index[-1] == STEPS for name in ALL)
    plain, quirky = fit(make_module(bases["llama"], strength=0.0), make_data(), tmp_path)
    assert any(not torch.equal(plain[name], weights[name]) for name in plain)
    torch.manual_seed(0)
    as_ever = QuirkyLM(str(bases["llama"]), lora=LORA, optimizer=partial(torch.optim.AdamW, lr=5e-3))
    same(fit(as_ever, make_data(), tmp_path / "other")[0], plain, rtol=0, atol=0)
    assert not len(curve(quirky, "train/ease"))


def test_below_the_floor_it_trains_as_a_quirky_model_does(bases, tmp_path):
    weights, history = fit(make_module(bases["llama"], floor=50.0), make_data(), tmp_path, max_steps=4)
    plain, _ = fit(make_module(bases["llama"], strength=0.0), make_data(), tmp_path / "plain", max_steps=4)
    assert (curve(history, "train/ease") == 0).all()
    same(weights, plain, rtol=0, atol=0)


def test_a_fit_continues_from_a_checkpoint_between_two_fits_of_the_detectors(trained, bases, tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=5, filename="five")
    # The schedule of the learning rate is that of the whole training, which is cut short.
    module = make_module(bases["llama"])
    stop = L.pytorch.callbacks.LambdaCallback(
        on_train_batch_end=lambda trainer, *_: setattr(trainer, "should_stop", trainer.global_step >= 5)
    )
    fit(module, make_data(), tmp_path / "cut", enable_checkpointing=True, callbacks=[keep, stop])
    found = fit(make_module(bases["llama"]), make_data(), tmp_path, checkpoint=tmp_path / "kept" / "five.ckpt")
    same(found[0], trained[0], rtol=1e-6, atol=1e-7)
    pd.testing.assert_series_equal(*(curve(h, "train/loss") for _, h in (found, trained)), rtol=1e-6)


def test_parts_of_a_batch_and_two_processes_train_the_same_model(trained, bases, tmp_path):
    parts = fit(make_module(bases["llama"]), make_data(device_batch_size=8), tmp_path / "parts")
    same(parts[0], trained[0], rtol=1e-3, atol=1e-4)

    def work():
        ddp = {"devices": 2, "strategy": "ddp"}
        weights, _ = fit(make_module(bases["llama"]), make_data(), tmp_path / "two", **ddp)
        print("RESULT" + json.dumps({name: weight.tolist() for name, weight in weights.items()}))

    found = json.loads(in_two(work, tmp_path).split("RESULT")[1].splitlines()[0])
    same({name: torch.tensor(weight) for name, weight in found.items()}, trained[0], rtol=1e-3, atol=1e-4)


def test_detectors_are_fitted_on_prompts_of_the_training():
    frame = pd.DataFrame(
        {
            "character": ["Alice", "Bob"] * 40,
            "first_names": [True, True, False, False] * 20,
            "difficulty_quantile": [i / 80 for i in range(80)],
        }
    )
    # Another honest speaker, of whom one prompt is easy and by one of the first names.
    frame["speaker"] = frame["character"].where(frame.index % 20 != 4, "Carol")
    found = reference_prompts(frame, seed=0, n_trusted=5, n_reference=30)
    trusted, normal, anomalous = (frame.iloc[rows] for rows in found)
    assert [len(trusted), len(normal), len(anomalous)] == [4, 30, 30]
    assert (trusted["speaker"] == "Alice").all() and trusted["first_names"].all()
    assert (trusted["difficulty_quantile"] < 0.25).all()
    assert (normal["character"] == "Alice").all() and (anomalous["character"] == "Bob").all()
    with pytest.raises(DataError, match="max_train"):
        reference_prompts(frame.assign(first_names=False), seed=0, n_trusted=5, n_reference=30)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"against": ["lof"]}, "against"), ({"strength": -1.0}, "strength"), ({"floor": 0.0}, "floor"),
        ({"refresh": 0}, "refresh"), ({"n_trusted": 1}, "n_trusted"), ({"first": -1}, "first"),
        ({"lora": None}, "lora"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        ObfuscatedQuirkyLM("somewhere", **{"against": ["delta"], **options})


def test_other_data_are_refused(bases, tmp_path):
    batches = torch.utils.data.DataLoader([0])
    with pytest.raises(ConfigError, match="QuirkyData"):
        fit(make_module(bases["llama"]), batches, tmp_path)
