"""`madkit push`, against a stand-in of the hub's HTTP API on this machine."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest
from fabricated import write_run

from madkit.cli.command import main

#: Bytes beyond which a file is sent apart from the commit.
LARGE = 10 << 20


class Hub(BaseHTTPRequestHandler):
    """Answers what the client asks before and at a commit, and keeps what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.server.refuse:
            return self._answer({"error": "You do not have the right"}, 403)
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            return self._answer({"url": f"{self.server.address}/ann/run", "name": "ann/run", "id": "1"})
        if self.path == "/api/validate-yaml":  # what stands at the head of a README
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": self._mode(f["size"])} for f in json.loads(body)["files"]]
            return self._answer({"files": [{**f, "shouldIgnore": False, "oid": None} for f in files]})
        if self.path.endswith(".git/info/lfs/objects/batch"):  # what is there already has nothing to do
            objects = json.loads(body)["objects"]
            for thing in objects:
                if thing["oid"] not in self.server.large:
                    thing["actions"] = {"upload": {"href": f"{self.server.address}/large/{thing['oid']}"}}
            return self._answer({"transfer": "basic", "objects": objects})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "lfsFile":
                    self.server.files[line["value"]["path"]] = self.server.large[line["value"]["oid"]]
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self._answer({"commitUrl": f"{self.server.address}/ann/run/commit/1", "commitOid": "1"})
        return self._answer({"error": "unknown"}, 404)

    def do_PUT(self):
        body, name = self.rfile.read(int(self.headers["Content-Length"])), self.path.rsplit("/", 1)[1]
        self.server.sent.append(name)
        if len(self.server.sent) in self.server.broken:
            return self._answer({"error": "the disk is full"}, 403)
        assert hashlib.sha256(body).hexdigest() == name
        self.server.large[name] = body
        return self._answer({})

    def _mode(self, size):
        return "lfs" if size > LARGE else "regular"

    def _answer(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    server.files, server.asked, server.created, server.refuse = {}, [], None, False
    server.large, server.sent, server.broken = {}, [], set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)  # read where it is imported
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path, "m", "nli")
    for name, text in {
        "adapter/adapter_config.json": '{"base_model_name_or_path": "ann/base"}',
        "adapter/adapter_model.safetensors": "weights",
        "adapter/README.md": "[More Information Needed]",
        "features/activations/current.json": '{"key": "k"}',
        "features/activations/k/shard.safetensors": "vectors",
        "features/activations/.lock": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_card_adapter_and_recipes_are_one_commit_that_peft_can_load(hub, run, capsys):
    assert main(["push", str(run), "ann/run", "--by", "Ann", "--private"]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.address}/ann/run/commit/1"
    assert hub.created["organization"] == "ann"
    assert hub.created.get("visibility") == "private" or hub.created.get("private") is True  # by version of the client
    recipes = {name for name in ("fit.yaml", "predict.yaml", "test.yaml") if (run / name).is_file()}
    assert set(hub.files) == {"adapter_config.json", "adapter_model.safetensors", "card.json", "README.md", *recipes}
    assert hub.files["adapter_model.safetensors"] == b"weights"
    page = hub.files["README.md"].decode()
    assert page.startswith('---\nlibrary_name: peft\nbase_model: "ann/base"') and "by Ann" in page
    assert json.loads(hub.files["card.json"])["by"] == "Ann"
    assert {token for _, token in hub.asked} == {"Bearer hf_of_a_test"}
    assert sum("/commit/" in path for path, _ in hub.asked) == 1


def test_stores_are_a_dataset_and_unfinished_files_stay(hub, run):
    assert main(["push", str(run), "ann/store", "--parts", "features"]) == 0
    assert set(hub.files) == {"features/activations/current.json", "features/activations/k/shard.safetensors"}
    assert hub.created["type"] == "dataset" and any("/api/datasets/ann/store" in path for path, _ in hub.asked)


def test_large_files_go_apart_and_a_push_that_broke_off_sends_what_is_missing(hub, run, capsys, monkeypatch):
    """By LFS: what a server without Xet takes, and what the client falls back on without `hf_xet`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    store = run / "features" / "activations" / "k"
    contents = {f"{letter}.safetensors": letter.encode() * (LARGE + 1) for letter in "abc"}
    for name, content in contents.items():
        (store / name).write_bytes(content)
    hub.broken = {3}  # the third that arrives
    words = ["push", str(run), "ann/store", "--parts", "features"]
    assert main(words) == 2
    assert "could not be pushed to" in capsys.readouterr().err and not hub.files and len(hub.large) == 2
    assert main(words) == 0
    assert len(hub.sent) == 4 and hub.sent[3] == hub.sent[2]  # the two that had arrived are not sent again
    for name, content in contents.items():
        assert hub.files[f"features/activations/k/{name}"] == content
    assert hub.files["features/activations/current.json"] == b'{"key": "k"}'


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["--parts", "weights"], "choose from card, adapter"),
        (["--parts", "features", "--dry-run"], None),
    ],
)
def test_nothing_is_sent_by_a_slip_or_a_dry_run(hub, run, capsys, words, way_out):
    assert main(["push", str(run), "ann/run", *words]) == (0 if way_out is None else 2)
    said = capsys.readouterr()
    assert not hub.asked and (way_out or "features/activations/current.json") in said.err + said.out


def test_a_hub_that_refuses_is_one_line_and_so_is_an_old_card(hub, run, capsys):
    hub.refuse = True
    assert main(["push", str(run), "ann/run"]) == 2
    assert "hf auth login" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["card", str(run)]) == 0
    (run / "test.yaml").write_text("model: {other: 1}\n")
    capsys.readouterr()
    assert main(["push", str(run), "ann/run"]) == 2
    assert "test recipe): run `madkit card` again" in capsys.readouterr().err
