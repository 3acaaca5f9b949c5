"""Which shape of a language model is measured, and ratios in words."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512,
}  # fmt: skip


def shape(reduced: bool) -> str:
    """The name of a shape in `tuning.SIZES`, from which all benchmarks take theirs."""
    from tuning import SIZES

    SIZES["tiny"] = TINY
    return "tiny" if reduced else "8b"


def times(ratio: float, more: str, less: str) -> str:
    """A ratio in words: of what is larger to what is smaller, and which it is."""
    if f"{ratio:.2f}" == "1.00":
        return f"1.00, neither {more} nor {less}"
    return f"{ratio:.2f} {more}" if ratio >= 1 else f"{1 / ratio:.2f} **{less}**"
