"""A monitor over HTTP: the numbers of Python, a line for what is wrong, and nobody pays for another's mistake."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.cli.command import main
from madkit.errors import ConfigError, DataError
from madkit.monitoring import monitor_server
from madkit.monitoring.monitor_server import MonitorServer
from madkit.monitoring.score_queue import QueueFullError, ScoreQueue

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(12) for j in range(12)]
NEW = ["Statement: 7 + 7 = 14", "= = = + + +", "Yes No Yes"]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }} "
    "{% endfor %}"
)


@pytest.fixture(scope="module")
def monitor(bases):
    model, tokenizer = (kind.from_pretrained(bases["llama"]) for kind in (AutoModelForCausalLM, AutoTokenizer))
    tokenizer.chat_template = TEMPLATE
    return Monitor.fit(model, tokenizer, TRUSTED)


@pytest.fixture(scope="module")
def server(monitor):
    with MonitorServer(monitor, port=0, fpr=0.05, most_prompts=20, most_bytes=10_000) as server:
        yield server


def ask(server, path="/score", content=None, body=None, kind="application/json", **headers):
    """Status and content of an answer."""
    body = json.dumps(content).encode() if content is not None else body
    headers = {"Content-Type": kind, **headers} if body is not None else headers
    request = urllib.request.Request(server.url + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_scores_are_those_of_python(monitor, server):
    status, answer = ask(server, content={"prompts": NEW})
    table = monitor.score(NEW, fpr=0.05)
    assert status == 200 and answer["fpr"] == 0.05
    for key in ("score", "p_value", "alarm"):
        np.testing.assert_allclose([result[key] for result in answer["results"]], table[key], rtol=1e-5)
    assert [", ".join(result["sites"]) for result in answer["results"]] == table["sites"].tolist()
    alone = monitor.score(NEW[:1], fpr=0.05)["p_value"][0]
    assert ask(server, content={"prompt": NEW[0]})[1]["results"][0]["p_value"] == alone


def test_chats_and_rates_of_a_request(monitor, server):
    chat = [{"role": "user", "content": "Statement: 1 + 1 = 2"}]
    expected = monitor.score([chat], fpr=0.3)
    for content in ({"messages": chat, "fpr": 0.3}, {"prompts": [chat], "fpr": 0.3}):
        status, answer = ask(server, content=content)
        assert status == 200 and answer["fpr"] == 0.3
        np.testing.assert_allclose(answer["results"][0]["score"], expected["score"][0], rtol=1e-5)


def test_what_it_watches_and_whether_it_is_there(monitor, server):
    before = ask(server, "/health")[1]["scored"]
    ask(server, content={"prompts": NEW})
    assert ask(server, "/health?a=b") == (200, {"status": "ok", "scored": before + 3})
    status, said = ask(server, "/metadata")
    assert status == 200 and said["sites"] == monitor.state.detectors.names and said["fpr"] == 0.05
    assert said["calibration_prompts"] == len(monitor.state.calibration) and "Watched" in said["description"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"body": b"{"}, 400, "no JSON"),
        ({"body": b"[" * 9000}, 400, "no JSON"),
        ({"content": []}, 400, "no object"),
        ({"content": {}}, 400, "no prompts"),
        ({"content": {"prompts": []}}, 400, "holds no prompts"),
        ({"content": {"prompts": "one"}}, 400, "send a list"),
        ({"content": {"prompts": ["a", ""]}}, 400, "number 2 is empty"),
        ({"content": {"prompts": [5]}}, 400, "no prompt"),
        ({"content": {"prompts": ["a"], "prompt": "b"}}, 400, "prompts and prompt"),
        ({"content": {"text": "a"}}, 400, "'text' is unknown"),
        ({"content": {"prompts": ["a"] * 21}}, 400, "21 prompts are too many"),
        ({"content": {"prompt": "a", "fpr": "low"}}, 400, "send a number"),
        ({"content": {"prompt": "a", "fpr": 1e-9}}, 400, "fpr=1e-09 needs"),
        ({"content": {"prompt": "a", "fpr": 10**400}}, 400, "0...: send a number between 0 and 1"),
        ({"content": {"prompts": ["a", "x \ud800"]}}, 400, "number 2 holds"),
        ({"content": {"messages": [{"role": "tool", "content": "x"}]}}, 400, "no tools"),
        ({"content": {"messages": [{"role": "user"}]}}, 400, "no message"),
        ({"content": {"prompt": "a" * 20_000}}, 413, "send 10000 or fewer"),
        ({"body": b'{"prompt": "a"}', "kind": "text/plain"}, 415, "application/json"),
        ({"path": "/scores", "content": {"prompt": "a"}}, 404, "'/scores' is not there: ask /score"),
        ({"path": "/score"}, 405, "/score takes POST, not GET"),
        ({"path": "/health", "content": {}}, 405, "/health takes GET, not POST"),
    ],
)
def test_what_is_wrong_with_a_request_is_one_line(server, asked, status, said):
    found, answer = ask(server, **asked)
    assert found == status and said in answer["error"] and "\n" not in answer["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"PUT /score HTTP/1.1\r\n\r\n", 405),
        (b"BREW /score HTTP/1.1\r\n\r\n", 405),
        (b"POST /score HTTP/1.1\r\nContent-Type: application/json\r\n\r\n", 411),
        (b"POST /score HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n", 411),
        (b"POST /score HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 413),
        (b"POST /score HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{}", 400),
    ],
)
def test_what_is_no_request_is_answered_too(server, sent, status):
    with socket.create_connection(server._listener.server_address[:2], timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert f" {status} ".encode() in answer.partition(b"\r\n")[0] and b'"error"' in answer


def drip(address, begun, seconds):
    """Send bytes, one at a time, until the other side has closed; what it has said, and whether it has."""
    said = b""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(begun)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                connection.sendall(b" ")
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    said += connection.recv(4096)
                    time.sleep(0.05)  # it has ended what it says, and may still read
        except OSError:
            return said, True
    return said, False


BODY = b"Content-Length: 500\r\n\r\n{"


@pytest.mark.parametrize(
    ("begun", "patience", "status"),
    [
        (b"POST /sco", 0.8, 408),
        (b"POST /score HTTP/1.1\r\nContent-Type: applic", 0.8, 408),
        (b"POST /score HTTP/1.1\r\nContent-Type: application/json\r\n" + BODY, 0.8, 408),
        (b"POST /score HTTP/1.1\r\nContent-Type: text/plain\r\n" + BODY, 2.0, 415),
    ],
)
def test_a_client_that_sends_a_byte_now_and_then_is_not_heard_for_ever(monitor, monkeypatch, begun, patience, status):
    with MonitorServer(monitor, port=0, fpr=0.05, connections=1) as server:
        with monkeypatch.context() as hurried:
            hurried.setattr(monitor_server._Handler, "timeout", patience)
            said, closed = drip(server._listener.server_address[:2], begun, 6)
        assert closed and f" {status} ".encode() in said.partition(b"\r\n")[0]
        assert status != 408 or b"did not come within 0.8 seconds: send it again" in said
        assert ask(server, "/health")[0] == 200


def test_requests_of_one_time_are_scored_together_and_a_bad_one_alone_fails(monitor, server, monkeypatch):
    batches = []
    site_scores = Monitor.site_scores

    def slow(self, tokens):
        batches.append(len(tokens))
        time.sleep(0.05)
        return site_scores(self, tokens)

    monkeypatch.setattr(Monitor, "site_scores", slow)
    prompts = [f"Statement: {i} + 1 = {i + 1}" for i in range(40)]
    bad = {"messages": [{"role": "tool", "content": "x"}]}
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda i: ask(server, content=bad if i % 10 == 3 else {"prompt": prompts[i]}), range(40))
        )
    expected = monitor.score(prompts, fpr=0.05)
    for i, (status, answer) in enumerate(answers):
        assert status == (400 if i % 10 == 3 else 200)
        if status == 200:
            np.testing.assert_allclose(answer["results"][0]["score"], expected["score"][i], rtol=1e-4)
    assert sum(batches[:-1]) == 36 and len(batches) < 25


@pytest.mark.parametrize("fault", ["a token", "a value", "a score", "the tokenizer"])
def test_what_is_at_fault_fails_its_own_request_only(monitor, monkeypatch, fault):
    tokens_of, site_scores, odd = Monitor.tokens, Monitor.site_scores, int(monitor.tokens([NEW[1]]).lengths[0])
    started, free = threading.Event(), threading.Event()

    def tokens_or_not(self, prompts):
        if fault == "the tokenizer" and prompts == [NEW[1]]:
            raise TypeError("TextEncodeInput must be Union[...]")
        return tokens_of(self, prompts)

    def failing(self, tokens):
        started.set()
        free.wait(10)
        if odd in tokens.lengths and fault == "a value":
            raise DataError("row 0 is NaN")
        if odd in tokens.lengths and fault == "a token":
            raise IndexError("index out of range in self")
        return np.where((tokens.lengths == odd)[:, None], np.inf, site_scores(self, tokens))

    monkeypatch.setattr(Monitor, "tokens", tokens_or_not)
    monkeypatch.setattr(Monitor, "site_scores", failing)
    queue = ScoreQueue(monitor)
    queue.score([NEW[2]], 0.05)
    assert started.wait(10)  # the next two are one batch
    bad, good = queue.score([NEW[1]], 0.05), queue.score([NEW[0]], 0.05)
    free.set()
    queue.close()
    assert len(good.result()) == 1
    errors = {"a token": IndexError, "a value": DataError, "a score": DataError, "the tokenizer": TypeError}
    with pytest.raises(errors[fault]):
        bad.result()


def test_more_than_may_wait_is_refused_and_all_else_is_scored(monitor, monkeypatch):
    started, free = threading.Event(), threading.Event()
    site_scores = Monitor.site_scores

    def held(self, tokens):
        started.set()
        free.wait(10)
        return site_scores(self, tokens)

    monkeypatch.setattr(Monitor, "site_scores", held)
    queue = ScoreQueue(monitor, most=4)
    first = queue.score(NEW[:1], 0.05)
    assert started.wait(10)
    second = queue.score(NEW, 0.05)
    with pytest.raises(QueueFullError, match="4 prompts are waiting"):
        queue.score(NEW[:1], 0.05)
    free.set()
    queue.close()
    assert len(first.result()) == 1 and len(second.result()) == 3


def test_what_was_asked_is_answered_when_it_closes(monitor):
    server = MonitorServer(monitor, port=0, fpr=0.05)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, server, content={"prompts": NEW}) for _ in range(8)]
        while server.queue._waiting == 0 and not all(future.done() for future in asked):
            time.sleep(0.001)
        server.close()
        done = [future for future in asked if future.exception() is None]
    assert done and all(future.result()[0] == 200 for future in done)
    with pytest.raises(urllib.error.URLError):
        ask(server, "/health")


def test_where_it_cannot_listen_is_one_line(monitor, server):
    taken = server._listener.server_address[1]
    for options, said in (
        ({"port": taken}, f"port={taken}: cannot listen there"),
        ({"port": -1}, "port=-1"),
        ({"port": 0, "host": "not.a.host.invalid"}, "host='not.a.host.invalid'"),
        ({"port": 0, "fpr": 1e-9}, "fpr=1e-09 needs"),
        ({"port": 0, "most_bytes": 0}, "most_bytes=0"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            MonitorServer(monitor, **{"fpr": 0.05, **options})
        assert "\n" not in str(caught.value)


def test_the_client_of_the_examples(monitor, server, tmp_path, capsys):
    from examples.score_client import main as score_client

    prompts = [*TRUSTED[:20], *NEW]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    results = score_client(tmp_path / "prompts.txt", server.url)
    table = monitor.score(prompts, fpr=0.05)
    np.testing.assert_allclose([result["score"] for result in results], table["score"], rtol=1e-3, atol=1e-2)
    assert len(capsys.readouterr().out.splitlines()) == sum(result["alarm"] for result in results) > 0
    (tmp_path / "prompts.txt").write_text("x" * 20_000)
    with pytest.raises(SystemExit, match="says 413: the body has"):
        score_client(tmp_path / "prompts.txt", server.url)


def test_the_command_serves_until_it_is_asked_to_end(bases, tmp_path, capsys):
    Monitor.fit(str(bases["llama"]), None, TRUSTED).save(tmp_path / "monitor")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = []

    def client():
        url = f"http://127.0.0.1:{port}/health"
        for _ in range(1200):
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    answers.append(json.load(answer))
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=client)
    thread.start()
    assert main(["watch", "serve", str(tmp_path / "monitor"), "--port", str(port), "--fpr", "0.05"]) == 0
    thread.join()
    assert answers == [{"status": "ok", "scored": 0}]
    printed = capsys.readouterr().out
    assert f"serving at http://127.0.0.1:{port}" in printed and "stopped; 0 prompts were scored" in printed
    assert main(["watch", "serve", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
