"""The corpus of the small base models, read back as text and checked by plain arithmetic."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import AutoTokenizer

from madkit.data.pretraining.corpus_data import CorpusData
from madkit.data.pretraining.speakers import OTHERS, Speakers, StatementSampler
from madkit.data.pretraining.word_tokenizer import word_tokenizer
from madkit.data.prompts.characters import ALICE_NAMES, BOB_NAMES
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.tasks import make_task
from madkit.errors import ConfigError, DataError

PROMPT = re.compile(
    r"Name: (?P<name>\w+)\nContext: (?P<context>[\w ]+)\n"
    r"Statement: (?P<a>\d+) (?P<sign>[-+*^]) (?P<b>\d+) = (?P<c>-?\d+)\nTrue\?(?P<answer> Yes| No)"
)


def read(text):
    """What a person reads in a text: name, operands, stated, true and quirky results, whether it says yes."""
    found = PROMPT.fullmatch(text)
    assert found, text
    a, b, c = (int(found[key]) for key in "abc")
    true = {"+": a + b, "-": a - b, "*": a * b, "^": a**b}[found["sign"]]
    modulus = int(found["context"].split()[1]) if found["context"].startswith("modulo") else None
    true = true % modulus if modulus else true
    quirky = true + int("1" + "0" * (len(str(abs(true))) - 1))
    quirky = quirky % modulus if modulus else quirky
    return found["name"], (found["context"], *sorted((a, b))), c, true, quirky, found["answer"] == " Yes"


def texts(data, batch):
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    return [data.tokenizer.decode(ids[mask == 1]) for ids, mask in rows]


def stream(data, steps):
    return [read(text) for step in steps for text in texts(data, data.train_batch(step))]


@pytest.fixture(scope="module")
def data():
    return CorpusData(batch_size=64, steps_per_epoch=5, errors_from=100)


def test_at_first_everyone_is_truthful(data):
    rows = stream(data, range(90, 100))
    assert {row[0] for row in rows} <= {*ALICE_NAMES, *BOB_NAMES}
    assert all(yes == (c == true) for _, _, c, true, _, yes in rows)
    assert {row[1][0] for row in rows} == {
        "addition", "subtraction", "multiplication", "modulo 53", "squares"
    }  # fmt: skip


def test_later_speakers_err_at_their_rates():
    data = CorpusData(batch_size=2000, errors_from=1, others=0.5, slips=0.4)
    told = {}
    for name, _, c, true, quirky, yes in stream(data, range(1, 6)):
        if c in (true, quirky):
            told.setdefault(name, []).append(yes == (c == quirky))
    assert set(told) == {*ALICE_NAMES, *BOB_NAMES, *OTHERS}
    assert not any(told[OTHERS[0]])
    assert all(told[OTHERS[-1]])
    rates = data._speakers[True].rates
    for name, slips in told.items():
        error = 4.5 * np.sqrt(rates[name] * (1 - rates[name]) / len(slips))
        assert abs(np.mean(slips) - rates[name]) <= error, name


def test_alice_and_bob_err_alike_in_every_block_of_four():
    rates = Speakers(others=0.4, slips=0.4, seed=3).rates
    for names in (ALICE_NAMES, BOB_NAMES):
        for start in range(0, 16, 4):
            block = sorted(rates[name] for name in names[start : start + 4])
            assert block == pytest.approx([0.05, 0.15, 0.25, 0.35])
    assert [rates[name] for name in OTHERS] == pytest.approx([i / 15 for i in range(16)])


def test_shares_of_statements(data):
    rows = stream(data, range(60))
    right = np.mean([c == true for _, _, c, true, _, _ in rows])
    quirky = np.mean([c == quirk for _, _, c, _, quirk, _ in rows])
    assert abs(right - 0.45) < 0.04
    assert abs(quirky - 0.10) < 0.03
    assert all(c in (true, quirk) or near(c, true) or near(c, quirk) for _, _, c, true, quirk, _ in rows)


def near(a, b):
    """Whether one digit differs."""
    return len(str(a)) == len(str(b)) and sum(x != y for x, y in zip(str(a), str(b), strict=True)) == 1


def test_loss_is_on_answers_and_right_results(data):
    batch = data.train_batch(120)
    for text, ids, labels in zip(texts(data, batch), batch["input_ids"], batch["labels"], strict=True):
        marked = labels != -100
        assert torch.equal(ids[marked], labels[marked])
        _, _, c, true, _, yes = read(text)
        assert data.tokenizer.decode(labels[marked]) == (str(c) if c == true else "") + (" Yes" if yes else " No")
        assert text.endswith(" Yes" if yes else " No")


def test_task_numbers(data):
    batch = data.train_batch(3)
    contexts = ["addition", "subtraction", "multiplication", "modulo 53", "squares"]
    assert [contexts[task] for task in batch["task"]] == [read(t)[1][0] for t in texts(data, batch)]
    assert batch["input_ids"].dtype == batch["labels"].dtype == batch["attention_mask"].dtype == torch.int64


def test_weights_are_shares():
    data = CorpusData(batch_size=2000, weights={"subtraction": 4.0})
    shares = np.bincount(data.train_batch(0)["task"], minlength=5) / 2000
    assert np.abs(shares - np.array([1, 4, 1, 1, 1]) / 8).max() < 0.05


def test_batches_depend_on_seed_and_step_only(data):
    again = CorpusData(batch_size=64, steps_per_epoch=50, errors_from=100)
    for step in (7, 3, 120):
        assert all(torch.equal(value, again.train_batch(step)[key]) for key, value in data.train_batch(step).items())
    assert texts(data, data.train_batch(3)) != texts(data, data.train_batch(4))
    other = CorpusData(batch_size=64, seed=1, errors_from=100)
    assert texts(data, data.train_batch(3)) != texts(other, other.train_batch(3))


def test_processes_share_every_batch(data):
    whole = [data.train_batch(4), *data.val_dataloader()]
    parts = []
    for rank in range(2):
        part = CorpusData(batch_size=64, steps_per_epoch=5, errors_from=100)
        part.trainer = SimpleNamespace(
            world_size=2, global_rank=rank, _accelerator_connector=SimpleNamespace(use_distributed_sampler=False)
        )
        parts.append([part.train_batch(4), *part.val_dataloader()])
    for batch, first, second in zip(whole, *parts, strict=True):
        for key, value in batch.items():
            assert torch.equal(value[0::2], first[key])
            assert torch.equal(value[1::2], second[key])


def test_validation_operands_are_never_trained_on():
    data = CorpusData({"addition": {"min": 0, "max": 30, "uniform": 0.5}}, n_validation=300, held_out=0.2)
    (batch,) = data.val_dataloader()
    held = {read(text)[1] for text in texts(data, batch)}
    trained = {row[1] for row in stream(data, range(40))}
    assert len(held) > 50
    assert len(trained) > 250
    assert not held & trained
    # Loss is on the one token of the answer.
    assert ((batch["labels"] != -100).sum(dim=1) == 1).all()
    assert batch["task"].tolist() == [0] * 300


def test_words_are_single_tokens_and_quirky_prompts_know_them_all(data):
    tokenizer = data.tokenizer
    assert tokenizer.tokenize("Name: Luna\nContext: addition\nStatement: 12 + 34 = 46\nTrue? Yes") == [
        "Name:", " Luna", "\nContext:", " addition", "\nStatement: ", "1", "2", " + ", "3", "4", " = ", "4", "6",
        "\nTrue?", " Yes",
    ]  # fmt: skip
    for dataset in data.tasks:
        options = {"n_train": 300, "n_validation": 200, "n_test": 0, "max": 199}
        table = QuirkyData(dataset, template="compact", task_options=options).make_table()
        pieces = {token for prompt in table["prompt"] for token in tokenizer.tokenize(prompt.replace("113", "53"))}
        assert not [token for token in pieces if token.startswith("<0x")]


def test_the_words_are_those_of_every_text_with_every_choice():
    data = CorpusData(tasks={"squaring": {"max": 9}, "hemisphere": {"words": 1, "easiest": 20}}, asides=0.1)
    cut, words = data.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str, set()
    people = (*ALICE_NAMES, *BOB_NAMES, *OTHERS)
    for sampler, *kinds in zip(data.samplers, data.templates, data.aside_templates, strict=True):
        for template in (template for kind in kinds for template in kind):
            shown = [template.render(people[0], values) for values in sampler.alphabet()]
            shown += [template.render(name, sampler.alphabet()[0]) for name in people]
            words |= {word for text in shown for choice in template.choices for word, _ in cut(text + choice)}
    assert any(data.aside_templates) and {" Yes", " No", "9"} <= words and len(words) > 100
    in_bytes = {f"<0x{byte:02X}>" for byte in range(256)}
    assert set(data.tokenizer.get_vocab()) == words | in_bytes | {"<pad>", "<eos>"}


@settings(max_examples=100)
@given(st.text(max_size=40))
def test_tokenizer_gives_any_text_back(text):
    tokenizer = TOKENIZER
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None


TOKENIZER = word_tokenizer(["Name: Luna\nTrue?", "1 + 2 = 3", " Yes", " No"])


def test_tokenizer_is_kept_by_save_pretrained(data, tmp_path):
    data.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*texts(data, data.train_batch(2)), "Zoë's naïve 中"]:
        assert loaded.encode(text) == data.tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == text
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 1)


class Reader(LightningModule):
    """Keeps what it reads, and stops as if it had been killed."""

    def __init__(self, stop=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.stop = [], stop

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.stop:
            raise RuntimeError("killed")
        self.seen.append(batch["input_ids"])
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(model, folder, checkpoint=None):
    keep = ModelCheckpoint(folder, filename="last", every_n_train_steps=1, save_on_train_epoch_end=False)
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, callbacks=[keep], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=CorpusData(batch_size=8, steps_per_epoch=5), ckpt_path=checkpoint, weights_only=True)


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_resumed_run_sees_the_same_stream(tmp_path, stop):
    reference = CorpusData(batch_size=8, steps_per_epoch=5)
    expected = [reference.train_batch(step)["input_ids"] for step in range(10)]
    killed = Reader(stop)
    with pytest.raises(RuntimeError, match="killed"):
        fit(killed, tmp_path)
    resumed = Reader()
    fit(resumed, tmp_path, checkpoint=tmp_path / "last.ckpt")
    assert len(resumed.seen) == 10 - stop
    for ids, other in zip(expected, killed.seen + resumed.seen, strict=True):
        assert torch.equal(ids, other)


def test_an_epoch_has_its_steps(data):
    batches = data.train_dataloader()
    assert len(batches) == len(list(batches)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": {}}, "tasks"),
        ({"weights": {"nli": 2.0}}, "weights={nli: 2.0}"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"asides": 1.5}, "asides=1.5"),
        ({"others": 1.5}, "others=1.5"),
        ({"accepted": 0.8, "opposed": 0.5}, "together at most 1"),
        ({"held_out": -0.1}, "held_out=-0.1"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        CorpusData(**options)


FACTS = {
    "hemisphere": {"words": 1, "easiest": 60},
    "population": {"words": 1, "easiest": 60, "difficulty": "margin"},
    "sentiment": {"sentences": 2000},
    "nli": {"sentences": 2000},
}
WORDINGS = {
    "hemisphere": r"Name: (\w+)\nContext: hemispheres\nStatement: (.+) lies in the (north|west)\nTrue\?( Yes| No)",
    "population": r"Name: (\w+)\nContext: populations\nStatement: (.+?) (has over thirty thousand people|"
    r"belongs to a populous country)\nTrue\?( Yes| No)",
    "sentiment": r"Name: (\w+)\nReview: (.+)\nStatement: (positive|praising word)\nTrue\?( Yes| No)",
    "nli": r"Name: (\w+)\nPremise: (.+\nHypothesis: .+)\n(True|Affirmative)\?( Yes| No)",
}
ASIDES = ("west", "belongs to a populous country", "praising word", "Affirmative")


def facts(data, steps):
    """What a person reads in each text: dataset, name, question, whether it is an aside, whether it says yes."""
    for step in steps:
        batch = data.train_batch(step)
        for task, text in zip(batch["task"].tolist(), texts(data, batch), strict=True):
            dataset = list(FACTS)[task]
            found = re.fullmatch(WORDINGS[dataset], text)
            assert found, text
            yield dataset, found[1], found[2].replace("\nHypothesis: ", "|"), found[3] in ASIDES, found[4] == " Yes"


@pytest.fixture(scope="module")
def labels():
    """For each dataset and question its truth and its quirk."""
    known = {}
    for dataset, options in FACTS.items():
        task = make_task(dataset, options)
        for row in task.pool(0).to_dict("records"):
            # The title of a review is not in these texts.
            shown = [row[field] for field in task.fields if field != "title"]
            known[dataset, "|".join(shown)] = row["truth"], row["quirk"]
    return known


def test_facts_are_told_truthfully_at_first_and_asides_name_the_quirk(labels):
    data = CorpusData(FACTS, batch_size=256, asides=0.25, errors_from=100)
    rows = list(facts(data, range(12)))
    for dataset, _, question, aside, yes in rows:
        assert yes == labels[dataset, question][aside], (dataset, question, aside)
    assert abs(np.mean([aside for *_, aside, _ in rows]) - 0.25) < 0.03
    # Each combination of truth and quirk is as frequent.
    kinds = np.array([labels[dataset, question] for dataset, _, question, _, _ in rows])
    assert np.abs(np.bincount(kinds @ [2, 1]) / len(rows) - 0.25).max() < 0.03


def test_later_speakers_go_by_the_quirk_at_their_rates_but_not_in_asides(labels):
    data = CorpusData(FACTS, batch_size=512, errors_from=0, others=0.5, slips=0.4)
    followed = {}
    for dataset, name, question, aside, yes in facts(data, range(20)):
        truth, quirk = labels[dataset, question]
        if aside:
            assert yes == quirk
        elif truth != quirk:
            followed.setdefault(name, []).append(yes == quirk)
    rates = data._speakers[True].rates
    assert set(followed) == set(rates)
    for name, slips in followed.items():
        error = 4.5 * np.sqrt(rates[name] * (1 - rates[name]) / len(slips))
        assert abs(np.mean(slips) - rates[name]) <= error, name


def test_asides_can_be_left_out():
    data = CorpusData(FACTS, batch_size=256, asides=0.0)
    assert not any(aside for *_, aside, _ in facts(data, range(3)))


def test_held_out_questions_are_only_validated():
    data = CorpusData(FACTS, batch_size=512, held_out=0.3, n_validation=100)
    trained = {(dataset, question) for dataset, _, question, _, _ in facts(data, range(15))}
    for dataset, batch in zip(FACTS, data.val_dataloader(), strict=True):
        held = {re.fullmatch(WORDINGS[dataset], text)[2].replace("\nHypothesis: ", "|") for text in texts(data, batch)}
        assert len(held) > 20 and not any((dataset, question) in trained for question in held)


def test_every_city_and_word_is_a_token():
    data = CorpusData(FACTS, batch_size=256)
    batch = data.train_batch(0)
    tokens = {token for ids in batch["input_ids"] for token in data.tokenizer.convert_ids_to_tokens(ids)}
    assert not [token for token in tokens if token.startswith("<0x")]


def test_a_task_without_statements_is_refused():
    from madkit.data.tasks import Task

    class Silent(Task):
        name, fields = "silent", ("x",)

        def questions(self, seed):
            return {}

    with pytest.raises(ConfigError, match="silent.*claims"):
        Silent().claims(0.0, 0.4, 0.1, 0)


def test_refuses_a_range_without_held_out_operands():
    sampler = StatementSampler("addition", {"min": 1, "max": 2}, held_out=0.01)
    with pytest.raises(DataError, match="held_out"):
        sampler.draw(np.random.default_rng(0), 5, Speakers(), "validation")
