"""MonitorPipeline: a monitor as benchmarks of safety monitors take one, a function from texts to scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from madkit.monitoring.prompt_source import read_prompts

if TYPE_CHECKING:
    from madkit.monitoring.monitor import Monitor


class MonitorPipeline:
    """Called with texts, it returns a score and what else is known of each.

    This is the protocol of MOOD Bench (arXiv 2605.21602; ``mood_bench.Pipeline`` of the package ``mood-bench`` 1.0):
    ``mood_bench(monitor.as_pipeline(), max_length=2048)``. Scores are higher for what is more anomalous, so that its
    ``predict_safe`` stays off. To be comparable, the monitor is fitted on the benchmark's own training conversations
    that are not malign.

    Args:
        monitor: a fitted monitor.
        fpr: the share of prompts like the trusted ones that may alarm; None for no alarms.
    """

    def __init__(self, monitor: Monitor, fpr: float | None = None) -> None:
        self.monitor, self.fpr = monitor, fpr

    def __call__(self, samples: Iterable[str], **kwargs: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Score texts.

        Args:
            samples: n texts, conversations as they were written out.
            kwargs: what a benchmark hands to all pipelines, such as ``batch_size``. It plays no part: a monitor has a
                batch size of its own, and no score depends on it.

        Returns:
            Scores (n,), and lists of n: ``p_value``, and with an `fpr` ``alarm`` and ``sites``.

        Raises:
            ConfigError, DataError, StoreError: as `Monitor.score`.
        """
        monitor = self.monitor
        tokens = monitor.tokens(read_prompts(list(samples), "samples"))
        table = monitor.state.table(monitor.site_scores(tokens), 0.0 if self.fpr is None else self.fpr)
        columns = ["p_value"] if self.fpr is None else ["p_value", "alarm", "sites"]
        return table["score"].to_numpy(dtype=float), {name: table[name].tolist() for name in columns}
