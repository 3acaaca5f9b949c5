"""The feature store gives back what was put in, and refuses what it cannot vouch for."""

import json

import pandas as pd
import pytest
import torch
from forked import in_copy, peak_memory

from madkit.errors import StoreError
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import complete_prompt_rows
from madkit.store.shards import Shard

SHARDS = [Shard(0, "trusted", (0, 1, 2)), Shard(1, "trusted", (3, 4)), Shard(2, "test", (5, 6, 7, 8))]
SITES = ["model.layers.1", "model.layers.4"]


def fill(store, skip=()):
    torch.manual_seed(0)
    everything = {site: torch.randn(9, 6) for site in SITES}
    for shard in SHARDS:
        if shard.index not in skip:
            rows = torch.tensor(shard.rows)[torch.randperm(len(shard.rows))]
            store.write(shard.index, rows, {site: x[rows] for site, x in everything.items()})
    return everything


@pytest.fixture
def store(tmp_path):
    rows = complete_prompt_rows(pd.DataFrame({"split": ["trusted"] * 5 + ["test"] * 4, "anomalous": False}))
    return FeatureStore.create(tmp_path / "features" / "activations", {"model": "a"}, SITES, SHARDS, rows)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 2), (2, 4), (1, 5), (4, 5)])
def test_slices_come_back_in_row_order_across_shards(store, start, stop):
    everything = fill(store)
    store.finish()
    store = FeatureStore.current(store.folder.parent)
    for site in SITES:
        rows, x = store.read(site, "trusted", start, stop)
        assert rows.tolist() == list(range(start, 5 if stop is None else stop))
        assert torch.equal(x, everything[site][rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_number_formats_survive(store, dtype):
    x = torch.randn(3, 6).to(dtype)
    store.write(0, torch.arange(3), dict.fromkeys(SITES, x))
    assert torch.equal(store.read(SITES[0], "trusted", 0, 3)[1], x)


def test_an_incomplete_store_is_refused_and_can_be_continued(store):
    fill(store, skip=[1])
    with pytest.raises(StoreError, match="no complete store.*madkit predict"):
        FeatureStore.current(store.folder.parent)
    with pytest.raises(StoreError, match="lacks shards"):
        store.finish()
    again = FeatureStore.create(store.folder.parent, {"model": "a"}, SITES, SHARDS, store.rows)
    assert again.folder == store.folder
    assert again.done() == {0, 2}
    fill(again)
    again.finish()
    assert FeatureStore.current(store.folder.parent).complete


def test_another_identity_goes_to_another_folder(store):
    other = FeatureStore.create(store.folder.parent, {"model": "b"}, SITES, SHARDS, store.rows)
    assert other.folder != store.folder
    assert other.done() == set()


def test_a_damaged_shard_is_an_error(store):
    fill(store)
    path = store.path(0)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match="damaged"):
        store.read(SITES[0], "trusted")


def test_unknown_sites_and_splits_are_named(store):
    fill(store)
    with pytest.raises(StoreError, match=r"model\.layers\.9"):
        store.read("model.layers.9", "trusted")
    with pytest.raises(StoreError, match="untrusted"):
        store.read(SITES[0], "untrusted")


def test_a_store_of_another_format_is_refused(store):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps({**store.manifest, "format": 0}))
    with pytest.raises(StoreError, match="format 0"):
        FeatureStore(store.folder)


def test_reading_maps_the_file_instead_of_loading_it(tmp_path):
    """Going through a 256 MB shard in slices of 4 MB takes the memory of a few slices."""
    rows = complete_prompt_rows(pd.DataFrame({"split": ["test"] * 65536, "anomalous": False}))
    big = FeatureStore.create(tmp_path / "big", {}, ["site"], [Shard(0, "test", tuple(range(65536)))], rows)
    big.write(0, torch.arange(65536), {"site": torch.ones(65536, 1024)})

    def work():
        store = FeatureStore(big.folder)
        total, before = float(store.read("site", "test", 0, 1)[1].sum()), peak_memory()
        for start in range(0, 65536, 1024):
            total += float(store.read("site", "test", start, start + 1024)[1].sum())
        print(total, peak_memory() - before)

    total, grown = in_copy(work, tmp_path).split()
    assert float(total) == 65537 * 1024
    assert float(grown) < 64


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["shards"].pop(),
        lambda manifest: manifest["shards"][0].update(split="test"),
        lambda manifest: manifest["shards"][0].update(count=-3),
        lambda manifest: manifest["identity"].update(model="b"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(store, change):
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="manifest.json"):
        FeatureStore(store.folder)
