"""Probe shift is the derivative it claims to be, of a probe that scikit-learn fits."""

import inspect

import numpy as np
import pytest
import torch
from gradients import SHAPES, compute, log_odds, make_batch, make_model, patched, rows

from madkit.errors import ConfigError, DataError
from madkit.extraction.trusted_statistics import learn
from madkit.features import Activations, Attribution, ProbeShift
from madkit.features.logistic_probe import FOLDS, STRENGTHS, fit_probe, fold_of
from madkit.store.variant import Variant


def trusted(n=60):
    batch = make_batch(n)
    return {**batch, "label": (batch["input_ids"][:, -1] > 150).long()}


def learned_by(lm, feature, batch=None):
    variant = Variant(feature.name)
    return learn(lm, {variant: feature}, {feature.name: feature.hookpoints(lm)}, [batch or trusted()])[variant]


@pytest.mark.parametrize("shape", SHAPES)
def test_shifts_are_the_limit_of_finite_differences(shape, monkeypatch):
    lm = make_model(shape, monkeypatch)
    feature, batch = ProbeShift(first=1, step=1), make_batch()
    learned = learned_by(lm, feature)
    found = compute(lm, feature, batch, learned)
    assert {site: x.shape[1] for site, x in found.items()} == dict(zip(feature.sites(lm), (1, 2, 3), strict=True))
    layers = [point.module for point in feature.hookpoints(lm)]

    def gap(site):
        """The probe's logit minus the log odds."""
        seen = []
        with patched(lm, site, lambda x: seen.append(x) or x):
            odds = log_odds(lm, batch)
        return seen[0] @ learned[f"{site}.direction"] + learned[f"{site}.intercept"] - odds

    for site, vectors in found.items():
        for i, layer in enumerate(layers[: layers.index(site)]):
            errors = []
            for t in (1e-4, 1e-5):
                with patched(lm, layer, lambda x, t=t, m=learned[f"{layer}.mean"]: x + t * (m - x)):
                    after = gap(site)
                errors.append(float(((after - gap(site)) / t - vectors[:, i]).norm() / vectors[:, i].norm()))
            assert errors[1] < 1e-4 and errors[0] > 5 * errors[1]


def test_one_forward_pass_and_a_backward_pass_for_each_probe_and_the_answer(monkeypatch):
    lm = make_model("grouped")
    feature, learned = ProbeShift(step=1), learned_by(make_model("grouped"), ProbeShift(step=1))
    calls, grad = [], torch.autograd.grad
    lm.base_model.register_forward_pre_hook(lambda *_: calls.append("forward"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append("backward") or grad(*a, **k))
    with torch.inference_mode():
        compute(lm, feature, make_batch(), learned, beside=[Activations(), Attribution("zero")])
    assert calls == ["forward"] + ["backward"] * 4
    assert all(p.grad is None for p in lm.parameters())


def test_neither_padding_nor_batch_mates_matter():
    lm, feature, batch = make_model("grouped"), ProbeShift(step=2), make_batch(8)
    learned = learned_by(lm, feature)
    together = compute(lm, feature, batch, learned)
    for row in range(8):
        alone = rows(batch, [row])
        short = alone["attention_mask"][0].bool()
        alone |= {key: alone[key][:, short] for key in ("input_ids", "attention_mask")}
        for site, vector in compute(lm, feature, alone, learned).items():
            torch.testing.assert_close(together[site][[row]], vector, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("n", "d", "noise"), [(200, 8, 1.0), (60, 100, 0.5), (90, 30, 0.0)])
def test_the_probe_is_the_one_that_scikit_learn_chooses(n, d, noise):
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import PredefinedSplit

    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.linspace(0.1, 9, d) + 3
    x[:, 1] = 5  # a constant
    label = ((x[:, 2] - 3) / x[:, 2].std() + noise * rng.normal(size=n) > 0.3).astype(int)
    z = x - x.mean(0)
    z /= np.where(z.std(0) > 0, z.std(0), 1)
    folds = fold_of(torch.from_numpy(label), FOLDS)
    later = {"use_legacy_attributes": False, "l1_ratios": (0,)}  # from scikit-learn 1.8 on, which warns without them
    known = inspect.signature(LogisticRegressionCV).parameters
    options = later if "use_legacy_attributes" in known else {}
    theirs = LogisticRegressionCV(
        Cs=list(STRENGTHS), cv=PredefinedSplit(folds), scoring="neg_log_loss", max_iter=5000, tol=1e-8, **options,
    ).fit(z, label)  # fmt: skip
    ours = fit_probe(torch.from_numpy(x), torch.from_numpy(label))
    assert ours["C"] == pytest.approx(np.ravel(theirs.C_).item())
    logits = x @ ours["direction"].numpy() + ours["intercept"]
    np.testing.assert_allclose(logits, theirs.decision_function(z), rtol=1e-4, atol=1e-4)
    assert 0.5 < ours["accuracy"] <= 1


@pytest.mark.parametrize("classes", [(40, 60), (3, 17), (2, 2)])
def test_folds_hold_the_same_share_of_each_class(classes):
    label = torch.tensor([0] * classes[0] + [1] * classes[1])[torch.randperm(sum(classes))]
    folds = min(FOLDS, *classes)
    for value in (0, 1):
        sizes = torch.bincount(fold_of(label, folds)[label == value], minlength=folds)
        assert int(sizes.max() - sizes.min()) <= 1 and int(sizes.min()) >= 1


def test_the_probe_and_the_means_are_of_trusted_prompts(monkeypatch):
    lm, batch = make_model("grouped", monkeypatch), trusted()
    feature = ProbeShift()
    learned = learned_by(lm, feature, batch)
    seen = []
    with patched(lm, "model.layers.4", lambda x: seen.append(x) or x):
        log_odds(lm, batch)
    torch.testing.assert_close(learned["model.layers.4.mean"], seen[0].mean(0))
    logit = seen[0] @ learned["model.layers.4.direction"] + learned["model.layers.4.intercept"]
    assert float(((logit > 0) == batch["label"].bool()).float().mean()) >= float(learned["model.layers.4.accuracy"])
    assert set(learned) == {
        "model.layers.1.mean", *(f"model.layers.4.{x}" for x in ("mean", "direction", "intercept", "C", "accuracy"))
    }  # fmt: skip


def test_one_class_of_labels_is_an_error():
    lm, batch = make_model("grouped"), trusted()
    with pytest.raises(DataError, match="60 false and 0 true labels"):
        learned_by(lm, ProbeShift(), {**batch, "label": torch.zeros(60, dtype=torch.long)})


def test_options_out_of_range_are_refused():
    lm = make_model("grouped")
    for options, message in (({"first": 4}, "one site only"), ({"first": 5}, "first=5"), ({"step": 9}, "one site")):
        with pytest.raises(ConfigError, match=message):
            ProbeShift(**options).hookpoints(lm)
    with pytest.raises(ConfigError, match="step=0"):
        ProbeShift(step=0)


def test_the_probe_does_not_hang_on_the_last_digits_of_vectors():
    """Folds are dealt by the place in the table: sorted by value, noise of rounding would choose another penalty."""
    batch, strengths = trusted(12), []
    for seed in range(6):
        noisy, draw = make_model("grouped"), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in noisy.parameters():
                p.mul_(1 + 1e-7 * seed * torch.randn(p.shape, generator=draw))
        learned = learned_by(noisy, ProbeShift(step=1), batch)
        strengths.append({name: float(x) for name, x in learned.items() if name.endswith((".C", ".accuracy"))})
    assert all(each == strengths[0] for each in strengths)
