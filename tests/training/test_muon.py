"""Muon against a plain transcription of its rule and torch's own AdamW."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from madkit.errors import ConfigError
from madkit.training.muon import Muon, orthogonalize


def small_model(seed=0):
    torch.manual_seed(seed)
    # Wide, tall and square matrices, two of one shape.
    return torch.nn.Sequential(
        torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 6), torch.nn.Tanh(),
        torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 10), torch.nn.LayerNorm(10),
    )  # fmt: skip


def make(model, **options):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2]
    return Muon([{"params": matrices, "matrices": True}, {"params": rest, "matrices": False}], **options)


def train(model, optimizer, steps, start=0, scheduler=None):
    for step in range(start, start + steps):
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def reference_step(weight, gradient, momentum, lr=0.02, beta=0.95, decay=0.01):
    """One step for one matrix, in float64, as the source writes it down."""
    momentum = beta * momentum + gradient
    x = gradient + beta * momentum
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    x = x.T if transposed else x
    scale = max(1, x.shape[0] / x.shape[1]) ** 0.5
    return weight * (1 - lr * decay) - lr * scale * x, momentum


@settings(max_examples=30)
@given(rows=st.integers(2, 12), extra=st.integers(0, 12), scale=st.floats(1e-4, 1e4), seed=st.integers(0, 99))
def test_orthogonalize_keeps_singular_vectors(rows, extra, scale, seed):
    x = torch.randn(3, rows, rows + extra, generator=torch.Generator().manual_seed(seed)) * scale
    u, s, vh = torch.linalg.svd(x.double(), full_matrices=False)
    inner = u.mT @ orthogonalize(x).double() @ vh.mT
    off = inner - torch.diag_embed(torch.diagonal(inner, dim1=1, dim2=2))
    assert off.abs().max() < 1e-3
    values = torch.diagonal(inner, dim1=1, dim2=2)[s > 0.05 * s[:, :1]]
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_orthogonalize_zero_and_half_precision():
    assert orthogonalize(torch.zeros(1, 3, 4)).abs().max() == 0
    assert orthogonalize(torch.ones(1, 3, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_matrices_follow_the_rule():
    model = small_model()
    optimizer = make(model)
    expected = {n: (p.detach().double(), torch.zeros_like(p).double()) for n, p in model.named_parameters()}
    for step in range(3):
        train(model, optimizer, 1, start=step)
        for name, p in model.named_parameters():
            if p.ndim == 2:
                expected[name] = reference_step(expected[name][0], p.grad.double(), expected[name][1])
                torch.testing.assert_close(p.detach().double(), expected[name][0], rtol=1e-4, atol=1e-5)


def test_the_rest_is_adamw():
    mine, theirs = small_model(), small_model()
    options = {"betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    first = Muon(mine.parameters(), adam_lr=1e-2, **options)
    train(mine, first, 20)
    train(theirs, torch.optim.AdamW(theirs.parameters(), lr=1e-2, **options), 20)
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_resumes_bit_identically(tmp_path):
    whole = small_model()
    optimizer = make(whole)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    train(whole, optimizer, 4, scheduler=schedule)
    state = {"model": whole.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(copy.deepcopy(state), tmp_path / "state.pt")
    train(whole, optimizer, 6, start=4, scheduler=schedule)

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = small_model(seed=1)
    resumed.load_state_dict(state["model"])
    optimizer = make(resumed, lr=9.0, adam_lr=9.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    train(resumed, optimizer, 6, start=4, scheduler=schedule)
    for p, q in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)


def test_schedule_scales_both_rates():
    optimizer = make(small_model(), lr=0.02, adam_lr=0.004)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.002]


def test_parameters_without_gradient_stay():
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    make(model).step()
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


def test_closure_and_learning():
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    target, model = small_model(seed=5)(x).detach(), small_model()
    optimizer = make(model)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        return losses[-1]

    assert [optimizer.step(closure) for _ in range(60)] == losses
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("option", [{"lr": -1.0}, {"adam_lr": -1.0}, {"momentum": 1.0}, {"betas": (0.9, 1.0)}])
def test_refuses_values_out_of_range(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        make(small_model(), **option)


def test_refuses_vectors_among_matrices():
    with pytest.raises(ConfigError, match="2-D"):
        Muon([{"params": list(small_model().parameters()), "matrices": True}])
