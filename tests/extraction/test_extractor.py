"""One prediction computes all features in as few passes as possible, and what it learned outlives it."""

import json

import lightning as L
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import DataError, StoreError
from madkit.extraction.extractor import Extractor
from madkit.features import Activations, Answers, Attribution, ProbeShift
from madkit.store.feature_store import FeatureStore

LIMITS = {f"max_{split}": 30 for split in ("trusted", "untrusted", "test", "calibration")}


def predict(base, root, features, precision="32-true", tokenizer=None, **options):
    sizes = {"n_train": 1200, "n_validation": 400, "n_test": 0}
    limits = {**LIMITS, **options}
    data = QuirkyData(
        "addition", task_options=sizes, predict_batch_size=16, shard_size=40, tokenizer=tokenizer, **limits
    )
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=root, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False, precision=precision,
    )  # fmt: skip
    extractor = Extractor(str(base), features, adapter="none", dtype="float32")
    trainer.predict(extractor, datamodule=data, return_predictions=False)
    return extractor, data


def everything():
    return [Activations(), Attribution(), Attribution("pca", k=2), ProbeShift(), Answers()]


@pytest.fixture(scope="module")
def finished(bases, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    calls = []
    grad, hidden = torch.autograd.grad, "madkit.lm.forward.hidden_states"
    with pytest.MonkeyPatch.context() as patch:
        import madkit.lm.forward as forward

        whole = forward.hidden_states
        patch.setattr("madkit.lm.loading.check_forward", lambda *_: None)  # it makes passes of its own
        patch.setattr(hidden, lambda *a, **k: calls.append("forward") or whole(*a, **k))
        patch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append("backward") or grad(*a, **k))
        extractor, data = predict(bases["llama"], root, everything())
    return root, calls, extractor, data


def store(root, name):
    return FeatureStore.current(root / "features" / name)


def test_batches_take_one_pass_each_way_and_trusted_prompts_one_more(finished):
    _, calls, _, data = finished
    batches, trusted = len(data.loader(data.shards)), len(data.loader(data.shards[:1]))
    # Once in all, each of the five features runs by itself, twice, to see how long it takes.
    alone = {"forward": 2 * 5, "backward": 2 * (1 + 1 + 2)}
    assert calls.count("forward") == batches + trusted + alone["forward"]
    # The log odds, and the one probe of layers 1 and 4.
    assert calls.count("backward") == 2 * batches + alone["backward"]
    assert calls[:trusted] == ["forward"] * trusted


def test_stored_attributions_are_those_of_plain_transformers(finished, bases):
    """Every prompt by itself, every weight trainable, gradients by hand."""
    root, _, _, _ = finished
    found = store(root, "attribution")
    lm = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    prompts = found.rows.set_index("row")
    seen = {}
    for layer in (1, 4):
        lm.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(
            lambda _, args, layer=layer: seen.update({layer: args[0]})
        )

    def run(row):
        prompt = prompts.loc[row, "prompt"]
        ids = tokenizer(prompt)["input_ids"]
        no, yes = (tokenizer(prompt + choice)["input_ids"][len(ids)] for choice in prompts.loc[row, "choices"])
        logits = lm(torch.tensor([ids])).logits[0, -1]
        return logits[yes] - logits[no]

    means = {1: 0, 4: 0}
    trusted = prompts.index[prompts["split"] == "trusted"]
    for row in trusted:
        run(row)
        means = {layer: mean + seen[layer][0, -1].detach().double() / len(trusted) for layer, mean in means.items()}
    for layer, mean in means.items():
        rows, x = found.read(f"model.layers.{layer}", "test", 0, 5)
        for row, vector in zip(rows.tolist(), x, strict=True):
            (gradient,) = torch.autograd.grad(run(row), seen[layer])
            effect = (mean.float() - seen[layer][0, -1]) * gradient[0, -1]
            expected = effect.detach().view(4, -1).sum(1)
            torch.testing.assert_close(vector, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_all_features_have_finite_vectors_of_the_right_width(finished):
    root, _, _, _ = finished
    for name, widths in {
        "activations": (32, 32),
        "attribution": (4, 4),
        "attribution_pca": (4, 4),
        "probe": (1,),
    }.items():
        kept = store(root, name)
        assert kept.complete and kept.layers == dict(zip(kept.sites, [1, 4][-len(widths) :], strict=True))
        for site, width in zip(kept.sites, widths, strict=True):
            for split in ("trusted", "untrusted", "calibration", "test"):
                _, x = kept.read(site, split)
                assert x.shape[1] == width and bool(torch.isfinite(x).all())


def test_features_beside_do_not_change_the_activations(finished, bases, tmp_path):
    root, _, _, _ = finished
    predict(bases["llama"], tmp_path, [Activations(), Answers()])
    for name, site in (("activations", "model.layers.4"), ("answers", "logits")):
        assert torch.equal(store(root, name).read(site, "test")[1], store(tmp_path, name).read(site, "test")[1])


def test_a_continued_run_learns_nothing_again(bases, tmp_path):
    predict(bases["llama"], tmp_path, [Attribution()])
    kept = store(tmp_path, "attribution")
    before = kept.read("model.layers.1", "test")[1]
    learned = kept.folder / "learned.safetensors"
    stamp = learned.stat().st_mtime_ns
    (kept.folder.parent / "current.json").unlink()
    for index in (1, 3):
        kept.path(index).unlink()
    predict(bases["llama"], tmp_path, [Attribution()])
    assert learned.stat().st_mtime_ns == stamp
    assert torch.equal(store(tmp_path, "attribution").read("model.layers.1", "test")[1], before)
    assert store(tmp_path, "attribution").folder == kept.folder
    first = learned.read_bytes()
    learned.write_bytes(first[:40])
    predict(bases["llama"], tmp_path, [Attribution()])
    assert learned.read_bytes() == first
    assert torch.equal(store(tmp_path, "attribution").read("model.layers.1", "test")[1], before)


def test_other_trusted_prompts_or_options_go_to_another_store(bases, tmp_path):
    folders = set()
    for feature, limits in ((Attribution(), {}), (Attribution(), {"max_trusted": 20}), (Attribution(step=2), {})):
        predict(bases["llama"], tmp_path, [feature], **limits)
        folders.add(store(tmp_path, "attribution").folder)
    assert len(folders) == 3


def test_another_precision_or_tokenizer_goes_to_another_store(bases, tmp_path):
    other = AutoTokenizer.from_pretrained(bases["llama"])
    backend = json.loads(other.backend_tokenizer.to_str())
    backend["normalizer"] = {"type": "Replace", "pattern": {"String": "Is the"}, "content": "Is"}
    other._tokenizer = Tokenizer.from_str(json.dumps(backend))
    other.save_pretrained(tmp_path / "other")
    folders = set()
    for options in ({}, {"precision": "bf16-mixed"}, {"tokenizer": str(tmp_path / "other")}):
        predict(bases["llama"], tmp_path / "run", [Activations(first=1, step=2)], **options)
        folders.add(store(tmp_path / "run", "activations").folder)
    assert len(folders) == 3


def test_a_reference_that_is_no_number_is_refused(bases, tmp_path):
    class Broken(Attribution):
        def observe(self, reading):
            return {site: x * float("nan") for site, x in super().observe(reading).items()}

    with pytest.raises(DataError, match=r"'broken' is NaN or infinite at site 'model\.layers\.1' for rows \["):
        predict(bases["llama"], tmp_path, [Broken()])
    assert not list(tmp_path.rglob("learned.safetensors"))


MINE = """
from madkit.features import Activations

class Scaled(Activations):
    def __call__(self, trace):
        return {{site: {factor} * x for site, x in super().__call__(trace).items()}}
"""


def test_an_edited_feature_is_computed_again(bases, tmp_path, monkeypatch):
    import importlib

    path = tmp_path / "code" / "my_scaled_feature.py"
    path.parent.mkdir()
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    stores, vectors = [], []
    for factor in (2, 2, 3):
        path.write_text(MINE.format(factor=factor))
        module = importlib.import_module("my_scaled_feature")
        predict(bases["llama"], tmp_path, [importlib.reload(module).Scaled(), Activations()])
        stores.append(store(tmp_path, "scaled"))
        vectors.append(stores[-1].read("model.layers.4", "test")[1])
    assert stores[0].folder == stores[1].folder != stores[2].folder
    plain = store(tmp_path, "activations").read("model.layers.4", "test")[1]
    assert torch.equal(vectors[0], 2 * plain) and torch.equal(vectors[2], 3 * plain)


@pytest.fixture(scope="module")
def complete(bases, tmp_path_factory):
    root = tmp_path_factory.mktemp("complete")
    predict(bases["llama"], root, [Activations(), Answers()])
    return root, contents(root)


def contents(root):
    """The bytes of each file, and the marker without when and how long."""
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def cut(path):
    path.write_bytes(path.read_bytes()[:20])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.filterwarnings("ignore:.*it is made again")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("rows.parquet", lambda path: path.unlink()),
        ("rows.parquet", flip),
        ("manifest.json", lambda path: path.unlink()),
        ("manifest.json", lambda path: path.write_text("[]")),
        ("shard-00002.safetensors", lambda path: path.unlink()),
        ("shard-00002.safetensors", cut),
        ("current.json", lambda path: path.unlink()),
        ("current.json", cut),
        ("marker", lambda path: path.unlink()),
        ("marker", cut),
    ],
)
def test_whatever_is_missing_or_damaged_is_made_by_the_same_command(complete, bases, name, damage):
    root, before = complete
    folder = store(root, "activations").folder
    places = {"current.json": folder.parent / name, "marker": root / "predict.json"}
    damage(places.get(name, folder / name))
    predict(bases["llama"], root, [Activations(), Answers()])
    after = contents(root)
    assert after.keys() == before.keys()
    assert {str(path) for path in after if after[path] != before[path]} <= {"predict.json"}  # it holds what was timed
    store(root, "activations").read("model.layers.4", "test")


def test_only_what_is_damaged_is_made_again(complete, bases):
    root, _ = complete
    kept = store(root, "activations")
    stamps = {index: kept.path(index).stat().st_mtime_ns for index in kept.done()}
    flip(kept.path(1))
    with pytest.raises(StoreError, match=r"shard-00001.* damaged .*run `madkit predict` again"):
        store(root, "activations").read("model.layers.4", "trusted")
        store(root, "activations").read("model.layers.4", "untrusted")
    with pytest.warns(UserWarning, match=r"shard-00001.* damaged .*it is made again"):
        predict(bases["llama"], root, [Activations(), Answers()])
    assert [i for i, stamp in stamps.items() if kept.path(i).stat().st_mtime_ns != stamp] == [1]


def test_the_store_that_the_last_command_asked_for_is_the_current_one(bases, tmp_path):
    def key():
        return store(tmp_path, "activations").folder.name

    predict(bases["llama"], tmp_path, [Activations()])
    first = key()
    predict(bases["llama"], tmp_path, [Activations()], seed=1)
    assert key() != first
    predict(bases["llama"], tmp_path, [Activations()])
    assert key() == first
    # And of a command that has not been completed, there is none.
    extractor, _ = predict(bases["llama"], tmp_path, [Activations()], seed=1)
    extractor.stores[next(iter(extractor.stores))].path(0).unlink()
    FeatureStore.create(
        tmp_path / "features" / "activations", {"model": "another"}, ["a"], [], store(tmp_path, "activations").rows
    )
    with pytest.raises(StoreError, match="no complete store"):
        key()
