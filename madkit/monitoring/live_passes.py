"""LivePasses: what a model in use reads, pass by pass: which token of each sequence, and what its base makes of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from madkit.errors import ConfigError
from madkit.extraction.forward_pass import reading, switched
from madkit.lm import forward
from madkit.lm.hooks import Hookpoint, Reader, hooked
from madkit.lm.text_decoder import text_config
from madkit.monitoring.watched_model import WatchedModel


class LivePass(NamedTuple):
    """What one forward pass of B sequences has read."""

    begins: bool
    """Whether it is that of new prompts, rather than of a token that follows."""
    tokens: Tensor
    """The last token (B,) of each sequence."""
    activations: dict[bool, dict[Hookpoint, Tensor]]
    """Its vectors (B, d) at the hookpoints, with the adapter on and, if that is asked for, off."""


class LivePasses:
    """A context in which every forward pass of a model is followed, as `generate` makes them or one's own loop.

    What the base model makes of the same tokens is read right after each pass, with a cache of its own.

    Args:
        watched: the model.
        hookpoints: what to read with the adapter on (True) and off (False); nothing is read that is empty.
        seen: called after each pass.
    """

    def __init__(
        self,
        watched: WatchedModel,
        hookpoints: dict[bool, list[Hookpoint]],
        seen: Callable[[LivePass], None],
    ) -> None:
        self._watched, self._hookpoints, self._seen = watched, hookpoints, seen
        self._control, self._switch = reading(watched.model, watched.control, False)
        self._last: Tensor | None = None
        self._ids: Tensor | None = None
        self._own: Any = None
        self._began_at, self._cached = 0, False
        self._stack = ExitStack()

    def __enter__(self) -> LivePasses:
        lm = self._watched.lm
        self._reader = self._stack.enter_context(self._reading(lm, True))
        handles = [
            lm.register_forward_pre_hook(self._before, with_kwargs=True),
            lm.register_forward_hook(self._after, with_kwargs=True),
        ]
        self._stack.enter_context(hooked(handles))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _reading(self, lm: Any, adapter: bool) -> Reader:
        return Reader(lm, self._hookpoints[adapter], stop=False, keep=self._kept)

    def _kept(self, x: Tensor) -> Tensor:
        """The vectors (B, d) of the last token of each sequence."""
        return x[:, -1] if self._last is None else x[torch.arange(len(x), device=x.device), self._last.to(x.device)]

    def _before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids, mask = _input_ids(args, kwargs), kwargs.get("attention_mask")
        cache = forward.cache_in(kwargs)
        self._began_at = 0 if cache is None else int(cache.get_seq_length())
        asked = kwargs.get("use_cache")
        self._cached = cache is not None or bool(text_config(module).use_cache if asked is None else asked)
        self._last = None
        # Padded on the right, as in a forward pass of one's own: the last token is the last that the mask has.
        if mask is not None and mask.ndim == 2 and mask.shape == ids.shape and ids.shape[1] > 1:
            self._last = ids.shape[1] - 1 - mask.flip(1).long().argmax(1)
        if cache is not None and self._hookpoints[False] and not hasattr(cache, "madkit_own"):
            _follow_reordering(cache, self)

    @torch.no_grad()
    def _after(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        ids = _input_ids(args, kwargs)
        begins = self._began_at == 0 and not self._continues(ids)
        if begins:
            self._own = None
        self._ids = None if self._cached else ids
        activations = {True: dict(self._reader.values)}
        if self._hookpoints[False]:
            activations[False] = self._of_base(ids, kwargs)
        self._seen(LivePass(begins, self._kept(ids), activations))

    def _continues(self, ids: Tensor) -> bool:
        """Whether a pass without a cache reads what the one before it did, and one token more."""
        before = self._ids
        return before is not None and ids.shape == (len(before), before.shape[1] + 1) and ids[:, :-1].equal(before)

    def _of_base(self, ids: Tensor, kwargs: dict[str, Any]) -> dict[Hookpoint, Tensor]:
        lm = forward.unwrapped(self._control)
        inputs = {key: kwargs.get(key) for key in ("attention_mask", "position_ids")}
        if self._cached:
            self._own = self._own if self._own is not None else DynamicCache(config=lm.config)
            length = self._own.get_seq_length()
            if length > self._began_at:  # some of what was read has been taken back
                self._own.crop(self._began_at)
            elif length < self._began_at:
                raise ConfigError(
                    "attached: the cache holds tokens that were read before, of which the base model has seen nothing: "
                    "attach before the prompt is read"
                )
            inputs["cache"] = self._own
        with switched(self._control, self._switch):
            if lm is self._watched.lm:
                forward.decode(lm, input_ids=ids, use_cache=self._cached, **inputs)
                return dict(self._reader.values)
            device = next(lm.get_input_embeddings().parameters()).device
            moved = {key: x.to(device) if isinstance(x, Tensor) else x for key, x in inputs.items()}
            with self._reading(lm, False) as reader:
                forward.decode(lm, input_ids=ids.to(device), use_cache=self._cached, **moved)
            return {point: x.to(self._watched.device) for point, x in reader.values.items()}

    def reorder(self, beams: Tensor) -> None:
        """Follow what a beam search does to the cache."""
        if self._own is not None:
            self._own.reorder_cache(beams)


def _follow_reordering(cache: Any, passes: LivePasses) -> None:
    reorder = cache.reorder_cache

    def both(beams: Tensor) -> Any:
        passes.reorder(beams)
        return reorder(beams)

    cache.reorder_cache, cache.madkit_own = both, True


def _input_ids(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    ids = kwargs.get("input_ids", args[0] if args else None)
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise ConfigError("attached: a forward pass without `input_ids`, of which madkit knows no tokens: pass them")
    return ids
