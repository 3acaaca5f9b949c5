"""Statistics of rows that stream, merge exactly, and stay float64.

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
    device = state.device
    if dist.get_backend(group) == "nccl" and device.type == "cpu":
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
    return [part.to(device) for part in parts]


def device_only(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Keep the device change of a module conversion and drop its dtype change.

    Half-precision training converts all of a module; statistics must stay float64.
    """
    return lambda tensor: tensor.to(fn(tensor.new_empty(0)).device)


def require_finite_sums(sums: Tensor) -> Tensor:
    """Return the sums.

    Raises:
        DataError: one has overflowed.
    """
    if not torch.isfinite(sums).all():
        raise DataError("x is so large that its squares are not finite: rescale it")
    return sums


class Accumulator(Metric):
    """Base of the streaming statistics; its constructor takes no arguments.

    Class attributes:
        parts: names of the states, in the order in which `absorb` takes them.
        sparse: whether `update` takes sparse rows as they are; others are given them dense, a chunk at a time.
    """

    full_state_update = False
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

    def absorb(self, *parts: Tensor) -> None:
        """Add the state of other rows, given in the order of `parts`."""
        raise NotImplementedError

    def merge(self, other: "Accumulator") -> None:
        """Add the rows that `other` saw."""
        self.absorb(*(getattr(other, name).to(self.device) for name in self.parts))

    def result(self) -> Any:
        """The statistics of this state, without those of other processes: what `Score.estimate` gets."""
        raise NotImplementedError

    def compute(self) -> "Accumulator":
        """Return the state of all processes; torchmetrics has stacked each part over them before."""
        if not self.width.ndim:
            return self
        widths = sorted({int(width) for width in self.width if width})
        if len(widths) > 1:
            raise DataError(f"x has {widths} features on different processes: give all of them the same site")
        total = type(self)().to(self.device)
        for rank in range(len(self.width)):
            total.absorb(*(getattr(self, name)[rank] for name in self.parts))
        return total


A = TypeVar("A", bound=Accumulator)


def merge_processes(accumulator: A) -> A:
    """Return the state of all processes. Every process must call this, with or without rows."""
    with warnings.catch_warnings():
        # A process without rows, or with merged rows only, never called update; that is fine here.
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        return cast(A, accumulator.compute())
