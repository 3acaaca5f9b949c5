"""A served monitor under load: none of a thousand requests is lost, memory stays, and SIGTERM ends it in order."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from madkit import Monitor

ROOT = Path(__file__).resolve().parents[2]
REQUESTS, AT_ONCE = 1000, 32


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def ask(url: str, i: int) -> tuple[int, dict]:
    """Every tenth request is at fault."""
    content = {"text": "?"} if i % 10 == 9 else {"prompt": f"Statement: {i} + {i} = {2 * i}"}
    request = urllib.request.Request(f"{url}/score", json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_thousand_requests_thirty_two_at_a_time(tmp_path: Path) -> None:
    trusted = [f"Statement: {i} + {j} = {i + j}" for i in range(20) for j in range(15)]
    monitor = Monitor.fit(str(ROOT / "bases" / "tiny-llama"), None, trusted)
    monitor.save(tmp_path / "monitor")
    words = [
        sys.executable,
        "-m",
        "madkit",
        "watch",
        "serve",
        str(tmp_path / "monitor"),
        "--port",
        "0",
        "--fpr",
        "0.05",
    ]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = next(line.split()[-1] for line in process.stdout if line.startswith("serving at "))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            first = list(pool.map(lambda i: ask(url, i), range(300)))
            before = megabytes(process.pid)
            start = time.monotonic()
            answers = first + list(pool.map(lambda i: ask(url, i), range(300, REQUESTS + 300)))
            seconds = time.monotonic() - start
        after = megabytes(process.pid)
        print(f"{REQUESTS} requests in {seconds:.1f} s; {before:.0f} MB, then {after:.0f} MB")
        good = [i for i in range(len(answers)) if i % 10 != 9]
        assert [status for status, _ in answers] == [400 if i % 10 == 9 else 200 for i in range(len(answers))]
        expected = monitor.score([f"Statement: {i} + {i} = {2 * i}" for i in good], fpr=0.05)["score"]
        # The base is in half precision, where the company of a batch (its padding) is seen in the third digit.
        np.testing.assert_allclose([answers[i][1]["results"][0]["score"] for i in good], expected, rtol=2e-2, atol=2e-2)
        assert after < before * 1.05 + 10
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert f"stopped; {len(good)} prompts were scored" in process.stdout.read()
    finally:
        process.kill()
        process.wait()
