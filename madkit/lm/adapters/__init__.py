"""Adapters of PEFT: made anew for training, or read from a folder or the hub."""

from madkit.lm.adapters.fresh_lora import attach_lora
from madkit.lm.adapters.stored_adapter import load_adapter

__all__ = ["attach_lora", "load_adapter"]
