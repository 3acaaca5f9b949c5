"""Ask a served monitor for the scores of a file of prompts, several requests at a time, with the standard library.

    madkit watch serve monitor/ --port 8000
    python examples/score_client.py prompts.txt http://127.0.0.1:8000

A line is a prompt. What alarms is printed, the least likely first; the scores of all come back from `main`.
"""

import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TOGETHER = 16  # prompts of a request; the server puts requests of one time together itself


def ask(url: str, prompts: list[str]) -> list[dict[str, Any]]:
    """The server's result for each prompt: score, p_value, alarm, sites."""
    body = json.dumps({"prompts": prompts}).encode()
    request = urllib.request.Request(f"{url}/score", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
            return results
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url} says {error.code}: {json.load(error)['error']}") from None


def main(file: str | Path, url: str = "http://127.0.0.1:8000") -> list[dict[str, Any]]:
    """Score the lines of a file."""
    prompts = [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    parts = [prompts[i : i + TOGETHER] for i in range(0, len(prompts), TOGETHER)]
    with ThreadPoolExecutor(8) as pool:
        results = [result for part in pool.map(lambda part: ask(url, part), parts) for result in part]
    found = sorted(zip(prompts, results, strict=True), key=lambda pair: pair[1]["p_value"])
    for prompt, result in found:
        if result["alarm"]:
            print(f"{result['p_value']:.4f}  {prompt[:80]}  ({', '.join(result['sites'])})")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
