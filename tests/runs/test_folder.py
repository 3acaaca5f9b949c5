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
