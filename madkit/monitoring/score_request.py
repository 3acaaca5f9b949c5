"""What a request to the server asks for, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from madkit.errors import DataError
from madkit.monitoring.prompt_source import Prompt, read_prompts

_KEYS = ("prompts", "prompt", "messages", "fpr")


@dataclass(frozen=True)
class ScoreRequest:
    """The prompts of a request, and the false-alarm rate, if it names one."""

    prompts: list[Prompt]
    """Texts or chats."""
    fpr: float | None
    """The share of prompts like the trusted ones that may alarm."""

    @classmethod
    def of(cls, body: bytes, most: int) -> ScoreRequest:
        """Read the body of a request.

        Args:
            body: JSON: an object with ``prompts`` (a list of texts or chats), ``prompt`` (a text) or ``messages`` (a
                chat), and perhaps ``fpr``.
            most: prompts.

        Raises:
            DataError: it is something else.

        Example:
            >>> ScoreRequest.of(b'{"prompt": "1 + 1 = 2", "fpr": 0.05}', 10)
            ScoreRequest(prompts=['1 + 1 = 2'], fpr=0.05)
        """
        try:
            content: Any = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the body is no JSON ({' '.join(str(error).split())[:120]})") from None
        if not isinstance(content, dict):
            raise DataError('the body is no object: send {"prompts": ["..."]} or {"messages": [...]}')
        if unknown := sorted(content.keys() - set(_KEYS)):
            raise DataError(
                f"{unknown[0][:40]!r} is unknown: send one of prompts, prompt and messages, and perhaps fpr"
            )
        given = [key for key in _KEYS[:3] if key in content]
        if len(given) != 1:
            raise DataError(
                f"the body has {' and '.join(given) or 'no prompts'}: send one of prompts, prompt, messages"
            )
        found = content[given[0]]
        if given[0] == "prompts" and not isinstance(found, list):
            raise DataError(f"prompts is {str(found)[:40]!r}: send a list")
        prompts = read_prompts(found if given[0] == "prompts" else [found], given[0])
        if len(prompts) > most:
            raise DataError(f"{len(prompts)} prompts are too many for one request: send {most} or fewer")
        rate = content.get("fpr")
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
            raise DataError(f"fpr is {str(rate)[:40]!r}: send a number, such as 0.01")
        try:
            return cls(prompts, None if rate is None else float(rate))
        except OverflowError:  # JSON knows no largest integer
            raise DataError(f"fpr is {str(rate)[:40]}...: send a number between 0 and 1, such as 0.01") from None
