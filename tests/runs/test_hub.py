"""Of the hub only what is needed is asked for, at the revision that a name says."""

import fnmatch
import json

import huggingface_hub
import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import save_file
from small_lms import make_lm

from madkit.data.records.reading import read_splits
from madkit.errors import ConfigError
from madkit.lm.adapters import FreshLora
from madkit.lm.adapters.adapter_folder import AdapterFolder
from madkit.runs import fingerprints
from madkit.runs.gguf_base import base_folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one repository, and what was asked of it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    files = {"adapter_model": torch.ones(2), "model-00001-of-00002": torch.zeros(9)}
    for name, tensor in files.items():
        save_file({"x": tensor}, folder / f"{name}.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    asked = []

    def download(name, revision=None, allow_patterns=None):
        asked.append((name, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return folder, asked


def wanted(patterns, name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def test_an_adapter_is_fetched_without_a_model_that_lies_beside_it(hub):
    folder, asked = hub
    assert AdapterFolder("owner/name@v1.0").path == folder
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("owner/name", "v1.0")
    for file in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "template.json"):
        assert wanted(patterns, file)
    for file in ("model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin", "README.md"):
        assert not wanted(patterns, file)


def test_its_fingerprint_is_the_same_wherever_more_of_it_was_fetched(hub):
    folder, _ = hub
    before = fingerprints.adapter_fingerprint("owner/name")
    (folder / "model-00001-of-00002.safetensors").unlink()
    (folder / "config.json").write_text("{}")
    assert fingerprints.adapter_fingerprint("owner/name") == before


def test_a_base_at_a_revision_is_the_folder_of_it(hub):
    folder, asked = hub
    assert base_folder("owner/name") == "owner/name" and not asked
    assert base_folder("owner/name@0a1b2c") == str(folder)
    assert asked[0][:2] == ("owner/name", "0a1b2c") and wanted(asked[0][2], "model-00001-of-00002.safetensors")


def test_a_folder_may_be_called_like_a_revision(tmp_path, monkeypatch, hub):
    (tmp_path / "runs" / "a@b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert base_folder("runs/a@b") == "runs/a@b" and not hub[1]


def test_a_revision_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(
        ConfigError, match="model.base='owner/name@v9' is no local folder .* check the name, its revision"
    ):
        base_folder("owner/name@v9")


def test_records_at_a_revision(monkeypatch):
    asked = []
    rows = DatasetDict({"train": Dataset.from_dict({"x": [1]})})
    monkeypatch.setattr("datasets.load_dataset", lambda name, revision: asked.append((name, revision)) or rows)
    read_splits("owner/set@v2")
    read_splits("owner/set")
    assert asked == [("owner/set", "v2"), ("owner/set", None)]


def test_an_adapter_names_its_base_as_peft_does(tmp_path):
    lora = FreshLora(make_lm(), {"r": 2, "target_modules": ["q_proj"]})
    lora.save(tmp_path, "owner/base@v2")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/base", "v2")
    assert json.loads((tmp_path / "base.json").read_text())["name"] == "owner/base"
