"""What a model makes of given hidden states: its own forward pass, with the decoder left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from madkit.lm.text_decoder import layer_names


class _GivenOutput(BaseModelOutputWithPast):
    """A decoder's output that has final hidden states and nothing else."""

    def __getattr__(self, name: str) -> None:
        # Families ask for states, router logits and more, which all may be None.
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def given_states(lm: PreTrainedModel, hidden: Tensor, head: nn.Module | None = None) -> Iterator[None]:
    """A context in which the decoder of ``lm`` returns ``hidden``, whatever it is called with.

    So the model's own forward pass says what becomes of final hidden states: the unembedding, and whatever its family
    does before or after it (a soft cap, a scale, a bias).

    Args:
        lm: any causal LM.
        hidden: final hidden states (B, T, d).
        head: computes in place of the model's unembedding, such as a copy of it in another number format.
    """
    output = _GivenOutput(last_hidden_state=hidden)
    parts = layer_names(lm)[0].split(".")[:-2]
    with ExitStack() as stack:
        # Some families call the innermost decoder, some the module around it.
        for depth in range(1, len(parts) + 1):
            module = lm.get_submodule(".".join(parts[:depth]))
            # All of the call: hooks on the decoder are about passes of prompts.
            stack.enter_context(_replaced(module, "_call_impl", lambda *_, **__: output))
        if head is not None:
            stack.enter_context(_replaced(lm.get_output_embeddings(), "forward", head))
        yield


@contextmanager
def _replaced(module: nn.Module, method: str, function: Callable[..., Any]) -> Iterator[None]:
    """A context in which a method of a module is another function."""
    own = vars(module)
    before = own.get(method)
    own[method] = function
    try:
        yield
    finally:
        if before is None:
            del own[method]
        else:
            own[method] = before
