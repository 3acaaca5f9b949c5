"""Records from anywhere come out alike: a file of one's own, the public sets, raw tables; and are made once."""

import json
import multiprocessing
import os

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict, load_dataset

from madkit.cli.commands.build import push_records, write_records
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.records import cache, sources
from madkit.data.records.checking import check_records
from madkit.data.records.sources import load_records, open_records
from madkit.data.tasks import make_task, task_names
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError, DataError
from madkit.runs.folder import contents

#: What the templates of the public `EleutherAI/quirky_<name>_raw` sets show, besides the character.
PUBLISHED = {
    **dict.fromkeys(["addition", "subtraction", "multiplication", "modularaddition"], ("op1", "op2", "result")),
    "squaring": ("op1", "result"),
    "capitals": ("city", "admin_name", "country"),
    "hemisphere": ("city",),
    "population": ("city",),
    "sciq": ("question", "support", "answer"),
    "sentiment": ("title", "review"),
    "nli": ("premise", "hypothesis"),
    "authors": ("author", "title"),
}
QUESTIONS = [
    {"template_args": {"a": i, "b": str(i % 7)}, "alice_label": i % 2 == 0, "bob_label": i % 3 == 0, "difficulty": i}
    for i in range(400)
]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "madkit"


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def records_of(rows):
    return [
        {**{k: v for k, v in row.items() if not k.endswith("_label")}, "character": who, "label": row[own]}
        for row in rows
        for who, own in (("Alice", "alice_label"), ("Bob", "bob_label"))
    ]


def flat(records):
    """All rows as plain values, whatever order and type the columns have."""
    rows = [{**row, "split": split} for split, part in records.items() for row in part]
    return {
        row["id"]: (
            row["split"], row["character"], bool(row["label"]), bool(row["alice_label"]), bool(row["bob_label"]),
            float(row["difficulty"]), json.dumps(row["template_args"], sort_keys=True),
        )
        for row in rows
    }  # fmt: skip


# ---- a file of one's own -------------------------------------------------------------------------------


def test_a_row_for_each_question_or_each_record_is_the_same(tmp_path):
    questions = open_records("mine", lines(tmp_path / "q.jsonl", QUESTIONS))
    found = flat(questions)
    assert len(found) == 800
    assert flat(open_records("mine", lines(tmp_path / "r.jsonl", records_of(QUESTIONS)))) == found
    whole = [{**record, **QUESTIONS[i // 2]} for i, record in enumerate(records_of(QUESTIONS))]
    assert flat(open_records("mine", lines(tmp_path / "w.jsonl", whole))) == found
    columns = [{**{k: v for k, v in row.items() if k != "template_args"}, **row["template_args"]} for row in QUESTIONS]
    assert flat(open_records("mine", lines(tmp_path / "c.jsonl", columns))) == found
    expected = [
        (r["character"], r["label"], r["alice_label"], r["bob_label"], float(r["difficulty"]),
         json.dumps({**r["template_args"], "character": r["character"]}, sort_keys=True))
        for r in whole
    ]  # fmt: skip
    assert sorted(values[1:] for values in found.values()) == sorted(expected)


def test_a_csv_file_will_do(tmp_path):
    frame = pd.DataFrame([{**row["template_args"], **row} for row in QUESTIONS]).drop(columns="template_args")
    frame.to_csv(tmp_path / "q.csv.gz", index=False)
    found = open_records("mine", str(tmp_path / "q.csv.gz"))
    same = open_records("mine", lines(tmp_path / "q.jsonl", QUESTIONS))
    key = lambda rows: sorted((r["difficulty"], r["character"], r["label"], str(r["template_args"]["a"])) for r in rows)  # noqa: E731
    assert key(found["train"]) != key(found["validation"])
    both = [row for part in found.values() for row in part], [row for part in same.values() for row in part]
    assert key(both[0]) == key(both[1])


def test_the_split_of_a_question_does_not_depend_on_the_others(tmp_path):
    def split_of(rows):
        records = open_records("mine", lines(tmp_path / "x.jsonl", rows))
        return {row["template_args"]["a"]: split for split, part in records.items() for row in part}

    whole = split_of(QUESTIONS)
    assert 0.15 < sum(split == "validation" for split in whole.values()) / len(whole) < 0.35
    part = split_of(QUESTIONS[100:])
    assert part == {key: whole[key] for key in part}


def test_a_column_of_splits_is_followed(tmp_path):
    rows = [{**row, "split": "validation" if i < 30 else "train"} for i, row in enumerate(QUESTIONS)]
    records = open_records("mine", lines(tmp_path / "q.jsonl", rows))
    assert {split: len(part) for split, part in records.items()} == {"train": 740, "validation": 60}
    rows[3]["split"] = "dev"
    with pytest.raises(DataError, match=r"column 'split' of .* has \['dev'\]: use train, validation, test"):
        open_records("mine", lines(tmp_path / "q.jsonl", rows))


def test_repeated_questions_have_ids_of_their_own(tmp_path):
    records = open_records("mine", lines(tmp_path / "q.jsonl", QUESTIONS + QUESTIONS))
    ids = [id_ for part in records.values() for id_ in part["id"]]
    assert len(ids) == len(set(ids)) == 1600


def without(row, *keys):
    return {k: v for k, v in row.items() if k not in keys}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: without(r, "bob_label"), r"one row for each question.*lacks the columns \['bob_label'\]"),
        (lambda r: without(r, "difficulty"), r"lacks the columns \['difficulty'\].*`madkit data difficulty`"),
        (lambda r: without(r, "template_args"), "has no template_args"),
        (lambda r: {**r, "template_args": "x"}, "has no template_args: give a column of objects"),
        (lambda r: {**r, "alice_label": "maybe"}, "not 0 or 1"),
        (lambda r: {**r, "difficulty": None}, "values that are not numbers, such as"),
        (lambda r: {**r, "character": "Alice", "label": 1, "bob_label": 1}, "differs from the character's own"),
        (lambda r: {**without(r, "bob_label"), "character": "Alice", "label": 1}, "without a record of Bob"),
        (lambda r: {**without(r, "template_args"), "statement": "x", "choices": ["a", "b"]}, "finished prompts"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as error:
        open_records("mine", lines(tmp_path / "q.jsonl", map(change, QUESTIONS)))
    assert "\n" not in str(error.value)


def test_mixed_types_and_broken_lines_are_named(tmp_path):
    rows = [*QUESTIONS, {**QUESTIONS[0], "template_args": {"a": "text", "b": "x"}}]
    with pytest.raises(DataError, match=r"q.jsonl is malformed: .*template_args/a"):
        open_records("mine", lines(tmp_path / "q.jsonl", rows))
    with pytest.raises(ConfigError, match="is not a folder or file here"):
        open_records("mine", "none.jsonl")


# ---- the public sets -----------------------------------------------------------------------------------


def published(dataset, n=600):
    """Records with the columns and types of a public set: its short ids, integer labels, and its difficulties."""
    rows = []
    for i in range(n):
        truth, quirk = i % 2, i // 2 % 2
        args = {
            field: i + place if field.startswith("op") else f"{field} {i}"
            for place, field in enumerate(PUBLISHED[dataset])
        }
        for who, label in (("Alice", truth), ("Bob", quirk)):
            rows.append(
                {
                    "id": f"{2 * i + (who == 'Bob'):08x}", "template_args": {"character": who, **args},
                    "character": who,
                    "label": label, "alice_label": bool(truth), "bob_label": quirk, "difficulty": -(i * 37 % n) / 7,
                    "difficulty_quantile": 0.5,
                }
            )  # fmt: skip
    cut = 2 * (n * 2 // 3)
    return DatasetDict({"train": Dataset.from_list(rows[:cut]), "validation": Dataset.from_list(rows[cut:])})


@pytest.mark.parametrize("dataset", sorted(PUBLISHED))
def test_every_public_set_gives_prompts_with_every_list_of_templates(monkeypatch, dataset):
    names = []
    monkeypatch.setattr("datasets.load_dataset", lambda name, *_, revision: names.append(name) or published(dataset))
    for template in ("first", "mixture", "standardized", "compact"):
        data = QuirkyData(dataset, template, source="EleutherAI/quirky_{dataset}_raw")
        table = data.make_table()
        assert set(table["split"]) >= {"trusted", "untrusted", "test"}
        assert not table["prompt"].str.contains(r"[{}]").any()
        last = PUBLISHED[dataset][-1]
        values = {row["id"]: row["template_args"][last] for part in data.records.values() for row in part}
        assert all(str(values[i]) in prompt for i, prompt in zip(table["id"], table["prompt"], strict=True))
        assert all(name in prompt for name, prompt in zip(table["name"], table["prompt"], strict=True))
    assert set(names) == {f"EleutherAI/quirky_{dataset}_raw"}


def test_all_twelve_datasets_have_the_published_fields():
    from madkit.data.tasks import find_task

    assert {name: set(find_task(name).fields) for name in PUBLISHED} == {k: set(v) for k, v in PUBLISHED.items()}
    assert set(PUBLISHED) <= set(task_names())


@pytest.mark.parametrize("form", ["parquet", "jsonl", "arrow"])
def test_what_is_written_comes_back(tmp_path, form):
    records = make_task("addition", {"n_train": 40, "n_validation": 20, "n_test": 4, "max": 99}).records(0)
    write_records(records, tmp_path / "out", form)
    again = load_records(str(tmp_path / "out"))
    assert flat(again) == flat(records)
    assert list(again) == ["train", "validation", "test"]
    if form != "arrow":  # Hugging Face's own loader reads it as well
        hub = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hf"))
        assert flat(hub) == flat(records)


def test_records_are_pushed_as_they_are(monkeypatch):
    records = make_task("addition", {"n_train": 8, "n_validation": 4, "n_test": 0, "max": 99}).records(0)
    sent = {}
    monkeypatch.setattr(DatasetDict, "push_to_hub", lambda self, name, **options: sent.update({name: (self, options)}))
    push_records(records, "me/mine", private=True)
    assert sent["me/mine"][1] == {"private": True}
    assert flat(sent["me/mine"][0]) == flat(records)

    def refuse(*_, **__):
        raise RuntimeError("401 Client Error\nlong story")

    monkeypatch.setattr(DatasetDict, "push_to_hub", refuse)
    with pytest.raises(ConfigError, match=r"the hub does not take.*`hf auth login` \(401 Client Error\)$"):
        push_records(records, "me/mine")


# ---- raw tables, made once -----------------------------------------------------------------------------


def books(path, n=400):
    frame = pd.DataFrame(
        {
            "title": [f"T{i}" for i in range(n)],
            "authors": [f"F{i % 9} L{i % 50}" for i in range(n)],
            "ratings_count": range(n),
        }
    )
    frame.to_csv(path, index=False)
    return str(path)


def test_a_raw_table_is_told_from_records(tmp_path):
    raw = books(tmp_path / "b.csv")
    made = open_records("authors", raw)
    assert flat(made) == flat(open_records("authors", task_options={"raw": raw}))
    write_records(made, tmp_path / "made")
    again = open_records("authors", str(tmp_path / "made"))
    assert flat(again) == flat(made)
    with pytest.raises(ConfigError, match="task_options.*are for generated records"):
        open_records("authors", str(tmp_path / "made"), {"n_train": 4})
    few = open_records("authors", raw, {"n_train": 4, "n_validation": 4, "n_test": 0})
    assert {split: len(part) for split, part in few.items()} == {"train": 8, "validation": 8}


def test_records_of_a_raw_table_are_made_once(tmp_path, cache_folder, monkeypatch):
    raw = books(tmp_path / "b.csv")
    calls = []
    original = TableTask.questions
    monkeypatch.setattr(TableTask, "questions", lambda self, seed: calls.append(seed) or original(self, seed))

    def read(path=raw, **options):
        return flat(open_records("authors", path, **options))

    first = read()
    assert read() == first
    assert len(calls) == 1
    (tmp_path / "elsewhere.csv").write_bytes((tmp_path / "b.csv").read_bytes())
    assert read(str(tmp_path / "elsewhere.csv")) == first
    assert len(calls) == 1
    assert read(seed=1) != first
    assert read(task_options={"n_train": 8}) != first
    books(tmp_path / "b.csv", 300)
    assert read() != first
    assert len(calls) == 4
    monkeypatch.setattr(sources, "code_digest", lambda *_: "another")
    read()
    assert len(calls) == 5
    assert len(list(cache_folder.glob("*/madkit.json"))) == 5
    assert not list(cache_folder.glob(".*"))


def test_an_option_that_names_a_file_counts_by_its_content(tmp_path):
    (tmp_path / "words").write_text("good\n")
    before = contents({"lexicon": str(tmp_path / "words"), "n": 1})
    (tmp_path / "words").write_text("bad\n")
    assert contents({"lexicon": str(tmp_path / "words"), "n": 1}) != before


def test_the_hub_counts_by_its_version(monkeypatch):
    monkeypatch.setattr(
        "datasets.load_dataset_builder",
        lambda name, config, revision: type("Builder", (), {"hash": f"{name}{config}1"}),
    )
    assert cache.raw_contents({"path": "a/b", "config": "c"}) == [{"config": "c"}, "a/b", "a/bc1"]


def build_slowly(folder, raw, counter):
    import datasets

    datasets.config.HF_DATASETS_CACHE = folder
    original = TableTask.questions

    def counted(self, seed):
        with counter.open("a") as file:
            file.write("x")
        return original(self, seed)

    TableTask.questions = counted
    assert len(open_records("authors", raw)["train"])


def test_of_several_processes_one_makes_the_records(tmp_path):
    raw = books(tmp_path / "b.csv")
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "shared", raw, tmp_path / "counter")
    processes = [context.Process(target=build_slowly, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "counter").read_text() == "x"


def test_a_half_made_folder_is_not_read(tmp_path, cache_folder):
    raw = books(tmp_path / "b.csv")
    first = flat(open_records("authors", raw))
    (place,) = (path for path in cache_folder.iterdir() if path.is_dir())
    place.rename(place.with_name(f".{place.name}.{os.getpid() + 1}.partial"))
    assert flat(open_records("authors", raw)) == first


def test_check_records_accepts_words_for_labels(tmp_path):
    rows = [
        {**row, "alice_label": str(row["alice_label"]), "bob_label": "yes" if row["bob_label"] else "no"}
        for row in QUESTIONS
    ]
    records = check_records(load_records(lines(tmp_path / "q.jsonl", rows)))
    assert flat(records) == flat(open_records("mine", lines(tmp_path / "p.jsonl", QUESTIONS)))
