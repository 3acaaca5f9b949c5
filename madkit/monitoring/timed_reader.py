"""TimedReader: what a client sends, for as long as all of it may take."""

from __future__ import annotations

import io
import math
import socket
import time
from typing import Any

from typing_extensions import override


class TimedReader(io.RawIOBase):
    """Reads from a connection until a moment that is fixed when it is made.

    A socket's own timeout begins anew with every byte, so that a client who sends one now and then is read for ever.
    What is left of the time stays behind as the socket's timeout: set another before an answer is written.

    Args:
        connection: the client's.
        seconds: how long all reading together may take.
        pause: how long to wait for the next byte.

    Attributes:
        late: whether the time was over before all was read.
    """

    def __init__(self, connection: socket.socket, seconds: float, pause: float = math.inf) -> None:
        self._connection, self._pause = connection, pause
        self._end = time.monotonic() + seconds
        self.late = False

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        """Read what is there into a buffer, and say how many bytes; 0 at the end.

        Raises:
            TimeoutError: nothing more came in time.
        """
        left = self._end - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError("timed out")
            self._connection.settimeout(min(left, self._pause))
            return self._connection.recv_into(buffer)
        except TimeoutError:
            self.late = True
            raise
