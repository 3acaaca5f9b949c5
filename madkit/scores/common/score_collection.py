"""Several scores of one site, fitted and evaluated together in about the time of the slowest."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from madkit.errors import ConfigError, NotFittedError
from madkit.scores.common.memo import sharing
from madkit.scores.common.score import Score
from madkit.streaming.accumulator import Accumulator
from madkit.streaming.validation import Rows, check_rows, row_chunks

# What two scores must have in common to remember the same of the rows.
Statistic = tuple[type[Accumulator], Any]


class ScoreCollection(nn.Module):
    """Scores by name, with the interface of one `Score`.

    Scores that remember the same of the rows remember it once, as the compute groups of torchmetrics do; those
    that need the same eigenvectors, whitened rows or neighbours share these too. The numbers are those that
    the scores give one by one, to rounding.

    Args:
        scores: scores by name, or a list of scores, whose names must then differ. None may be fitted already.

    Raises:
        ConfigError: two scores have the same name, there is none, or one is fitted.

    Example:
        >>> from madkit.scores import LocalOutlierFactor, Mahalanobis
        >>> rows = torch.arange(12.0).reshape(6, 2).sin()
        >>> collection = ScoreCollection([Mahalanobis(), LocalOutlierFactor(k=2)]).fit(rows)
        >>> {name: tuple(values.shape) for name, values in collection(rows).items()}
        {'mahalanobis': (6,), 'lof_k2': (6,)}
    """

    def __init__(self, scores: Mapping[str, Score] | Iterable[Score]) -> None:
        super().__init__()
        named = list(scores.items()) if isinstance(scores, Mapping) else [(score.name, score) for score in scores]
        names = [name for name, _ in named]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"scores={names} must be at least one, each with another name")
        # A ModuleDict refuses names with a dot, which a score with an option such as 0.5 has.
        self.names = names
        self.scores = nn.ModuleList([score for _, score in named])
        if any(score.fitted for score in self):
            raise ConfigError(f"scores={names}: one is fitted already; collect scores before fit()")
        #: Of all scores that remember the same of a split, the first one does it for all.
        self._first: dict[tuple[str, Statistic], Score] = {}
        for score in self:
            for split in score._splits:
                self._first.setdefault((split, _statistic(score)), score)

    def __iter__(self) -> Any:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, name: str) -> Score:
        return self.scores[self.names.index(name)]  # type: ignore[return-value]

    def items(self) -> Iterable[tuple[str, Score]]:
        """Names and scores."""
        return zip(self.names, self, strict=True)

    @property
    def offline(self) -> bool:
        """Whether any of the scores learns from untrusted rows."""
        return any(score.offline for score in self)

    @property
    def fitted(self) -> bool:
        """Whether rows can be scored."""
        return all(score.fitted for score in self)

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, x: Rows, *, untrusted: bool = False) -> None:
        """Add rows, (n, d); raises as `Score.update` does."""
        if self.fitted:
            raise NotFittedError("update() after finalize(): the state is frozen, fit new scores")
        split = "untrusted" if untrusted else "trusted"
        learning = [score for (learned, _), score in self._first.items() if learned == split]
        if not learning:
            return
        x = check_rows(x, self._d)
        for score in self:
            score.d = x.shape[1]
        with sharing():
            for score in learning:
                score._learn(x, split)

    @torch.inference_mode(False)
    @torch.no_grad()
    def finalize(self) -> None:
        """Merge over all processes, estimate and freeze; raises as `Score.finalize` does."""
        if self.fitted:
            return
        with sharing(self._neighbours):
            results = {key: score._gathered(key[0]) for key, score in self._first.items()}
            d = self._d
            for score in self:
                # A process without rows has learned it from the others, for the first scores only.
                score.d = d
                score._settle({split: results[split, _statistic(score)] for split in score._splits})

    def fit(self, trusted: Rows, untrusted: Rows | None = None) -> "ScoreCollection":
        """Update with all rows, finalize, and return self."""
        self.update(trusted)
        if untrusted is not None:
            self.update(untrusted, untrusted=True)
        self.finalize()
        return self

    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, x: Rows) -> dict[str, Tensor]:
        """Score rows (n, d): by name (n,) float64, higher = more anomalous; raises as `Score.forward` does."""
        if not self.fitted:
            raise NotFittedError("scores are not fitted: call fit(), or update() and finalize(), first")
        x = check_rows(x, self._d)
        scores: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for sparse in (False, True) if x.layout != torch.strided else (False,):
            chosen = [(name, s) for name, s in self.items() if x.layout == torch.strided or s.sparse == sparse]
            for rows in row_chunks(x, dense=not sparse) if chosen else ():
                rows = rows.to(chosen[0][1]._device(x)).double()
                with sharing(self._neighbours):
                    for name, score in chosen:
                        scores[name].append(score._scored(rows))
        empty = x.new_zeros(0, dtype=torch.float64)
        return {name: torch.cat(parts) if parts else empty.to_dense() for name, parts in scores.items()}

    @property
    def _d(self) -> int | None:
        return next((score.d for score in self if score.d is not None), None)

    @property
    def _neighbours(self) -> int:
        return max(score.neighbours for score in self)


def _statistic(score: Score) -> Statistic:
    return type(score.accumulator()), score.prepare
