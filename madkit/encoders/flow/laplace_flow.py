"""LaplaceFlow: an invertible map of a site's activations to independent Laplace(0, 1) coordinates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from madkit.encoders.flow.couplings import Whitening, coupling_stack, laplace_log_prob
from madkit.errors import ConfigError, DataError

_VARIANCE_FLOOR = 1e-6
"""Variances below this share of their mean are raised to it: they are rounding, not structure."""


class LaplaceFlow(nn.Module):
    """A coupling flow with a Laplace(0, 1) prior (arXiv 2504.08812, section 3).

    Couplings rather than autoregressive layers, because both directions take one pass, and a coupling's network needs
    no hidden layer as wide as the input. Affine rather than spline couplings by default: at d = 4096 with
    hidden = 1024 and two blocks one has 10 million parameters; with 8 bins it would have 54 million and turn each row
    into 47,000 numbers. Correlations are taken out by the whitening before the couplings, whose log determinant counts,
    so a density is always one of the activation itself.

    Args:
        width: d, the number of coordinates.
        couplings: number of coupling layers.
        hidden: width of each coupling's network.
        blocks: residual blocks of each network.
        splines: bins of rational-quadratic couplings; 0 for affine couplings.
        whiten: standardise along principal components (needs more rows than coordinates) rather than each coordinate.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> flow = LaplaceFlow(4, couplings=2, hidden=8)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(flow.inverse(flow(x)), x, atol=1e-5), flow.log_prob(x).shape
        (True, torch.Size([5]))
    """

    def __init__(
        self,
        width: int,
        couplings: int = 8,
        hidden: int = 128,
        blocks: int = 1,
        splines: int = 0,
        whiten: bool = True,
    ) -> None:
        super().__init__()
        for name, value, smallest in (
            ("width", width, 2), ("couplings", couplings, 1), ("hidden", hidden, 1), ("blocks", blocks, 0),
        ):  # fmt: skip
            if value < smallest:
                raise ConfigError(f"{name}={value} must be at least {smallest}")
        if splines < 0 or splines == 1:
            raise ConfigError(f"splines={splines}: give 0 for affine couplings, or 2 bins or more")
        self.width = width
        self.options: dict[str, Any] = {
            "couplings": couplings, "hidden": hidden, "blocks": blocks, "splines": splines, "whiten": whiten,
        }  # fmt: skip
        self.stack = coupling_stack(width, **self.options)

    @property
    def whitening(self) -> Whitening:
        """The fixed first layer."""
        return self.stack.whitening

    @torch.no_grad()
    def standardise(self, n: int, mean: Tensor, covariance: Tensor) -> None:
        """Fit the whitening.

        Args:
            n: number of rows that the statistics are from.
            mean: (d,), float64.
            covariance: (d, d), float64.

        Raises:
            DataError: there are too few rows for a rotation, or they do not vary.
        """
        if self.options["whiten"] and n <= self.width:
            raise DataError(
                f"n={n} rows cannot say how d={self.width} coordinates vary together: give more "
                "(--data.statistics_batches) or scale each coordinate alone (--model.whiten false)"
            )
        layer = self.whitening
        variances = covariance.diagonal()
        if layer.directions is not None:
            variances, vectors = torch.linalg.eigh(covariance)
            layer.directions.copy_(vectors.T)
        if not bool(variances.sum() > 0):
            raise DataError(f"n={n} rows are all equal: there is no density to learn")
        layer.mean.copy_(mean)
        layer.scales.copy_(variances.clamp(min=_VARIANCE_FLOOR * float(variances.clamp(min=0).mean())).sqrt())

    def _checked(self, x: Tensor) -> Tensor:
        """Rows (n, d) in the flow's number format."""
        if x.ndim != 2 or x.shape[1] != self.width:
            raise DataError(f"x has shape {tuple(x.shape)}; this flow takes (n, {self.width})")
        return x.to(self.whitening.mean.dtype)

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give z (n, d) and log |det dz/dx| (n,), in the flow's number format even under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            return self.stack(self._checked(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (n, d) to z (n, d), which is Laplace(0, 1) for x like those that the flow was trained on."""
        return self.transform(x)[0]

    def inverse(self, z: Tensor) -> Tensor:
        """Map z (n, d) back to x (n, d)."""
        with torch.autocast(z.device.type, enabled=False):
            return self.stack.inverse(self._checked(z))[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density (n,) of x (n, d), in nats."""
        z, log_det = self.transform(x)
        return laplace_log_prob(z) + log_det

    def bits(self, x: Tensor) -> Tensor:
        """Negative log density (n,) of x (n, d) in bits per dimension."""
        return self.log_prob(x) / (-self.width * math.log(2))

    def gaussian_bits(self, x: Tensor) -> Tensor:
        """The same under the Gaussian that has the whitening's mean and variances: the baseline of a flow."""
        with torch.autocast(x.device.type, enabled=False):
            z, log_det = self.whitening(self._checked(x))
        nats = 0.5 * z.square().sum(1) + 0.5 * self.width * math.log(2 * math.pi) - log_det
        return nats / (self.width * math.log(2))

    def save(self, folder: Path, config: dict[str, Any]) -> None:
        """Write ``config.json`` and ``model.safetensors``; the former holds ``config`` and the flow's options."""
        folder.mkdir(parents=True, exist_ok=True)
        complete = {**config, "flow": {"width": self.width, **self.options}}
        (folder / "config.json").write_text(json.dumps(complete, indent=2, sort_keys=True) + "\n")
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors"
        )

    @classmethod
    def load(cls, folder: Path) -> LaplaceFlow:
        """Read what `save` wrote.

        Raises:
            ConfigError: there is no flow in the folder, or its files do not belong together.
        """
        try:
            flow = cls(**json.loads((folder / "config.json").read_text())["flow"])
            flow.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
            raise ConfigError(
                f"{str(folder)!r} holds no flow that can be read ({str(error).splitlines()[0]}); "
                "train one with `madkit fit --config .../flow.yaml`"
            ) from error
        return flow.eval().requires_grad_(False)
