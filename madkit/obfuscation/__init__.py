"""Quirky language models that are trained to escape detectors."""
