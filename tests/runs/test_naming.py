"""Names that others chose stay inside the run folder, and long ones of ours fit into it."""

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from madkit.errors import ConfigError, StoreError
from madkit.runs.folder import folder_of
from madkit.runs.naming import folder_name, labelled
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import complete_prompt_rows
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant

REFUSED = [
    "", " ", ".", "..", "../up", "/abs", "a/b", "a\\b", "..\\up", "a\0b", "a\nb", "a\x1bb", "x" * 201, "ü" * 101,
    ".hidden", "a.", "a ", " a", "NUL", "con.txt", "a\u2028b", "\ud800", None, 3, ["a"],
]  # fmt: skip
ACCEPTED = [
    "addition",
    "my_tasks.Thirds",
    "a$b^$c",
    "50%",
    "größe",
    "x" * 200,
    "a b",
    "console",
    "=1+1",
    "model.layers.3",
]


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_no_folders_are_refused_in_one_line(name):
    with pytest.raises(ConfigError, match=r"^data\.dataset=.*: give") as error:
        folder_name(name, "data.dataset")
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 300
    if name is not None:
        with pytest.raises(ConfigError, match=r"data\.dataset="):
            folder_of("runs/x", {"init_args": {"dataset": name}})
        with pytest.raises(ConfigError, match="feature="):
            Variant(name).folder(Path("runs"))


@given(st.text(max_size=80) | st.sampled_from(ACCEPTED))
def test_an_accepted_name_makes_one_folder_in_its_parent(name):
    try:
        folder_name(name, "dataset")
    except ConfigError:
        assert name not in ACCEPTED
        return
    with tempfile.TemporaryDirectory() as root:
        folder = folder_of(f"{root}/run", {"init_args": {"dataset": name}})
        folder.mkdir(parents=True)
        assert [path.name for path in Path(root, "run").iterdir()] == [name]
        assert folder.resolve().parent == Path(root, "run").resolve()


def test_a_run_is_any_folder_of_the_users():
    assert folder_of("../runs/llama", {"init_args": {"dataset": "nli"}}).as_posix() == "../runs/llama/nli"
    assert folder_of("runs/x", None).as_posix() == "runs/x"
    with pytest.raises(ConfigError, match="run="):
        folder_of("a\0b", None)


def test_long_names_of_options_are_shortened_and_stay_different():
    names = [labelled("svm", {"kernel": "k" * 300, "nu": nu}) for nu in (0.1, 0.2)]
    assert len({*names}) == 2 and all(folder_name(name, "score") and name.startswith("svm_k") for name in names)
    assert labelled("svm", {"kernel": "k" * 100}) == "svm_" + "k" * 100


@pytest.mark.parametrize("site", ["../../../out", "/abs", "a/b", "", ".."])
def test_a_store_does_not_name_sites_elsewhere(tmp_path, site):
    rows = complete_prompt_rows(pd.DataFrame({"split": ["test"] * 2, "anomalous": False}))
    store = FeatureStore.create(tmp_path / "activations", {"a": 1}, ["layer1"], cut_shards(["test"] * 2, 2), rows)
    store.write(0, torch.arange(2), {"layer1": torch.zeros(2, 3)})
    store.finish()
    manifest = json.loads((store.folder / "manifest.json").read_text())
    (store.folder / "manifest.json").write_text(json.dumps({**manifest, "sites": [site]}))
    with pytest.raises(StoreError, match=r"activations/.*site=.*: give .*did not write it"):
        FeatureStore.current(tmp_path / "activations")
