"""What a score remembers of the rows it saw: statistics that stream, merge exactly, and stay float64.

Each class is a torchmetrics ``Metric``, so ``compute`` gathers the state of all processes by itself. A
process that saw no rows sends zeros with ``n = 0``.
"""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

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


def bounded(sums: Tensor) -> Tensor:
    """The sums, if none has overflowed.

    Raises:
        DataError: one has.
    """
    if not torch.isfinite(sums).all():
        raise DataError("x is so large that its squares are not finite: rescale it")
    return sums


class Accumulator(Metric):
    """Base of the streaming states. A subclass names its states in `parts`, in the order of `absorb`."""

    full_state_update = False
    #: Whether `update` takes sparse rows as they are; others are given them dense, a chunk at a time.
    sparse: ClassVar[bool] = False
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


class Count(Accumulator):
    """Number and width of the rows, for scores that are given and not fitted."""

    sparse = True
    parts = ("n", "width")

    def update(self, x: Tensor) -> None:
        """Count the rows of x, (b, d)."""
        self.absorb(torch.tensor(len(x)), torch.tensor(x.shape[1]))

    def absorb(self, *parts: Tensor) -> None:
        """See the base class."""
        n, width = parts
        if n:
            self.n += n.to(self.n.device)
            self.width.copy_(width)

    def result(self) -> None:
        """Nothing is known of the rows."""


A = TypeVar("A", bound=Accumulator)


def merged(accumulator: A) -> A:
    """The state of all processes. Every process must call this, with or without rows."""
    with warnings.catch_warnings():
        # A process without rows, or with merged rows only, never called update; that is fine here.
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        return cast(A, accumulator.compute())
