"""madkit: mechanistic anomaly detection on quirky language models."""

__version__ = "0.1.0"
