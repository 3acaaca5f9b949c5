"""Files that other programs wrote are read to the last digit, or one line says what is wrong with them."""

import gzip
import json
import math

import pandas as pd
import pytest

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.records.sources import load_records, open_records
from madkit.errors import ConfigError, DataError, MadkitError

TEMPLATE = "template: |-\n  {name}: für {a}, {b}. True?\nchoices: [' No', ' Yes']\n"


def questions(make_a=lambda i: i, make_b=lambda i: i % 7, n=120):
    return [
        {
            "template_args": {"a": make_a(i), "b": make_b(i)}, "alice_label": i % 2 == 0, "bob_label": i % 3 == 0,
            "difficulty": i,
        }
        for i in range(n)
    ]  # fmt: skip


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def save(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


def prompts(tmp_path, source):
    """The prompts with their names cut off, by difficulty."""
    template = save(tmp_path / "t.yaml", TEMPLATE)
    records = QuirkyData("mine", template, source=source).records
    rows = [(row["difficulty"], row["template_args"]) for part in records.values() for row in part]
    return {difficulty: f"{args['a']}, {args['b']}" for difficulty, args in rows}


def by_columns(rows):
    return pd.DataFrame([{**row["template_args"], **row} for row in rows]).drop(columns="template_args")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path, suffix):
    rows = questions()
    contents = {
        ".jsonl": lines(rows), ".json": json.dumps(rows), ".csv": by_columns(rows).to_csv(index=False),
        ".tsv": by_columns(rows).to_csv(index=False, sep="\t"), ".jsonl.gz": lines(rows),
    }  # fmt: skip
    content = contents[suffix].encode("utf-8-sig")
    source = save(tmp_path / f"q{suffix}", gzip.compress(content) if suffix.endswith(".gz") else content)
    template = save(tmp_path / "t.yaml", TEMPLATE, "utf-8-sig")
    table = QuirkyData("mine", template, source=source).make_table()
    assert table["prompt"].str.contains(": für ").all()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".yaml"])
def test_another_encoding_is_named_with_file_line_and_way_out(tmp_path, encoding, suffix):
    rows = questions(lambda i: f"Zürich{i}")
    contents = {
        ".jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        ".json": json.dumps(rows, ensure_ascii=False, indent=1), ".csv": by_columns(rows).to_csv(index=False),
        ".yaml": TEMPLATE,
    }  # fmt: skip
    file = save(tmp_path / f"q{suffix}", contents[suffix], encoding)
    source = save(tmp_path / "good.jsonl", lines(rows)) if suffix == ".yaml" else file
    template = file if suffix == ".yaml" else save(tmp_path / "t.yaml", TEMPLATE)
    with pytest.raises(MadkitError, match=rf"q{suffix}' is not utf-8 \((it looks like|.* in line \d+).*`iconv -f"):
        QuirkyData("mine", template, source=source).make_table()


BIG = 3**40


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda i: BIG + i,
        lambda i: -BIG - i,
        lambda i: 2**63 - 60 + i,
        lambda i: 10**30 * (i == 7) + i,
        lambda i: i if i % 2 else i + 0.5,
    ],
)
def test_prompts_show_all_digits_of_numbers(tmp_path, make, split):
    rows = [{**row, **({"split": "train" if i % 4 else "validation"} if split else {})} for i, row in
            enumerate(questions(make, lambda i: 7 * make(i)))]  # fmt: skip
    expected = {i: f"{make(i)}, {7 * make(i)}" for i in range(120)}
    assert prompts(tmp_path, save(tmp_path / "q.jsonl", lines(rows))) == expected
    assert prompts(tmp_path, save(tmp_path / "q.json", json.dumps(rows))) == expected
    flat = [{**row["template_args"], **row} for row in rows]
    for row in flat:
        del row["template_args"]
    assert prompts(tmp_path, save(tmp_path / "f.jsonl", lines(flat))) == expected


def test_numbers_with_more_digits_than_a_float_stay_as_they_are_written(tmp_path):
    text = lines(questions(lambda i: f"#{i}#")).replace('"#', "0.1234567890123456789").replace('#"', "")
    shown = prompts(tmp_path, save(tmp_path / "q.jsonl", text))
    assert shown[5] == "0.12345678901234567895, 5"
    ordinary = prompts(tmp_path, save(tmp_path / "o.jsonl", lines(questions(lambda i: i / 7))))
    assert ordinary[5] == f"{5 / 7}, 5"
    assert prompts(tmp_path, save(tmp_path / "d.jsonl", lines(questions(lambda i: "2020-01-01"))))[5] == "2020-01-01, 5"


def test_one_large_number_in_a_file_of_several(tmp_path):
    rows = questions(lambda i: BIG if i == 100 else i)
    (tmp_path / "f").mkdir()
    save(tmp_path / "f" / "a.jsonl", lines(rows[:60]))
    save(tmp_path / "f" / "b.jsonl", lines(rows[60:]))
    shown = prompts(tmp_path, str(tmp_path / "f"))
    assert (shown[3], shown[100], len(shown)) == ("3, 3", f"{BIG}, 2", 120)


def test_large_ids_and_difficulties(tmp_path):
    rows = [{**row, "id": BIG + i, "difficulty": BIG * (1 + i)} for i, row in enumerate(questions())]
    records = open_records("mine", save(tmp_path / "q.jsonl", lines(rows)))
    found = [row for part in records.values() for row in part]
    assert {row["id"] for row in found} == {f"{BIG + i}-{who}" for i in range(120) for who in ("alice", "bob")}
    assert all(math.isclose(row["difficulty"], BIG * (1 + row["template_args"]["a"])) for row in found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", lambda r: lines(questions(lambda i: [BIG])), f"{BIG} within a list or an object"),
        ("q.jsonl", lambda r: lines(questions(lambda i: {"x": BIG})), f"{BIG} within a list or an object"),
        ("q.jsonl", lambda r: lines(questions(lambda i: math.nan)), "template_args.a' has NaN or infinite"),
        ("q.jsonl", lambda r: lines(r).replace('"a": 5,', '"a": Infinity,'), "template_args.a' has NaN or infinite"),
        ("q.jsonl", lambda r: lines(questions(lambda i: "x" if i == 3 else i)), "holds text and"),
        ("q.jsonl", lambda r: lines([{**row, "difficulty": math.inf} for row in r]), "not numbers, such as 'inf'"),
        ("q.jsonl", lambda r: lines([{**row, "alice_label": BIG} for row in r]), "not 0 or 1, such as"),
        ("q.jsonl", lambda r: lines([{**row, "alice_label": None} for row in r]), "not 0 or 1, such as an empty"),
        ("q.jsonl", lambda r: lines([{**row, "alice_label": "T"} for row in r]), "not 0 or 1, such as 'T'"),
        ("q.jsonl", lambda r: lines([{**row, "difficulty": "1,000"} for row in r]), "not numbers, such as '1,000'"),
        ("q.jsonl", lambda r: lines(r)[:-30], r"q.jsonl' is malformed: line 120 is not JSON .*the file ends within it"),
        ("q.jsonl", lambda r: lines(r).replace('"b"', '"a"'), "line 1 is not JSON .*'a' occurs twice"),
        ("q.jsonl", lambda r: "", "q.jsonl' is empty"),
        ("q.csv", lambda r: "", "is malformed: No columns"),
        ("q.csv", lambda r: "a,alice_label,bob_label,difficulty\n", "holds no rows"),
        ("q.csv", lambda r: "a,alice_label,bob_label,difficulty,split\n", "holds no rows"),
        ("q.json", lambda r: "[]", "its list is empty"),
        ("q.jsonl", lambda r: "[" * 100_000, "is not JSON"),
        ("q.jsonl", lambda r: "[1, 2]\n[3, 4]\n", "must be an object.*line 1 is a list"),
        ("q.json", lambda r: json.dumps({"data": r}), "single object whose 'data' is a list of 120 rows"),
        ("q.json", lambda r: json.dumps({"data": r}, indent=1), "single object whose 'data' is a list of 120 rows"),
        ("q.jsonl", lambda r: json.dumps({"version": 1, "rows": r}), "whose 'rows' is a list of 120 rows"),
        ("q.json", lambda r: by_columns(r).to_json(), r"single object with the keys \['a', 'b', 'alice_label'"),
        ("q.json", lambda r: json.dumps({"a": 1}, indent=1), r"single object with the keys \['a'\]"),
        ("q.csv", lambda r: by_columns(r).to_csv(sep=";", index=False), "separated by semicolons.*with commas"),
        ("q.csv", lambda r: by_columns(r).to_csv(sep="\t", index=False), "separated by tabulators.*call it .tsv"),
        ("q.tsv", lambda r: by_columns(r).to_csv(index=False), "separated by commas.*with tabulators"),
        ("q.csv", lambda r: by_columns(r).to_csv(index=False).replace("b", "a", 1), r"the columns \['a'\] more than"),
        ("q.csv", lambda r: by_columns(r).to_csv().removeprefix(","), "more cells than its header names"),
        ("q.csv", lambda r: by_columns(r).to_csv(columns=["a", "b"]), r"lacks the columns.*it has \['.*', 'a', 'b'\]"),
        ("q.jsonl", lambda r: lines([{**row, "id": "q"} for row in r]), "238 of 240 records have the id of another"),
        ("q.parquet", lambda r: "PAR1 no", "q.parquet.* malformed"),
        ("q.jsonl.gz", lambda r: gzip.compress(lines(r).encode())[:200], "q.jsonl.gz' is damaged"),
        ("q.csv.gz", lambda r: b"no gzip", "q.csv.gz' is damaged"),
        ("q.csv.gz", lambda r: gzip.compress(by_columns(r).to_csv().encode())[:-20], "q.csv.gz' is damaged"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, name, content, message):
    source = save(tmp_path / name, content(questions()))
    with pytest.raises((DataError, ConfigError), match=message) as error:
        open_records("mine", source)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("yes", "No "), ("1", "0"), ("1.0", "0.0"), (" True", "false")])
def test_labels_in_many_words(tmp_path, words):
    rows = [{**row, "alice_label": words[not row["alice_label"]]} for row in questions()]
    for source in (save(tmp_path / "q.jsonl", lines(rows)), save(tmp_path / "q.csv", by_columns(rows).to_csv())):
        records = open_records("mine", source)
        found = {row["difficulty"]: row["alice_label"] for part in records.values() for row in part}
        assert found == {i: i % 2 == 0 for i in range(120)}


def test_values_of_several_kinds_where_no_template_shows_them(tmp_path):
    rows = [{**row, "note": [BIG, "x", None][i % 3], "alice_label": [1, "yes", True][i % 3]}
            for i, row in enumerate(questions())]  # fmt: skip
    records = load_records(save(tmp_path / "q.jsonl", lines(rows)))
    assert all(label == 1 for part in records.values() for label in part["alice_label"])


# ---- records that contradict one another ---------------------------------------------------------------


def quirky(tmp_path, rows):
    return QuirkyData("mine", save(tmp_path / "t.yaml", TEMPLATE), source=save(tmp_path / "q.jsonl", lines(rows)))


def report(data):
    from madkit.data.records.consistency import find_inconsistencies, report_inconsistencies

    report_inconsistencies(data.records, data.templates[0].fields)
    return find_inconsistencies(data.records, data.templates[0].fields)


def test_sound_records_are_not_reported(tmp_path, recwarn):
    assert report(quirky(tmp_path, questions())) == []
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


@pytest.mark.parametrize("column", ["alice_label", "bob_label"])
def test_many_questions_with_two_answers_are_refused_and_few_are_told(tmp_path, column):
    rows = questions(n=400)
    # The same to a template, which shows neither `c` nor the type.
    other = [{**row, "template_args": {"a": str(row["template_args"]["a"]), "b": row["template_args"]["b"], "c": 1},
              column: not row[column]} for row in rows]  # fmt: skip
    rows = [{**row, "template_args": {**row["template_args"], "a": str(row["template_args"]["a"])}} for row in rows]
    with pytest.raises(DataError, match=f"300 of 400 questions have two answers, as '{column}' is true in one"):
        report(quirky(tmp_path, rows + other[:300]))
    with pytest.warns(UserWarning, match="2 of 400 questions have two answers"):
        report(quirky(tmp_path, rows + other[:2]))


def test_many_questions_in_two_splits_are_refused_and_few_are_told(tmp_path):
    rows = [{**row, "split": "train" if i % 4 else "validation"} for i, row in enumerate(questions(n=1000))]
    both = [{**row, "split": "train"} for row in rows[::4]]
    with pytest.raises(DataError, match="13 questions are in the splits 'train' and 'validation', such as"):
        report(quirky(tmp_path, rows + both[:13]))
    with pytest.warns(UserWarning, match="2 questions are in the splits 'train' and 'validation', such as 'a=0, b=0'"):
        report(quirky(tmp_path, rows + both[:2]))


@pytest.mark.parametrize(("n", "message"), [(4, r"differ in \d\.\d% of \d+ records only"), (0, "never differ")])
def test_a_quirk_that_is_nearly_the_truth_is_refused(tmp_path, n, message):
    rows = [{**row, "bob_label": row["alice_label"] ^ (i < n)} for i, row in enumerate(questions(n=400))]
    with pytest.raises(DataError, match=message):
        report(quirky(tmp_path, rows))
