"""Which vectors: a feature of the quirky LM, or of the same LM with its adapter switched off."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from madkit.runs.naming import folder_name

#: What a feature may need besides the model and trusted prompts.
ADAPTER_WEIGHTS, BASE_MODEL = "adapter weights", "base model"


class Variant(NamedTuple):
    """A feature, read with the adapter of the LM switched on or off.

    With the adapter off it is a control: the same prompts without the quirk, on which a detector should do no better
    than chance.

    Example:
        >>> str(Variant("activations")), str(Variant("activations", adapter=False))
        ('activations', 'controls/activations')
        >>> Variant("activations", adapter=False).folder(Path("runs/llama/addition")).as_posix()
        'runs/llama/addition/controls/activations'
    """

    feature: str
    """The feature's name."""
    adapter: bool = True
    """Whether the adapter is on."""

    def __str__(self) -> str:
        return self.feature if self.adapter else f"controls/{self.feature}"

    def folder(self, run: Path) -> Path:
        """The folder of its stores in a run.

        Raises:
            ConfigError: the feature's name cannot be a folder's.
        """
        return run / ("features" if self.adapter else "controls") / folder_name(self.feature, "feature")
