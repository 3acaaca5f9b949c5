"""What a score remembers of the rows it saw: statistics that stream, merge exactly, and stay float64.

Each class is a torchmetrics ``Metric``, so ``compute`` gathers the state of all processes by itself. A
process that saw no rows sends zeros with ``n = 0``.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from madkit.errors import DataError


def gather_padded(state: Tensor, group: Any = None) -> list[Tensor]:
    """Return every process's `state`, zero-padded at the end of each dimension to the largest of them."""
    dist = torch.distributed
    home = state.device
    if dist.get_backend(group) == "nccl" and home.type == "cpu":
        # A process that saw no rows never learned which device the others use.
        state = state.to(torch.device("cuda", torch.cuda.current_device()))
    world = dist.get_world_size(group)
    if state.ndim:
        shape = torch.tensor(state.shape, device=state.device)
        shapes = [torch.zeros_like(shape) for _ in range(world)]
        dist.all_gather(shapes, shape, group=group)
        padded = state.new_zeros(torch.stack(shapes).amax(0).tolist())
        padded[tuple(slice(size) for size in state.shape)] = state
        state = padded
    parts = [torch.zeros_like(state) for _ in range(world)]
    dist.all_gather(parts, state.contiguous(), group=group)
    return [part.to(home) for part in parts]


def device_only(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Keep the device change of a module conversion and drop its dtype change.

    Half-precision training converts whole modules; statistics must stay float64.
    """
    return lambda tensor: tensor.to(fn(tensor.new_empty(0)).device)


class Accumulator(Metric):
    """Base of the streaming states. A subclass names its states in `parts`, in the order of `absorb`."""

    full_state_update = False
    parts: tuple[str, ...] = ()
    n: Tensor
    width: Tensor

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=gather_padded, compute_with_cache=False)
        self.add_state("n", torch.zeros((), dtype=torch.int64), dist_reduce_fx=None)
        self.add_state("width", torch.zeros((), dtype=torch.int64), dist_reduce_fx=None)

    def _apply(self, fn: Callable, exclude_state: Any = "") -> torch.nn.Module:
        return super()._apply(device_only(fn), exclude_state)

    def options(self) -> dict[str, Any]:
        """Constructor arguments that make an empty state of the same kind."""
        return {}

    def absorb(self, *parts: Tensor) -> None:
        """Add the state of other rows, given in the order of `parts`."""
        raise NotImplementedError

    def merge(self, other: "Accumulator") -> None:
        """Add the rows that `other` saw."""
        self.absorb(*(getattr(other, name).to(self.device) for name in self.parts))

    def result(self) -> Any:
        """What `Score.estimate` gets: statistics of this state, without asking other processes."""
        raise NotImplementedError

    def compute(self) -> "Accumulator":
        """Return the state of all processes; inside, torchmetrics has stacked each part over them."""
        if not self.width.ndim:
            return self
        widths = sorted({int(width) for width in self.width if width})
        if len(widths) > 1:
            raise DataError(f"x has {widths} features on different processes: give all of them the same site")
        total = type(self)(**self.options()).to(self.device)
        for rank in range(len(self.width)):
            total.absorb(*(getattr(self, name)[rank] for name in self.parts))
        return total


A = TypeVar("A", bound=Accumulator)


def merged(accumulator: A) -> A:
    """The state of all processes. Every process must call this, with or without rows."""
    with warnings.catch_warnings():
        # A process without rows, or with merged rows only, never called update; that is fine here.
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        return cast(A, accumulator.compute())


class Statistics(NamedTuple):
    """Mean and scatter of n rows, float64: `mean` (d,), `m2` (d, d) or, when diagonal, (d,)."""

    n: int
    mean: Tensor
    m2: Tensor

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, (d, d) or (d,): m2 / (n - 1)."""
        return self.m2 / (self.n - 1)


class Moments(Accumulator):
    """Count, mean and sum of centred products, by the pairwise update of Chan, Golub and LeVeque (1983).

    Rows are taken relative to the first one seen, so that a constant feature has a scatter of exactly zero.

    Args:
        diagonal: keep only the squares of each feature, (d,) instead of (d, d).
    """

    parts: tuple[str, ...] = ("n", "origin", "mean", "m2")
    origin: Tensor
    mean: Tensor
    m2: Tensor

    def __init__(self, diagonal: bool = False) -> None:
        super().__init__()
        self.diagonal = diagonal
        self.add_state("origin", torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("mean", torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)
        shape = (0,) if diagonal else (0, 0)
        self.add_state("m2", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx=None)

    def options(self) -> dict[str, Any]:
        """See the base class."""
        return {"diagonal": self.diagonal}

    def start(self, origin: Tensor) -> None:
        """Make room for rows like `origin`, (d,)."""
        d = len(origin)
        self.width.fill_(d)
        self.origin = origin.clone()
        self.mean = torch.zeros_like(self.origin)
        self.m2 = self.mean.new_zeros((d,) if self.diagonal else (d, d))

    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d) float64."""
        if not len(x):
            return
        if not self.n:
            self.start(x[0])
        x = x - self.origin
        mean = x.mean(0)
        centred = x - mean
        self.move(x.new_tensor(len(x), dtype=torch.int64), mean)
        if self.diagonal:
            self.m2 += centred.square().sum(0)
        else:
            self.m2.addmm_(centred.T, centred)

    def move(self, n: Tensor, mean: Tensor) -> None:
        """Let n more rows with this mean (relative to the origin) move the mean; m2 gets the shift."""
        delta = mean - self.mean
        share = n.double() / (self.n + n).double()
        self.mean += share * delta
        weight = self.n.double() * share
        if self.diagonal:
            self.m2 += weight * delta.square()
        else:
            self.m2.addr_(weight * delta, delta)
        self.n += n

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, origin, mean, m2 = parts
        if not n:
            return
        if not self.n:
            self.start(origin)
        self.move(n, mean + (origin - self.origin))
        self.m2 += m2

    def result(self) -> Statistics:
        """See the base class."""
        m2 = self.m2.clone() if self.diagonal else (self.m2 + self.m2.T) / 2
        return Statistics(int(self.n), self.origin + self.mean, m2)


class Pool(Accumulator):
    """All rows, float64. The result lists them in an order that depends on their values only."""

    parts = ("n", "rows")
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", torch.zeros(0, 0, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, x: Tensor) -> None:
        """Add the rows of x, (b, d) float64."""
        if len(x):
            self.absorb(x.new_tensor(len(x), dtype=torch.int64), x)

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, rows = int(parts[0]), parts[1]
        if not n:
            return
        start = int(self.n)
        if start + n > len(self.rows):
            # Doubling: a million one-row updates copy each row about twice, not a million times.
            grown = rows.new_empty(max(2 * start, start + n), rows.shape[1])
            if start:
                grown[:start] = self.rows[:start]
            self.rows = grown
        self.rows[start : start + n] = rows[:n]
        self.width.fill_(rows.shape[1])
        self.n += n

    def result(self) -> Tensor:
        """The rows, (n, d), in canonical order."""
        return canonical(self.rows[: int(self.n)])


def canonical(rows: Tensor) -> Tensor:
    """Sort rows (n, d) by the bytes of their values, so that ties between them never depend on arrival."""
    if not rows.numel():
        return rows
    # Adding zero turns -0.0 into 0.0, which is the same number in other bytes.
    keys = np.ascontiguousarray((rows + 0.0).cpu().numpy())
    order = np.argsort(keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize)))[:, 0], kind="stable")
    return rows[torch.from_numpy(order).to(rows.device)]
