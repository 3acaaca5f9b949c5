"""Texts that small base models and encoders learn from."""
