"""The `test` stage: detectors are fitted on trusted prompts and judged on test prompts."""

from madkit.statistics import Interval, auroc, compare

__all__ = ["Interval", "auroc", "compare"]
