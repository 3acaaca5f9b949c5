"""Where a trainer works, on what data, and what of a recipe decides its result."""

from types import SimpleNamespace

import pytest

from madkit.errors import ConfigError
from madkit.runs.folder import fit_key, root_of


def test_the_working_directory_is_no_run_folder(tmp_path):
    assert root_of(SimpleNamespace(default_root_dir=str(tmp_path))) == tmp_path
    with pytest.raises(ConfigError, match="--run runs/<name>"):
        root_of(SimpleNamespace(default_root_dir="."))


def test_the_key_is_of_what_is_computed_and_not_of_where():
    config = {"seed_everything": 0, "model": {"init_args": {"r": 4}}, "data": {"init_args": {"batch_size": 8}}}
    key = fit_key({**config, "trainer": {"max_epochs": 2, "devices": 1}})
    assert key == fit_key({**config, "trainer": {"max_epochs": 2, "devices": 4, "accelerator": "gpu"}})
    assert key != fit_key({**config, "trainer": {"max_epochs": 3, "devices": 1}})
    assert key != fit_key({**config, "seed_everything": 1, "trainer": {"max_epochs": 2, "devices": 1}})


def test_the_key_changes_with_what_the_data_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "templates", "texts"):
        (tmp_path / folder).mkdir()
    files = {"source": "mine/train.csv", "template": "templates/addition.yaml", "texts": "texts/a.txt"}
    options = {"dataset": "addition", "source": {"addition": "mine"}, "template": "templates/{dataset}.yaml"}
    options["texts"] = {"class_path": "TextData", "init_args": {"source": "texts"}}

    def key():
        return fit_key({"data": {"init_args": options}})

    for file in files.values():
        (tmp_path / file).write_text("first")
    before = key()
    assert key() == before
    for file in files.values():
        (tmp_path / file).write_text("second")
        assert key() != before
        (tmp_path / file).write_text("first")
        assert key() == before
    # A folder that happens to be called like the dataset is nothing that is read.
    (tmp_path / "addition").mkdir()
    (tmp_path / "addition" / "fit.yaml").write_text("run: here")
    assert key() == before


def test_the_key_changes_with_the_code_of_a_task_of_the_users():
    config = {"data": {"init_args": {"dataset": "mine.Task"}}}
    assert fit_key(config) != fit_key(config, "first") != fit_key(config, "second")
