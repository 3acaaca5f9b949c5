"""Adapters of PEFT: made anew for training, or read from a folder or the hub."""

from madkit.lm.adapters.embeddings import load_tokenizer
from madkit.lm.adapters.fresh_lora import attach_lora
from madkit.lm.adapters.stored_adapter import AdaptedModel, load_adapted, load_adapter

__all__ = ["AdaptedModel", "attach_lora", "load_adapted", "load_adapter", "load_tokenizer"]
