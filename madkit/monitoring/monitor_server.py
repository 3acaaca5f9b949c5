"""MonitorServer: a monitor over HTTP, on this machine unless it is told otherwise.

The standard library's server, with a fixed number of threads: what is asked of it is little, and a framework would be a
dozen packages more to trust beside the model. It has neither passwords nor encryption; on other addresses than this
machine's own it belongs behind a server that has.
"""

from __future__ import annotations

import http.server
import io
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd

import madkit
from madkit.errors import ConfigError, MadkitError
from madkit.monitoring.score_queue import QueueFullError, ScoreQueue
from madkit.monitoring.score_request import ScoreRequest
from madkit.monitoring.timed_reader import TimedReader
from madkit.statistics import smallest_rate
from madkit.statistics.conformal import require_rate

if TYPE_CHECKING:
    from madkit.monitoring.monitor import Monitor

_LOG = logging.getLogger(__name__)
#: Seconds in which a client has to send a request, headers and body together.
_PATIENCE = 10.0
#: Blocks of 64 KiB that are read of a body that was refused.
_LEFT_OVER = 512
#: What can be asked, and how.
_PATHS = {"/score": "POST", "/health": "GET", "/metadata": "GET"}


class MonitorServer:
    """Answer ``POST /score``, ``GET /health`` and ``GET /metadata`` until it is closed.

    Requests that come at the same time are scored together. What is wrong with a request is said in one line, with a
    status 4xx; 503 asks to come back later. Each answer ends its connection.

    Args:
        monitor: a fitted monitor; its model is loaded before the first request.
        port: where it listens; 0 for any free one.
        host: under which address.
        fpr: the share of prompts like the trusted ones that may alarm, where a request names none.
        most_prompts: prompts of one request.
        most_bytes: the length of one request.
        connections: how many are answered at once; others wait.

    Raises:
        ConfigError: it cannot listen there, or an option is out of range.

    Example:
        >>> monitor = madkit.Monitor.fit("bases/tiny-llama", None, [f"{i} + {i} = {2 * i}" for i in range(60)])
        >>> with MonitorServer(monitor, port=0, fpr=0.1) as server:
        ...     url = server.url
    """

    def __init__(
        self,
        monitor: Monitor,
        port: int = 8000,
        host: str = "127.0.0.1",
        fpr: float = 0.01,
        most_prompts: int = 1024,
        most_bytes: int = 8 * 2**20,
        connections: int = 64,
    ) -> None:
        if not 0 <= port < 2**16:
            raise ConfigError(f"port={port} is none: give 1 to 65535, or 0 for any free one")
        for name, value in (("most_prompts", most_prompts), ("most_bytes", most_bytes), ("connections", connections)):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        self.monitor, self.most_prompts, self.most_bytes = monitor, most_prompts, most_bytes
        self.fpr = require_rate(fpr, len(monitor.state.calibration))
        _ = monitor.watched  # loaded, or refused, before anybody asks
        try:
            self._listener = _Listener((host, port), self, connections)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"host={host!r}, port={port}: cannot listen there ({getattr(error, 'strerror', None) or error}); name "
                "another port, or 0 for any free one"
            ) from error
        self.scored = 0
        self.queue = ScoreQueue(monitor)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), name="madkit-http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Accept no more, answer what has been asked, and end."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.pool.shutdown()
        self.queue.close()
        self._listener.server_close()

    def __enter__(self) -> MonitorServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def score(self, body: bytes) -> dict[str, Any]:
        """The answer to a request for scores.

        Raises:
            MadkitError: something is wrong with it.
            QueueFullError: there is no room.
        """
        request = ScoreRequest.of(body, self.most_prompts)
        rate = self.fpr if request.fpr is None else require_rate(request.fpr, len(self.monitor.state.calibration))
        table: pd.DataFrame = self.queue.score(request.prompts, rate).result()
        self.scored += len(table)
        columns = table[["score", "p_value", "alarm", "sites"]].itertuples(index=False)
        results = [
            {
                "score": float(score),
                "p_value": float(p),
                "alarm": bool(alarm),
                "sites": sites.split(", ") if sites else [],
            }
            for score, p, alarm, sites in columns
        ]
        return {"results": results, "fpr": rate}

    def health(self) -> dict[str, Any]:
        """That it is there, and how many prompts it has scored."""
        return {"status": "ok", "scored": self.scored}

    def metadata(self) -> dict[str, Any]:
        """What it watches and what it can promise."""
        state = self.monitor.state
        return {
            "madkit": madkit.__version__,
            "description": self.monitor.description,
            "model": state.model,
            "sites": state.detectors.names,
            "calibration_prompts": len(state.calibration),
            "smallest_fpr": smallest_rate(len(state.calibration)),
            "fpr": self.fpr,
            "max_length": state.max_length,
            "most_prompts": self.most_prompts,
            "most_bytes": self.most_bytes,
        }


class _Listener(http.server.HTTPServer):
    """Accepts connections, each of which a thread of a pool answers."""

    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], monitor_server: MonitorServer, connections: int) -> None:
        self.monitor_server = monitor_server
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.pool = ThreadPoolExecutor(connections, thread_name_prefix="madkit-http")

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks its own name up: that may take seconds.
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self._answer, request, client_address)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
            # To close while a body is on its way would take the answer from who sends it.
            request.shutdown(socket.SHUT_WR)
            left_over = TimedReader(request, _Handler.timeout, pause=1)
            for _ in range(_LEFT_OVER):
                if not left_over.read(2**16):
                    break
        except OSError:  # whoever asked has gone
            pass
        except Exception:
            _LOG.exception("a request failed")
        finally:
            self.shutdown_request(request)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Listener
    timeout = _PATIENCE
    default_request_version = "HTTP/1.0"  # of what is no request, so that its answer has a status
    server_version = "madkit"
    sys_version = ""

    def setup(self) -> None:
        """Give the client a time for all that it sends."""
        super().setup()
        self.rfile.close()
        self._sent = TimedReader(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._sent)
        self._answered = False
        # What an answer needs, also one to a client whose first line never ends.
        self.requestline, self.request_version, self.command = "", self.default_request_version, ""

    def handle_one_request(self) -> None:
        """Answer, also a request that did not come in time, which the base class leaves without a word."""
        super().handle_one_request()
        if self._sent.late and not self._answered:
            self._say(408, {"error": f"the request did not come within {self.timeout:g} seconds: send it again"})

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server, path = self.server.monitor_server, self.path.partition("?")[0]
        try:
            if path not in _PATHS:
                raise _RefusedError(404, f"{path[:80]!r} is not there: ask {', '.join(_PATHS)}")
            if self.command != _PATHS[path]:
                raise _RefusedError(405, f"{path} takes {_PATHS[path]}, not {self.command}", {"Allow": _PATHS[path]})
            if path == "/score":
                self._say(200, server.score(self._body(server.most_bytes)))
            else:
                self._say(200, server.health() if path == "/health" else server.metadata())
        except _RefusedError as error:
            self._say(error.status, {"error": str(error)}, error.headers)
        except QueueFullError as error:
            self._say(503, {"error": str(error)}, {"Retry-After": "1"})
        except MadkitError as error:
            self._say(400, {"error": str(error)})
        except OSError:  # the client has gone, or is late
            raise
        except Exception:
            _LOG.exception("a request failed")
            self._say(500, {"error": "the server failed at this request; its log says how"})

    def _body(self, most: int) -> bytes:
        # A page in a browser can post other types to this machine without being asked, but not this one.
        if self.headers.get_content_type() != "application/json":
            raise _RefusedError(415, "the body has to be JSON: send Content-Type: application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _RefusedError(411, "the length of the body is not known: send Content-Length")
        if len(length) > 18 or int(length) > most:
            raise _RefusedError(413, f"the body has {length[:20]} bytes: send {most} or fewer")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _RefusedError(400, f"the body ends after {len(body)} of {length} bytes: send all of it")
        return body

    def _say(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._answered = True
        self.connection.settimeout(self.timeout)
        text = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses is said like all else; a method that it does not have is the client's mistake."""
        if code == 501:
            code, message = 405, f"{self.command[:20]} is taken nowhere: GET or POST {', '.join(_PATHS)}"
        self._say(code, {"error": message or self.responses.get(code, ("refused",))[0]})

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.info("%s %s", self.address_string(), format % args)

    def address_string(self) -> str:
        """The client's address, which is not looked up."""
        return str(self.client_address[0])


class _RefusedError(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
