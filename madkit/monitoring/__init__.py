"""The monitor: from a model and trusted prompts to calibrated alarms, without names, labels or difficulties."""

from madkit.monitoring.monitor import Monitor
from madkit.monitoring.vector_monitor import VectorMonitor

__all__ = ["Monitor", "VectorMonitor"]
