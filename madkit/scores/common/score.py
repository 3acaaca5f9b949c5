"""The interface of every score: rows stream in, the state is frozen, rows get a number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from madkit.errors import ConfigError, DataError, NotFittedError
from madkit.scores.common.saved_module import SavedModule
from madkit.streaming.accumulator import Accumulator, device_only, merge_processes
from madkit.streaming.validation import Rows, all_finite, check_rows, row_chunks

Self = TypeVar("Self", bound="Score")


class Score(SavedModule):
    """A vector becomes a number; higher is always more anomalous.

    A subclass names its `accumulator` (what to remember of the rows) and defines two methods: `estimate` (from that
    to fitted tensors, which become buffers) and `score` (rows to numbers). It keeps each constructor argument as an
    attribute of the same name, so that it can be saved. All else is inherited and meant for those who use a score;
    what begins with an underscore serves `ScoreCollection` and `SavedModule`.

    Everything is float64 whatever the dtype of the rows. The result does not depend on the batch size, on the
    order of the rows, or on the number of processes. Under ``torch.distributed`` every process updates with
    its rows (or none) and all call `finalize`.

    Class attributes:
        accumulator: the statistics that are kept of the trusted rows, and of the untrusted rows of an offline score.
        offline: True when the score also learns from untrusted rows. An online score ignores them.
        short: the stem of `name`; the class name in snake case unless given.
        sparse: True when `score` takes sparse rows (coalesced COO) as they are; else they come dense.

    Attributes:
        prepare: what is done to rows (b, d) before anything else, a plain function of them; None for nothing.
        neighbours: how many nearest trusted rows `score` looks at, for scores that share a search.
    """

    accumulator: ClassVar[type[Accumulator]]
    offline: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    prepare: Callable[[Tensor], Tensor] | None = None
    neighbours: int = 0

    def __init__(self) -> None:
        super().__init__()
        self._accumulators = nn.ModuleDict()

    def estimate(self, trusted: Any, untrusted: Any) -> dict[str, Tensor]:
        """Turn the accumulators' results (`untrusted` is None when online) into named fitted tensors."""
        raise NotImplementedError

    def score(self, x: Tensor) -> Tensor:
        """Score x, (b, d) float64 on the fitted tensors' device -> (b,). A row never influences another."""
        raise NotImplementedError

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, x: Rows, *, untrusted: bool = False) -> None:
        """Add rows to what the score learns from.

        Args:
            x: (n, d), any number type, dense or sparse (COO, CSR); n may be 0.
            untrusted: the rows come from the untrusted split. An online score ignores them.

        Raises:
            NotFittedError: the score is finalized.
            DataError: x has another shape, or NaN or infinite values.
        """
        if self.fitted:
            raise NotFittedError(f"{self.short}.update() after finalize(): the state is frozen, fit a new score")
        if untrusted and not self.offline:
            return
        self._learn(check_rows(x, self.d), "untrusted" if untrusted else "trusted")

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge(self, other: "Score") -> None:
        """Add what another score of the same class and options learned, as if its rows had come here.

        Raises:
            NotFittedError: one of the two is finalized.
            ConfigError: the other score is of another class or has other options.
            DataError: the other score has seen rows of another length.
        """
        if self.fitted or other.fitted:
            raise NotFittedError(f"{self.short}.merge() after finalize(): merge first, then finalize once")
        if type(other) is not type(self) or other.config != self.config:
            raise ConfigError(f"other={other.name!r} cannot merge into {self.name!r}: give both the same options")
        if self.d and other.d and self.d != other.d:
            raise DataError(f"other has d={other.d} features, this score {self.d}: merge one site only")
        self.d = self.d or other.d
        for split in other._accumulators:
            accumulator = other._accumulator(split, "cpu")
            self._accumulator(split, accumulator.device).merge(accumulator)

    @torch.inference_mode(False)
    @torch.no_grad()
    def finalize(self) -> None:
        """Merge the state over all processes, estimate, and freeze. Calling it again changes nothing.

        Raises:
            DataError: too few rows, or none of the untrusted rows that an offline score needs.
        """
        if not self.fitted:
            self._settle({split: self._gathered(split) for split in self._splits})

    def fit(self: Self, trusted: Rows, untrusted: Rows | None = None) -> Self:
        """Update with all rows, finalize, and return self. An online score ignores `untrusted`."""
        self.update(trusted)
        if untrusted is not None:
            self.update(untrusted, untrusted=True)
        self.finalize()
        return self

    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, x: Rows) -> Tensor:
        """Score rows: x (n, d), dense or sparse -> (n,) float64, higher = more anomalous.

        Raises:
            NotFittedError: the score is not finalized.
            DataError: x has another d than the trusted rows, or NaN or infinite values, or gets such a score.
        """
        if not self.fitted:
            raise NotFittedError(f"{self.short} is not fitted: call fit(), or update() and finalize(), first")
        x = check_rows(x, self.d)
        device = self._device(x)
        scores = [self._scored(rows.to(device).double()) for rows in row_chunks(x, dense=not self.sparse)]
        return torch.cat(scores) if scores else torch.zeros(0, dtype=torch.float64, device=device)

    @override
    def extra_repr(self) -> str:
        options = super().extra_repr()
        return options + ("; " if options else "") + (f"fitted, d={self.d}" if self.fitted else "not fitted")

    @property
    def _splits(self) -> list[str]:
        """The splits that the score learns from."""
        return ["trusted", "untrusted"] if self.offline else ["trusted"]

    def _learn(self, x: Tensor, split: str) -> None:
        """Add checked rows (n, d) of a split to its accumulator."""
        self.d = x.shape[1]
        accumulator = self._accumulator(split, x.device)
        for rows in row_chunks(x, dense=not accumulator.sparse):
            rows = rows.to(accumulator.device)
            # A copy, which the accumulator may keep: the caller's rows may change later.
            rows = rows.to(torch.float64, copy=True) if rows.layout == torch.strided else rows.double()
            accumulator.update(rows if self.prepare is None else self.prepare(rows))

    def _gathered(self, split: str) -> Any:
        """The statistics of a split over all processes; every process must call this.

        Raises:
            DataError: no process has seen a row of it, or their rows differ in length.
        """
        total = merge_processes(self._accumulator(split, "cpu"))
        if not total.n:
            way_out = "call update(x)" if split == "trusted" else "call update(x, untrusted=True)"
            raise DataError(f"{self.short} has seen no {split} rows: {way_out} or fit(...) before finalize()")
        if self.d is not None and self.d != total.width:
            raise DataError(f"{split} rows have d={int(total.width)}, not d={self.d}: use one site only")
        self.d = int(total.width)
        return total.result()

    def _settle(self, results: dict[str, Any]) -> None:
        """Estimate from the results of each split, and freeze."""
        self._freeze(self.estimate(results["trusted"], results.get("untrusted")))

    def _scored(self, x: Tensor) -> Tensor:
        """Score a chunk of checked rows: (b, d) float64 on the fitted tensors' device -> (b,).

        Raises:
            DataError: a finite row gets a score that is not, which would silently spoil every AUROC.
        """
        scores = self.score(x if self.prepare is None else self.prepare(x))
        if not all_finite(scores):
            bad = int((~torch.isfinite(scores)).sum())
            raise DataError(f"{self.name} of {bad} of {len(x)} rows is NaN or infinite: rescale x or drop these rows")
        return scores

    def _device(self, x: Tensor) -> torch.device:
        """Where the fitted tensors are; without any, where x is."""
        return next(self.buffers(), x).device

    def _accumulator(self, split: str, device: torch.device | str) -> Accumulator:
        if split not in self._accumulators:
            self._accumulators[split] = self.accumulator().to(device)
        return self._accumulators[split]  # type: ignore[return-value]

    @override
    def _freeze(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if not all_finite(tensor):
                raise DataError(f"{self.short}: fitted {name!r} is not finite: x is too large, rescale it")
        super()._freeze(tensors)
        for accumulator in self._accumulators.values():
            # A torchmetrics Metric is part of a reference cycle: without this its rows would wait for the collector.
            accumulator.reset()  # type: ignore[operator]
        self._accumulators.clear()

    def _apply(self, fn: Any, recurse: bool = True) -> "Score":
        # Children guard themselves; here the buffers, which half precision would otherwise round.
        return super()._apply(device_only(fn), recurse)


def load_score(folder: str | Path) -> Score:
    """Read a score of any class that `Score.save` wrote; see there.

    Raises:
        StoreError: as `Score.load`.
    """
    return Score.load(folder)
