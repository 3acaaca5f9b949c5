"""Couplings and splines are those of nflows 0.14, on which earlier flows were built, and read what those have saved."""

import pytest
import torch

from madkit.encoders.flow.couplings import ResidualMLP, coupling_stack
from madkit.encoders.flow.laplace_flow import LaplaceFlow

transforms = pytest.importorskip("nflows.transforms")
WIDTH, HIDDEN, BINS = 7, 16, 5


class Network(ResidualMLP):
    """As nflows calls it: with a context, and a width that it scales a spline's numbers by."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, HIDDEN, 1)
        self.hidden_features = HIDDEN

    def forward(self, x, context=None):
        return super().forward(x)


class Affine(transforms.AffineCouplingTransform):
    """What stood in its place: nflows' own cannot grow."""

    def _scale_and_shift(self, transform_params):
        shift, raw = transform_params.chunk(2, dim=1)
        return torch.exp(2 * torch.tanh(raw / 2)), shift


def of_nflows(ours, splines):
    """The same flow in nflows' classes, with the tensors of ours by their names."""
    whitening = type(ours.whitening)(WIDTH, True)
    mask = torch.arange(WIDTH) % 2
    layers = [Whitened(whitening)]
    for _ in range(3):
        if splines:
            coupling = transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask, Network, num_bins=BINS, tails="linear", tail_bound=6.0
            )
        else:
            coupling = Affine(mask, Network)
        layers += [transforms.RandomPermutation(WIDTH), coupling]
    theirs = transforms.CompositeTransform(layers).to(ours.whitening.mean.dtype)
    state = {k.replace("_transforms.0.", "_transforms.0.inner."): v for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)  # strictly: no name is missing or left over
    return theirs


class Whitened(transforms.Transform):
    """Our whitening as a transform of nflows."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs, context=None):
        return self.inner(inputs)

    def inverse(self, inputs, context=None):
        return self.inner.inverse(inputs)


@pytest.mark.parametrize("splines", [0, BINS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_determinants_and_gradients_are_those_of_nflows(splines, dtype):
    torch.manual_seed(3)
    options = {"couplings": 3, "hidden": HIDDEN, "blocks": 1, "splines": splines, "whiten": True}
    ours = coupling_stack(WIDTH, **options).to(dtype)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.4 * torch.randn_like(p)) if p.requires_grad else None
    theirs = of_nflows(ours, splines)
    rows = 4 * torch.randn(300, WIDTH, dtype=dtype)  # some of them where splines are straight
    found, expected = ours(rows), theirs(rows)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    for a, b in zip(ours.inverse(rows), theirs.inverse(rows), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    gradients = [
        torch.autograd.grad((z.abs().sum(1) - log_det).mean(), [p for p in flow.parameters() if p.requires_grad])
        for flow, (z, log_det) in ((ours, found), (theirs, expected))
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_flow_is_drawn_as_it_was():
    """The same seed gives the same permutations and networks, and so the same training."""
    torch.manual_seed(5)
    ours = LaplaceFlow(WIDTH, couplings=2, hidden=HIDDEN).stack.state_dict()
    torch.manual_seed(5)
    for place in (1, 3):
        coupling = Affine(torch.arange(WIDTH) % 2, Network)
        permutation = transforms.RandomPermutation(WIDTH)
        assert torch.equal(ours[f"_transforms.{place}._permutation"], permutation._permutation)
        assert torch.equal(
            ours[f"_transforms.{place + 1}.transform_net.first.weight"], coupling.transform_net.first.weight
        )
