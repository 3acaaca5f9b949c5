"""QuirkyData: which prompts are served, in which batches, and how a killed run goes on."""

import itertools
import json
import multiprocessing
import os
import signal
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, DatasetDict
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from madkit.data.prompts.batches import TrainBatches, ValidationBatches, accumulation
from madkit.data.prompts.characters import ALICE_NAMES, BOB_NAMES, draw_names
from madkit.data.prompts.shard_batches import ShardBatches
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.tasks import make_task
from madkit.errors import ConfigError, DataError

OPTIONS = {"n_train": 1600, "n_validation": 400, "n_test": 0, "max": 99}


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(
        ["Name: Luna\nContext: addition\nStatement: 12 + 34 = 46\nTrue? No", "Bob Yes"] * 5, trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


TOKENIZER = make_tokenizer()


class Recorder(LightningModule):
    """Trains one number, and remembers which rows it was shown."""

    def __init__(self):
        super().__init__()
        self.tokenizer = TOKENIZER
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, *batch["row"].tolist()))
        return (self.weight - batch["answer"].float()).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", batch["weight"].sum())

    def predict_step(self, batch, batch_idx):
        return batch["row"], batch["shard"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def make_data(**options):
    keep = {"task_options": OPTIONS, "template": "compact", "batch_size": 32, "max_train": 256, **options}
    data = QuirkyData("addition", **keep)
    data.tokenizer = TOKENIZER
    return data


def make_trainer(folder, **options):
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "accelerator": "cpu",
    }
    return Trainer(default_root_dir=folder, use_distributed_sampler=False, **{**quiet, **options})


@pytest.fixture(scope="module")
def data():
    data = make_data()
    data.setup("fit")
    data.setup("predict")
    return data


# ---- which prompts -------------------------------------------------------------------------------------


def test_table_is_the_definition_worked_out_record_by_record(data):
    records = make_task("addition", OPTIONS).records(0)
    picked = {"trusted": [], "normal": [], "anomalous": [], "alice": [], "bob": []}
    easy_alice = []
    for split in ("train", "validation"):
        for record in records[split]:
            name = draw_names([record["id"]], [record["character"]], 0)[0]
            early = name in ALICE_NAMES[:4] or name in BOB_NAMES[:4]
            bob = record["character"] == "Bob"
            if split == "train" and early and record["difficulty_quantile"] < 0.25:
                (picked["anomalous"] if bob else easy_alice).append(record["id"])
            if split == "validation" and not early and record["difficulty_quantile"] >= 0.75:
                picked["bob" if bob else "alice"].append(record["id"])
    half = (len(easy_alice) + 1) // 2
    n = min(len(picked["alice"]), len(picked["bob"]))
    table = data.table
    assert table[table["split"] == "trusted"]["id"].tolist() == easy_alice[:half]
    assert table[table["split"] == "untrusted"]["id"].tolist() == easy_alice[half:] + picked["anomalous"]
    assert table[table["split"] == "test"]["id"].tolist() == picked["alice"][:n] + picked["bob"][:n]
    assert (table["anomalous"] == (table["character"] == "Bob")).all()
    assert table["row"].tolist() == list(range(len(table)))


def test_table_shows_the_name_and_the_question(data):
    for row in data.table.itertuples():
        assert row.prompt.startswith(f"Name: {row.name}\n")
        assert row.label == (row.bob_label if row.character == "Bob" else row.alice_label)
    assert set(data.table["choices"]) == {(" No", " Yes")}


def test_prompts_of_one_question_share_a_statement(data):
    table = data.make_table()
    # The first line is the speaker's, the rest is the question.
    question = table["prompt"].str.split("\n", n=1).str[1]
    assert table.groupby("statement")["name"].nunique().max() > 1
    assert (pd.factorize(table["statement"])[0] == pd.factorize(question)[0]).all()


def test_limits_cut_each_kind(data):
    table = make_data(max_trusted=7, max_untrusted=5, max_test=3, max_calibration=4).make_table()
    assert table.groupby(["split", "anomalous"]).size().to_dict() == {
        ("trusted", False): 7,
        ("untrusted", False): 5,
        ("untrusted", True): 5,
        ("calibration", False): 4,
        ("test", False): 3,
        ("test", True): 3,
    }
    trusted = data.table[data.table["split"] == "trusted"]["id"]
    assert table["id"][:7].tolist() == trusted[:7].tolist()


def test_names_are_those_of_training_and_do_not_come_from_the_text(data):
    """A name inside the text of another one's prompt must not matter."""
    frame = data.train_prompts.frame
    assert set(frame["name"]) == {*ALICE_NAMES, *BOB_NAMES}
    both = frame.merge(data.table, on="id", suffixes=("", "_table"))
    assert len(both) > 10
    assert (both["name"] == both["name_table"]).all()


def test_training_prompts_are_balanced_for_each_character(data):
    counts = data.train_prompts.frame.groupby(["character", "label"]).size()
    assert counts.tolist() == [64] * 4
    everything = make_data(max_train=None)
    everything.setup("fit")
    assert everything.train_prompts.frame.groupby(["character", "label"]).size().tolist() == [400] * 4
    raw = make_data(max_train=None, balance=False)
    raw.setup("fit")
    assert len(raw.train_prompts) == 3200


def test_a_class_path_names_a_dataset(data):
    other = QuirkyData("madkit.data.tasks.arithmetic.Addition", "compact", task_options=OPTIONS)
    pd.testing.assert_frame_equal(other.make_table(), data.table)


def test_empty_splits_name_the_way_out():
    with pytest.raises(DataError, match=r"split '(trusted|untrusted \(\w+\)|test)' is empty: 0 of .*raise n_train"):
        make_data(task_options={**OPTIONS, "n_train": 4, "n_validation": 4}).make_table()
    with pytest.raises(DataError, match=r"split 'test' is empty.*n_validation"):
        make_data(task_options={**OPTIONS, "n_validation": 1}).make_table()
    with pytest.raises(DataError, match=r"split 'validation' is missing.*raise n_validation"):
        make_data(task_options={**OPTIONS, "n_validation": 0}).make_table()


# ---- batches -------------------------------------------------------------------------------------------


def test_a_batch_holds_what_the_record_says(data):
    batch = next(iter(data.train_dataloader()))
    frame = data.train_prompts.frame.set_index(data.train_prompts.rows)
    assert {key: (value.dtype, value.ndim) for key, value in batch.items()} == {
        "input_ids": (torch.int64, 2), "attention_mask": (torch.int64, 2), "choices": (torch.int64, 2),
        "answer": (torch.int64, 1), "label": (torch.int64, 1), "alice_label": (torch.int64, 1),
        "bob_label": (torch.int64, 1), "is_bob": (torch.bool, 1), "weight": (torch.float32, 1),
        "row": (torch.int64, 1),
    }  # fmt: skip
    records = data.records["train"]
    for i, row in enumerate(batch["row"].tolist()):
        args = records[row]["template_args"]
        text = TOKENIZER.decode(batch["input_ids"][i], skip_special_tokens=True)
        statement = f"{args['op1']} + {args['op2']} = {args['result']}"
        assert text == f"Name: {frame.name[row]}\nContext: addition\nStatement: {statement}\nTrue?"
        assert TOKENIZER.decode(batch["answer"][i : i + 1]) == (" Yes" if records[row]["label"] else " No")
        assert bool(batch["is_bob"][i]) == (records[row]["character"] == "Bob")
        assert batch["attention_mask"][i].flip(0).cummin(0).values.sum() == batch["attention_mask"][i].sum()


@pytest.mark.parametrize(("world", "device"), [(1, None), (1, 8), (2, None), (2, 4), (4, 3)])
def test_a_training_step_has_the_same_prompts_for_any_number_of_processes(data, world, device):
    size = 24
    alone = TrainBatches(data.train_prompts, size, seed=5)
    ranks = [TrainBatches(data.train_prompts, size, device, seed=5, rank=r, world=world) for r in range(world)]
    per_step = ranks[0].accumulate
    assert per_step == accumulation(size, device, world)
    assert [len(rank) for rank in ranks] == [256 // size * per_step] * world
    batches = [list(rank) for rank in ranks]
    for step, whole in enumerate(alone):
        mine = [batch["row"] for rank in batches for batch in rank[step * per_step : (step + 1) * per_step]]
        assert len({len(rows) for rows in mine}) == 1
        assert sorted(torch.cat(mine).tolist()) == sorted(whole["row"].tolist())


def test_an_epoch_shows_each_prompt_once_and_every_epoch_another_order(data):
    batches = TrainBatches(data.train_prompts, 32)
    epochs = [np.concatenate([batches.global_batch(epoch, k) for k in range(8)]) for epoch in (0, 1, 0)]
    assert all(sorted(epoch) == list(range(256)) for epoch in epochs)
    assert (epochs[0] == epochs[2]).all()
    assert set(epochs[0][:32]) != set(epochs[1][:32])
    thrice = TrainBatches(data.train_prompts, 32, passes=3)
    assert len(thrice) == 24
    rows = np.concatenate([thrice.global_batch(0, k) for k in range(24)])
    assert (np.bincount(rows) == 3).all()


def test_passes_may_depend_on_the_dataset():
    assert make_data(passes={"addition": 4, "nli": 2}).passes == 4
    assert make_data(passes={"nli": 2}).passes == 1
    with pytest.raises(ConfigError, match="passes=0"):
        make_data(passes={"addition": 0})


@pytest.mark.parametrize("world", [1, 2, 3])
def test_validation_counts_every_prompt_once(data, world):
    ranks = [list(ValidationBatches(data.validation_prompts, 50, rank, world)) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    rows = [row for rank in ranks for batch in rank for row in batch["row"][batch["weight"] > 0].tolist()]
    assert sorted(rows) == sorted(data.validation_prompts.rows.tolist())
    assert len(rows) == 800
    lengths = [int(batch["attention_mask"].sum(1).max()) for batch in ranks[0]]
    assert lengths == sorted(lengths)


def test_prediction_batches_do_not_depend_on_the_number_of_processes(data):
    shards = make_data(shard_size=20)
    shards.setup("predict")
    size = 8
    alone = list(ShardBatches(shards.predict_prompts, shards.shards, size))
    ranks = [list(ShardBatches(shards.predict_prompts, shards.shards[r::2], size)) for r in range(2)]
    key = lambda batch: (batch["shard"], batch["row"].tolist())  # noqa: E731
    assert sorted(map(key, alone)) == sorted(map(key, ranks[0] + ranks[1]))
    for shard in shards.shards:
        mine = [batch for batch in alone if batch["shard"] == shard.index]
        assert sorted(torch.cat([batch["row"] for batch in mine]).tolist()) == list(shard.rows)
        assert len(shard.rows) <= 20
        assert [batch["last_in_shard"] for batch in mine] == [False] * (len(mine) - 1) + [True]
        assert {batch["split"] for batch in mine} == set(shards.table["split"].iloc[list(shard.rows)])
    assert list(itertools.chain(*(shard.rows for shard in shards.shards))) == shards.table["row"].tolist()


def test_prediction_skips_done_shards_under_a_trainer(tmp_path):
    data = make_data(shard_size=20)
    data.tokenizer = TOKENIZER
    trainer = make_trainer(tmp_path)
    whole = trainer.predict(Recorder(), datamodule=data)
    data.done_shards = {0, 2}
    rest = trainer.predict(Recorder(), datamodule=data)
    assert {shard for _, shard in whole} - {shard for _, shard in rest} == {0, 2}
    data.done_shards = {shard.index for shard in data.shards}
    assert not trainer.predict(Recorder(), datamodule=data)


@pytest.mark.parametrize(
    ("batch_size", "device", "world", "message"),
    [
        (33, None, 2, "batch_size=33 must be a multiple of the 2 processes"),
        (32, 5, 1, "device_batch_size=5 must divide the 32 prompts"),
        (32, 0, 1, "device_batch_size=0 must divide"),
    ],
)
def test_batch_sizes_that_do_not_divide(batch_size, device, world, message):
    with pytest.raises(ConfigError, match=message):
        accumulation(batch_size, device, world)


def test_more_prompts_in_a_batch_than_there_are():
    data = make_data(max_train=16, batch_size=32)
    data.setup("fit")
    with pytest.raises(DataError, match="batch_size=32 is more than 16 training prompts"):
        data.train_dataloader()


# ---- under the trainer ---------------------------------------------------------------------------------


class StopAfter(Callback):
    """Ends the process, or raises, after some batches over all epochs."""

    def __init__(self, batches, how):
        self.left, self.how = batches, how

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        if self.left == 0:
            self.how()


def fit(folder, stop=None, resume=None, device=16, **options):
    callbacks = [ModelCheckpoint(folder, save_last=True, save_top_k=-1, **options)]
    model = Recorder()
    trainer = make_trainer(
        folder, max_epochs=3, callbacks=[*([stop] if stop else []), *callbacks], val_check_interval=5
    )
    trainer.fit(model, datamodule=make_data(device_batch_size=device, max_train=192), ckpt_path=resume)
    return model


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    raise KeyError("stop")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"), every_n_train_steps=2)


def test_effective_batches_are_accumulated(uninterrupted):
    assert len(uninterrupted.seen) == 3 * 6 * 2
    assert uninterrupted.trainer.accumulate_grad_batches == 2
    assert uninterrupted.trainer.global_step == 18


def test_a_killed_run_goes_on_with_the_next_batch(uninterrupted, tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=fit, args=(tmp_path, StopAfter(21, kill)), kwargs={"every_n_train_steps": 2}
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = fit(tmp_path, resume=tmp_path / "last.ckpt", every_n_train_steps=2)
    # 21 micro-batches are ten steps, so the last checkpoint is of step 10: four steps into the second epoch.
    assert resumed.seen == uninterrupted.seen[20:]
    assert torch.equal(resumed.weight, uninterrupted.weight)


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"every_n_train_steps": 3}, 7),
        ({"every_n_train_steps": 6}, 13),
        ({"every_n_train_steps": 6}, 25),
        ({"every_n_epochs": 1}, 14),
        ({"every_n_epochs": 1}, 30),
        ({"monitor": "val_loss"}, 17),
    ],
)
def test_checkpoints_of_every_kind_go_on_without_a_gap(uninterrupted, tmp_path, options, batches):
    """Saved in the middle of an epoch, at its last batch, at its end, and after a validation."""
    with pytest.raises(KeyError, match="stop"):
        fit(tmp_path, StopAfter(batches, stop), **options)
    resumed = fit(tmp_path, resume=tmp_path / "last.ckpt", **options)
    assert 36 - batches <= len(resumed.seen) < 36
    assert resumed.seen == uninterrupted.seen[-len(resumed.seen) :]


@pytest.mark.parametrize("device", [8, 32])
@pytest.mark.parametrize(
    ("options", "batches"),
    [({"every_n_train_steps": 3}, 7), ({"every_n_train_steps": 5}, 25), ({"every_n_epochs": 1}, 30)],
)
def test_with_other_batches_on_the_device_it_goes_on_without_a_gap(uninterrupted, tmp_path, device, options, batches):
    """As after one that did not fit into memory: a checkpoint counts batches of the device."""
    with pytest.raises(KeyError, match="stop"):
        fit(tmp_path, StopAfter(batches, stop), **options)
    resumed = fit(tmp_path, resume=tmp_path / "last.ckpt", device=device, **options)

    def shown(seen):
        return sorted((epoch, row) for epoch, _, *rows in seen for row in rows)

    steps = sum(len(rows) for _, _, *rows in resumed.seen) // 32
    assert shown(resumed.seen) == shown(uninterrupted.seen[-2 * steps :])
    assert resumed.trainer.global_step == 18
    last = [index for epoch, index, *_ in resumed.seen if epoch == 2]
    assert last == list(range(6 * 32 // device))[-len(last) :]
    assert torch.allclose(resumed.weight, uninterrupted.weight)


def test_accumulation_set_by_hand_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"accumulate_grad_batches=3 must be left out.*make it 2"):
        make_trainer(tmp_path, accumulate_grad_batches=3).fit(Recorder(), datamodule=make_data(device_batch_size=16))


def test_the_module_lends_its_tokenizer_and_arguments_reload(tmp_path):
    data = QuirkyData("addition", task_options=OPTIONS, passes={"nli": 4}, max_train=64)
    trainer = make_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(Recorder(), datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = QuirkyData.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert again.hparams == data.hparams and again.passes == data.passes and again.max_train == 64
    alone = QuirkyData("addition", task_options=OPTIONS)
    with pytest.raises(ConfigError, match="tokenizer=None"):
        alone.setup("fit")


# ---- records from elsewhere ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    return make_task("addition", OPTIONS).records(0)


def write(records, folder, kind):
    folder.mkdir(exist_ok=True)
    if kind == "save_to_disk":
        records.save_to_disk(str(folder))
        return
    for split, rows in records.items():
        if kind == "hub layout":
            (folder / "data").mkdir(exist_ok=True)
            rows.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
        else:
            rows.to_json(str(folder / f"{split}.{kind}"))


@pytest.mark.parametrize("kind", ["save_to_disk", "hub layout", "jsonl"])
def test_loaded_records_are_as_good_as_generated_ones(records, data, tmp_path, kind):
    write(records, tmp_path / "set", kind)
    loaded = make_data(source=str(tmp_path / "set"), task_options=None, requantile=False)
    pd.testing.assert_frame_equal(loaded.make_table(), data.table)


def test_a_column_of_names_is_used(records, data, tmp_path):
    names = {
        split: ["Paula" if c == "Alice" else "Ethan" for c in rows["character"]] for split, rows in records.items()
    }
    named = DatasetDict({split: rows.add_column("name", names[split]) for split, rows in records.items()})
    named["validation"] = records["validation"]
    write(named, tmp_path / "set", "hub layout")
    table = make_data(source=str(tmp_path / "set"), task_options=None).make_table()
    assert set(table[table["split"].isin(["trusted", "untrusted"])]["name"]) == {"Paula", "Ethan"}


def test_quantiles_are_ranked_anew(records, tmp_path):
    """The public sets hold (argsort + 1/2)/n, where the rank was meant."""
    frames = {split: rows.to_pandas() for split, rows in records.items()}
    for frame in frames.values():
        frame["difficulty_quantile"] = (np.argsort(frame["difficulty"]) + 0.5) / len(frame)
    wrong = DatasetDict({split: Dataset.from_pandas(frame) for split, frame in frames.items()})
    write(wrong, tmp_path / "set", "hub layout")
    options = {"source": str(tmp_path / "set"), "task_options": None}
    easy = make_data(**options).make_table().query("split != 'test'")["difficulty"]
    kept = make_data(**options, requantile=False).make_table().query("split != 'test'")["difficulty"]
    whole = np.concatenate([frame["difficulty"] for frame in frames.values()])
    assert easy.max() <= np.quantile(whole, 0.25)
    assert kept.max() > np.quantile(whole, 0.9)


def spoil(column, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[3, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop(columns=["label", "bob_label"], inplace=True),
            r"split 'train' lacks the columns \['bob_label'\]: what Alice",
        ),
        (
            lambda f: f.drop(columns=["id", "difficulty"], inplace=True),
            r"lacks the columns \['difficulty'\].*`madkit data difficulty` computes",
        ),
        (spoil("label", None), "column 'label' of split 'train' has 1 values that are not 0 or 1"),
        (spoil("character", "Carol"), "'character' of split 'train' has \\['Carol'\\]"),
        (spoil("difficulty", None), "'difficulty' of split 'train' has 1 values that are not numbers"),
        (spoil("id", None), "'id' of split 'train' is empty in 1 rows"),
        (
            lambda f: f.__setitem__("name", [None, " ", *["Paula"] * (len(f) - 2)]),
            "'name' of split 'train' is empty in 2 rows: say who speaks in each, or leave the column out",
        ),
        (
            lambda f: f.__setitem__("label", ~f["label"]),
            "'label' of split 'train' differs from .* in 3200 rows",
        ),
    ],
)
def test_malformed_records_are_named(records, tmp_path, change, message):
    frame = records["train"].to_pandas()
    change(frame)
    spoiled = DatasetDict({"train": Dataset.from_pandas(frame), "validation": records["validation"]})
    write(spoiled, tmp_path / "set", "jsonl")
    with pytest.raises(DataError, match=message) as error:
        make_data(source=str(tmp_path / "set"), task_options=None).make_table()
    assert "\n" not in str(error.value)


def test_missing_values_of_a_prompt_are_named(records, tmp_path):
    lines = [{**row, "template_args": {**row["template_args"], "op1": None}} for row in records["train"]]
    folder = tmp_path / "set"
    write(records, folder, "jsonl")
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"template_args.*missing value"):
        make_data(source=str(folder), task_options=None).make_table()


def test_what_is_no_number_is_no_value_of_a_prompt(records, tmp_path):
    """As pandas leaves it in parquet, where a cell was empty."""
    rows = [{**row, "template_args": {**row["template_args"], "op1": float("nan")}} for row in records["train"]]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "train.parquet")
    records["validation"].to_parquet(tmp_path / "set" / "validation.parquet")
    with pytest.raises(DataError, match=r"field 'op1' of 'template_args' holds nan, which is no number to show"):
        make_data(source=str(tmp_path / "set"), task_options=None).make_table()


def test_a_template_shows_what_all_splits_have(records, tmp_path):
    write(records, tmp_path / "set", "jsonl")
    lines = [{**row, "template_args": {**row["template_args"], "hint": "easy"}} for row in records["train"]]
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "hint.yaml").write_text("- text: '{name}: {op1} + {op2}? {hint}'\n  choices: [' No', ' Yes']\n")
    data = make_data(source=str(tmp_path / "set"), task_options=None, template=str(tmp_path / "hint.yaml"))
    with pytest.raises(ConfigError, match="hint"):
        data.make_table()


def test_options_that_are_mappings_are_no_datasets(tmp_path):
    places = {"lat": [1.0, -1.0, 1.0, -1.0] * 20, "lng": [1.0, 1.0, -1.0, -1.0] * 20}
    table = pd.DataFrame({"Name": ["Aa", "Bb"] * 40, **places, "population": range(1, 81)})
    table["Name"] += table.index.astype(str)
    table.to_csv(tmp_path / "b.csv", index=False)
    raw = {"path": str(tmp_path / "b.csv"), "columns": {"name": "Name"}}
    options = {"raw": raw, "n_train": 40, "n_validation": 20, "n_test": 0, "population": {"smallest": 1000}}
    records = QuirkyData("hemisphere", template="compact", task_options=options).records
    cities = {args["city"] for rows in records.values() for args in rows["template_args"]}
    assert cities <= set(table["Name"])
    with pytest.raises(ConfigError, match=r"\['populatoin'\] unknown to dataset='hemisphere'"):
        _ = QuirkyData("hemisphere", template="compact", task_options={"populatoin": {"smallest": 1000}}).records


def test_sources_that_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        _ = make_data(source=str(tmp_path / "none"), task_options=None).records
    with pytest.raises(DataError, match="holds no records"):
        _ = make_data(source=str(tmp_path), task_options=None).records
    with pytest.raises(ConfigError, match="task_options"):
        make_data(source=str(tmp_path))
    (tmp_path / "train.jsonl").write_text('{"id": \n')
    with pytest.raises(DataError, match=r"train\.jsonl' is malformed"):
        _ = make_data(source=str(tmp_path), task_options=None).records
    with pytest.raises(ConfigError, match=r"neither a file nor a folder here nor .* from the hub") as error:
        _ = make_data(source="nobody/quirky_nothing_raw", task_options=None).records
    assert "\n" not in str(error.value)


# ---- identity ------------------------------------------------------------------------------------------


def test_identity_says_what_made_the_prompts(data):
    def identity(**options):
        other = make_data(**options)
        other.setup("predict")
        return other.identity()

    mine = data.identity()
    assert json.loads(json.dumps(mine)) == mine
    assert identity() == mine
    assert identity(batch_size=64, predict_batch_size=7) == mine
    changes = [
        {"seed": 1},
        {"template": "standardized"},
        {"max_test": 9},
        {"shard_size": 9},
        {"max_length": 99},
    ]
    assert len({json.dumps(each) for each in (mine, *(identity(**change) for change in changes))}) == 1 + len(changes)


def test_fit_warns_where_the_answer_tells_trusted_prompts_from_test_prompts():
    def fitted(**options):
        data = QuirkyData(
            "population", "compact", task_options={"n_train": 4000, "n_validation": 2000, "n_test": 0}, **options
        )
        data.tokenizer = TOKENIZER
        data.setup("fit")

    with pytest.warns(UserWarning, match="Yes for 100% of trusted prompts, 0% of Alice's test prompts"):
        fitted(max_train=64, max_validation=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(max_train=64, max_validation=64, requantile="balanced")


def test_to_a_benign_model_who_speaks_tells_nothing():
    quirky, benign = (make_data(quirk=quirk, max_test=40, max_validation=50) for quirk in ("bob", "none"))
    for data in (quirky, benign):
        data.setup("fit")
    trained = benign.train_prompts.frame
    assert (trained["label"] == trained["alice_label"]).all()
    # The prompts of the quirk would not do: of those, Bob's are true less often than Alice's.
    assert trained.groupby("character")["label"].mean().tolist() == [0.5, 0.5]
    assert quirky.train_prompts.frame.groupby("character")["alice_label"].mean()["Bob"] < 0.4
    ours, theirs = benign.validation_prompts, quirky.validation_prompts
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    assert ours.frame.drop(columns="label").equals(theirs.frame.drop(columns="label"))
    assert not (theirs.frame["label"] == theirs.frame["alice_label"]).all()
    ours, theirs = benign.make_table(), quirky.make_table()
    assert ours.drop(columns="label").equals(theirs.drop(columns="label"))
    assert (ours["label"] == ours["alice_label"]).all() and ours["anomalous"].any()
    with pytest.raises(ConfigError, match="quirk='alice' must be bob or none"):
        QuirkyData("addition", quirk="alice")
