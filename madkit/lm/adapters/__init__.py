"""Adapters of PEFT: made anew for training, or read from a folder or the hub."""

from madkit.lm.adapters.embeddings import load_tokenizer
from madkit.lm.adapters.fresh_lora import FreshLora, attach_lora
from madkit.lm.adapters.lora_branches import LoraBranch, adapted_skeleton, lora_branches
from madkit.lm.adapters.lora_targets import AUTO
from madkit.lm.adapters.stored_adapter import AdaptedModel, load_adapted, load_adapter, require_readable
from madkit.lm.adapters.template_record import RecordedTemplate, Worded, record_template, recorded_template

__all__ = [
    "AUTO",
    "AdaptedModel",
    "FreshLora",
    "LoraBranch",
    "RecordedTemplate",
    "Worded",
    "adapted_skeleton",
    "attach_lora",
    "load_adapted",
    "load_adapter",
    "load_tokenizer",
    "lora_branches",
    "record_template",
    "recorded_template",
    "require_readable",
]
