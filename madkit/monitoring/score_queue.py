"""ScoreQueue: requests that come at the same time go through the model together."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from madkit.data.prompts.tokens import TokenizedPrompts, joined
from madkit.monitoring.prompt_source import Prompt

if TYPE_CHECKING:
    from madkit.monitoring.monitor import Monitor


@dataclass
class _Request:
    prompts: list[Prompt]
    rate: float
    table: Future[pd.DataFrame] = field(default_factory=Future)


class ScoreQueue:
    """Scores requests of several threads in one, in which model and tokenizer are.

    What has come while one batch is scored is the next batch. A request that is at fault gets its error, and the others
    of its batch their scores; these do not depend on who else is in it.

    Args:
        monitor: a fitted monitor.
        most: prompts that may wait; more are refused.
        together: prompts that are scored at once, unless a single request has more.
    """

    def __init__(self, monitor: Monitor, most: int = 4096, together: int = 64) -> None:
        self.monitor, self.most, self.together = monitor, most, together
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._waiting, self._lock = 0, threading.Lock()
        self._thread = threading.Thread(target=self._work, name="madkit-scores", daemon=True)
        self._thread.start()

    def score(self, prompts: list[Prompt], rate: float) -> Future[pd.DataFrame]:
        """Ask for the scores of some prompts.

        Args:
            prompts: checked ones.
            rate: of false alarms.

        Returns:
            What becomes the table of `Monitor.score`, or the error that it raises.

        Raises:
            QueueFullError: too many prompts are waiting.
        """
        with self._lock:
            if self._waiting and self._waiting + len(prompts) > self.most:
                raise QueueFullError(f"{self._waiting} prompts are waiting already: try again later")
            self._waiting += len(prompts)
        request = _Request(prompts, rate)
        self._requests.put(request)
        return request.table

    def close(self) -> None:
        """Score what is waiting, and end."""
        self._requests.put(None)
        self._thread.join()

    def _work(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._next()
            try:
                self._score(batch)
            except BaseException as error:  # whatever it is, nobody is to wait forever
                for request in batch:
                    if not request.table.done():
                        request.table.set_exception(error)
            with self._lock:
                self._waiting -= sum(len(request.prompts) for request in batch)

    def _next(self) -> tuple[list[_Request], bool]:
        """The requests of a batch, and whether others may follow."""
        batch: list[_Request] = []
        request = self._requests.get()
        while request is not None:
            batch.append(request)
            if sum(len(each.prompts) for each in batch) >= self.together or self._requests.empty():
                return batch, True
            request = self._requests.get()
        return batch, False

    def _score(self, batch: list[_Request]) -> None:
        readable: list[tuple[_Request, TokenizedPrompts]] = []
        for request in batch:
            try:
                readable.append((request, self.monitor.tokens(request.prompts)))
            except Exception as error:  # a tokenizer raises what it likes, and the others have nothing to do with it
                request.table.set_exception(error)
        if not readable:
            return
        try:
            values = self.monitor.site_scores(joined([tokens for _, tokens in readable]))
        except Exception as error:  # of some prompt a value is not finite, or a token unknown to the model
            if len(readable) == 1:
                readable[0][0].table.set_exception(error)
                return
            for request, _ in readable:
                self._score([request])
            return
        parts: list[NDArray[np.float64]] = np.split(values, np.cumsum([len(tokens) for _, tokens in readable])[:-1])
        for (request, _), part in zip(readable, parts, strict=True):
            try:
                request.table.set_result(self.monitor.state.table(part, request.rate))
            except Exception as error:  # of this one
                request.table.set_exception(error)


class QueueFullError(Exception):
    """More prompts are waiting than may; later there is room again."""
