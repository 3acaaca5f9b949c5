"""`madkit watch serve`: a monitor over HTTP."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from madkit.cli.quiet import quiet
from madkit.cli.signals import Interrupted


def watch_serve(
    monitor: str,
    port: int = 8000,
    host: str = "127.0.0.1",
    fpr: float = 0.01,
    most_prompts: int = 1024,
    most_bytes: int = 8 * 2**20,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Answer requests for scores until SIGTERM or Ctrl-C, after which what has been asked is answered.

    POST /score takes {"prompts": [...]} or {"messages": [...]}, as JSON; GET /health and /metadata say how it is and
    what it promises. It asks for no password: other hosts than this machine reach it only where you name another host.

    Args:
        monitor: What madkit watch fit wrote.
        port: Where it listens; 0 for any free port.
        host: Under which address.
        fpr: The share of prompts like the trusted ones that may alarm, where a request names none.
        most_prompts: Prompts of one request.
        most_bytes: The length of one request.
        batch_size: Prompts in one forward pass; by default as many as when it was fitted.
        trust_remote_code: Run code that comes with the model, if the monitor was fitted so; one of somebody else may
            name any model.
    """
    from madkit.monitoring import Monitor
    from madkit.monitoring.monitor_server import MonitorServer

    quiet()
    logging.getLogger("madkit").addHandler(logging.StreamHandler())
    loaded = Monitor.load(Path(monitor), trust_remote_code=trust_remote_code)
    if batch_size is not None:
        loaded.state.batch_size = batch_size
    print(loaded.description)
    with MonitorServer(loaded, port, host, fpr, most_prompts, most_bytes) as server:
        try:
            print(f"serving at {server.url}", flush=True)
            threading.Event().wait()
        except Interrupted:
            pass
    print(f"stopped; {server.scored} prompts were scored", flush=True)
    return 0
