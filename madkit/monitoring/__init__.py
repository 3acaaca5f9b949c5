"""The monitor: from a model and trusted prompts to calibrated alarms, without names, labels or difficulties."""

from madkit.monitoring.monitor import Monitor

__all__ = ["Monitor"]
