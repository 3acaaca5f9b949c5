"""A monitor of somebody else is data: code that comes with the model that it names is not run unasked."""

import json
import shutil
import signal

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.cli.command import main
from madkit.cli.signals import Interrupted
from madkit.errors import StoreError
from madkit.monitoring.monitor_server import MonitorServer
from madkit.runs.fingerprints import digest

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(12) for j in range(12)]
CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({mark!r}).write_text("the model's code has run")


class TheirConfig(LlamaConfig):
    model_type = "theirs"


class TheirLM(LlamaForCausalLM):
    config_class = TheirConfig
"""


@pytest.fixture
def theirs(bases, tmp_path, monkeypatch):
    """The folder of a monitor whose model comes with code, and the file that this code leaves."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, mark = shutil.copytree(bases["llama"], tmp_path / "theirs"), tmp_path / "mark"
    Monitor.fit(str(folder), None, TRUSTED).save(tmp_path / "monitor")
    (folder / "theirs.py").write_text(CODE.format(mark=str(mark)))
    classes = {"AutoConfig": "theirs.TheirConfig", "AutoModelForCausalLM": "theirs.TheirLM"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "theirs", "auto_map": classes}))
    file = tmp_path / "monitor" / "monitor.json"
    said = json.loads(file.read_text())
    said.pop("checksum")
    said["source"]["trust_remote_code"] = True
    file.write_text(json.dumps({**said, "checksum": digest(said)}))
    return tmp_path / "monitor", mark


def interrupted(server):
    raise Interrupted(signal.SIGTERM)


@pytest.mark.parametrize("command", ["score", "check", "serve"])
def test_commands_run_it_only_where_they_are_told_to(theirs, tmp_path, monkeypatch, command, capsys):
    folder, mark = theirs
    monkeypatch.setattr(MonitorServer, "url", property(interrupted))  # serves until it would say where
    (tmp_path / "new.txt").write_text("\n".join(TRUSTED[:30]))
    options = {"score": ["--fpr", "0.05"], "check": [], "serve": ["--fpr", "0.05", "--port", "0"]}[command]
    words = ["watch", command, str(folder), *([] if command == "serve" else [str(tmp_path / "new.txt")]), *options]
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--trust_remote_code true" in error and not mark.exists()
    assert main([*words, "--trust_remote_code", "true"]) == 0
    assert mark.exists()


def test_python_runs_it_only_where_it_is_told_to(theirs, bases, tmp_path):
    folder, mark = theirs
    with pytest.raises(StoreError, match="asks for code that comes with its model .*/theirs'"):
        Monitor.load(folder).score(TRUSTED[:3], fpr=0.05)
    model, tokenizer = (kind.from_pretrained(bases["llama"]) for kind in (AutoModelForCausalLM, AutoTokenizer))
    given = Monitor.load(folder, model, tokenizer)
    expected = given.score(TRUSTED[:3], fpr=0.05)
    given.save(tmp_path / "again")
    with pytest.raises(StoreError, match="trust_remote_code=True"):  # what it needs is not forgotten
        Monitor.load(tmp_path / "again").score(TRUSTED[:3], fpr=0.05)
    assert not mark.exists()
    trusted = Monitor.load(tmp_path / "again", trust_remote_code=True)
    assert trusted.score(TRUSTED[:3], fpr=0.05).equals(expected) and mark.exists()
