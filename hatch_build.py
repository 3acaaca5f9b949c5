"""What a wheel carries beside the package: the recipes and the small base models, in `madkit/shipped/`."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Shipped(BuildHookInterface):
    """Puts folders of the checkout into the wheel; where that is editable they are read where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name them, before a wheel is built.

        Args:
            version: "standard" or "editable".
            build_data: what the wheel is made of.
        """
        if version == "standard":
            build_data["force_include"] |= {name: f"madkit/shipped/{name}" for name in ("recipes", "bases")}
