"""The local volume of any function of a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.errors import ConfigError, DataError
from madkit.volume.estimation.crossings import find_crossings
from madkit.volume.estimation.distributed import over_ranks
from madkit.volume.estimation.ray_mass import outer_radius
from madkit.volume.estimation.volume_estimate import VolumeEstimate, require_settings
from madkit.volume.weight_space.direction import Direction
from madkit.volume.weight_space.preconditioners import Preconditioner


def log_volume(
    loss: Callable[[Tensor], Any],
    center: Any,
    cutoff: float = 1e-2,
    sigma: float | None = None,
    directions: int = 25,
    preconditioner: Preconditioner | None = None,
    seed: int = 0,
    tolerance: float = 1e-3,
    batched: bool = False,
) -> VolumeEstimate:
    r"""The log probability, under N(0, sigma^2 I), of the region around a point where a loss changes little.

    The region is star-shaped: along each ray from the centre it ends where the loss was first observed to change
    by the cutoff. For uniform directions v, with u = P v / |P v|,

    .. math:: \frac1n \sum_v \frac{D V_D}{(2 \pi \sigma^2)^{D/2} |P v|^D}
              \int_0^{r(u)} s^{D-1} \exp(-|\theta + s u|^2 / 2 \sigma^2) ds

    is unbiased for it (arXiv 2501.18812). Under ``torch.distributed`` every process must call this; they share
    the directions, and the result is that of one process.

    Args:
        loss: a deterministic function of a vector (D,) of the centre's dtype, giving a number.
        center: theta (D,).
        cutoff: the change of the loss that ends the region [1e-2].
        sigma: standard deviation of the measure; None for the root mean square of the centre.
        directions: how many.
        preconditioner: how directions are distributed; None for uniformly.
        seed: which directions.
        tolerance: how close the loss at a radius must come to the cutoff, as a share of it. A log volume is off by
            up to D / 2 times that.
        batched: the loss takes rows (k, D) and gives (k,).

    Raises:
        ConfigError: an argument is out of range, or sigma is None for a centre at the origin.
        DataError: the loss at the centre is NaN or infinite, or does not vary smoothly around it.

    Example:
        >>> round(log_volume(lambda w: 2 * w @ w, torch.zeros(50), cutoff=0.5, sigma=1.0, tolerance=1e-9).mean.value, 3)
        -110.11
    """
    require_settings(cutoff, sigma, directions, tolerance)
    center = torch.as_tensor(center).detach()
    center = center if center.is_floating_point() else center.double()
    if center.ndim != 1 or not len(center) or not bool(torch.isfinite(center).all()):
        raise ConfigError(f"center of shape {tuple(center.shape)}: must be a vector of finite numbers")
    theta, norm, d = center.double(), float(center.double().norm()), len(center)
    if sigma is None and not norm:
        raise ConfigError("sigma=None takes the root mean square of center, which is 0 here: give a sigma")
    sigma = norm / d**0.5 if sigma is None else sigma
    values = _values(loss, batched)
    at_center = values(center[None])[0]
    if not np.isfinite(at_center):
        raise DataError(f"the loss at the center is {at_center}: it must be finite")

    def follow(numbers: Iterable[int]) -> dict[int, tuple[float, ...]]:
        chosen = list(numbers)
        if not chosen:
            return {}
        g = torch.stack([Direction(seed, k).normals("", torch.arange(d)) for k in chosen]).to(theta)
        v = g / g.norm(dim=1, keepdim=True)
        moved = v if preconditioner is None else preconditioner(v)
        stretch = moved.norm(dim=1)
        u = moved / stretch[:, None]
        aligned = (u @ theta).cpu().numpy()

        def change(which: NDArray[np.int64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
            points = theta + torch.as_tensor(radii).to(theta)[:, None] * u[torch.as_tensor(which).to(u.device)]
            return values(points.to(center.dtype)) - at_center

        limit = outer_radius(d, aligned, sigma)
        crossings = find_crossings(change, limit / 100, limit, cutoff, tolerance)
        columns = (
            crossings.radii, crossings.changes, crossings.reached, stretch.cpu().numpy(), aligned,
            crossings.evaluations,
        )  # fmt: skip
        return dict(zip(chosen, zip(*(c.tolist() for c in columns), strict=True), strict=True))

    radii, changes, reached, stretches, alignments, evaluations = zip(*over_ranks(directions, follow), strict=True)
    return VolumeEstimate(
        d, sigma, cutoff, norm, np.array(radii), np.array(changes), np.array(reached), np.array(stretches),
        np.array(alignments), np.array(evaluations),
    )  # fmt: skip


def _values(loss: Callable[[Tensor], Any], batched: bool) -> Callable[[Tensor], NDArray[np.float64]]:
    """The loss at rows (k, D), in float64."""

    @torch.no_grad()
    def values(points: Tensor) -> NDArray[np.float64]:
        losses = loss(points) if batched else torch.stack([torch.as_tensor(loss(x)).reshape(()) for x in points])
        array = torch.as_tensor(losses).double().cpu().numpy()
        if array.shape != (len(points),):
            raise ConfigError(f"loss gave shape {array.shape} for {len(points)} points: one number each is needed")
        return array

    return values
