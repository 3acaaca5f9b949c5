"""Raw tables: every format, the columns of the well-known ones, and what is wrong with a file in one line."""

import bz2
import gzip
import json
import logging
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from madkit.data.tables.raw_source import RawSource, load_table
from madkit.errors import ConfigError, DataError

BOOKS = [
    ("Emma", "Jane Austen", "1000"),
    ("1984", "George Orwell", "2000"),
    ('The "Best", of it', "A. Writer/B. Writer", ""),
    ("None", "Zoë Müller", "3"),
    ("NA", "nan", "0"),
    ("", "", ""),
]
COLUMNS = ("title", "authors", "ratings_count")


def write_csv(path, rows=BOOKS, header=COLUMNS, sep=",", encoding="utf-8"):
    frame = pd.DataFrame(rows, columns=list(header))
    frame.to_csv(path, index=False, sep=sep, encoding=encoding)
    return path


def load(raw, **options):
    return load_table(
        raw if isinstance(raw, dict) else str(raw), COLUMNS, ("difficulty",), numbers=("ratings_count",), **options
    )


def expect(table):
    assert table["title"].tolist() == [row[0] for row in BOOKS]
    assert table["authors"].tolist() == [row[1] for row in BOOKS]
    assert table["ratings_count"].dtype == np.float64
    wanted = [float(row[2]) if row[2] else np.nan for row in BOOKS]
    np.testing.assert_array_equal(table["ratings_count"], wanted)


def as_lines():
    rows = [dict(zip(COLUMNS, (t, a, int(r) if r else None), strict=True)) for t, a, r in BOOKS]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zip"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_text_formats_and_compression(tmp_path, kind, suffix):
    plain = tmp_path / f"plain.{kind}"
    if kind == "jsonl":
        plain.write_text(as_lines(), encoding="utf-8")
    else:
        write_csv(plain, sep={"csv": ",", "tsv": "\t"}[kind])
    path = tmp_path / f"books.{kind}{suffix}"
    data = plain.read_bytes()
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"books.{kind}", data)
    else:
        pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
        path.write_bytes(pack(data))
    expect(load(path))


def test_parquet_json_arrays_and_folders(tmp_path):
    frame = pd.DataFrame([json.loads(line) for line in as_lines().splitlines()])
    frame.to_parquet(tmp_path / "a.parquet")
    expect(load(tmp_path / "a.parquet"))
    (tmp_path / "a.json").write_text(json.dumps(json.loads(frame.to_json(orient="records")), indent=1))
    expect(load(tmp_path / "a.json"))
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    frame[:2].to_parquet(folder / "part-0.parquet")
    frame[2:].to_parquet(folder / "part-1.parquet")
    expect(load(tmp_path / "folder"))
    Dataset.from_pandas(frame).save_to_disk(str(tmp_path / "one"))
    expect(load(tmp_path / "one"))
    DatasetDict({"train": Dataset.from_pandas(frame[:3]), "test": Dataset.from_pandas(frame[3:])}).save_to_disk(
        str(tmp_path / "two")
    )
    expect(load(tmp_path / "two"))
    assert load({"path": str(tmp_path / "two"), "split": "test"})["title"].tolist() == ["None", "NA", ""]
    with pytest.raises(ConfigError, match=r"no split 'dev': choose from \['test', 'train'\]"):
        load({"path": str(tmp_path / "two"), "split": "dev"})


def test_names_are_matched_mapped_and_counted(tmp_path):
    write_csv(tmp_path / "odd.csv", header=(" Title", "AUTHORS ", "  ratings_count"))
    expect(load(tmp_path / "odd.csv"))
    write_csv(tmp_path / "mine.csv", header=("name", "by", "n"))
    expect(
        load({"path": str(tmp_path / "mine.csv"), "columns": {"title": "name", "authors": "by", "ratings_count": "n"}})
    )
    expect(load(tmp_path / "mine.csv", aliases={"title": ("name",), "authors": ("by", "x"), "ratings_count": ("N",)}))
    pd.DataFrame(BOOKS).to_csv(tmp_path / "bare.csv", index=False, header=False)
    expect(load({"path": str(tmp_path / "bare.csv"), "columns": {"title": 0, "authors": 1, "ratings_count": 2}}))


def test_optional_columns_come_along(tmp_path):
    frame = pd.DataFrame(BOOKS, columns=COLUMNS).assign(difficulty=["0.5"] * 6, other="x")
    frame.to_csv(tmp_path / "a.csv", index=False)
    table = load(tmp_path / "a.csv")
    assert table.columns.to_list() == [*COLUMNS, "difficulty"]
    assert table["difficulty"].tolist() == [0.5] * 6


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = write_csv(tmp_path / "a.csv", encoding=encoding)
    if encoding == "utf-8-sig":
        expect(load(path))
        return
    expect(load({"path": str(path), "encoding": encoding}))
    with pytest.raises(DataError, match=r"is not utf-8 .*: save it as UTF-8.* set its encoding, such as latin-1"):
        load(path)


def test_bad_lines_are_counted_and_too_many_are_an_error(tmp_path, caplog):
    lines = ["title,authors,ratings_count", *(f"Book {i},Jane Doe,{i}" for i in range(2000))]
    lines[7] = "Book, with a comma,Jane, Doe,7"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert len(load(tmp_path / "a.csv")) == 1999
    assert "1 malformed lines of a.csv are left out" in caplog.text
    lines[100:200] = ["a,b,c,d"] * 100
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="101 lines of a.csv are malformed and 1899 are not: check its separator"):
        load(tmp_path / "a.csv")


def test_a_sample_is_always_the_same(tmp_path):
    pd.DataFrame({"title": map(str, range(100)), "authors": "x", "ratings_count": 1}).to_csv(tmp_path / "a.csv")
    found = load({"path": str(tmp_path / "a.csv"), "sample": 10})
    assert len(found) == 10
    pd.testing.assert_frame_equal(found, load({"path": str(tmp_path / "a.csv"), "sample": 10}))
    assert found["title"].astype(int).is_monotonic_increasing
    assert len(load({"path": str(tmp_path / "a.csv"), "sample": 1000})) == 100


def test_the_hub(monkeypatch):
    """Only the edge to the network is replaced."""
    features = Features(
        {"label": ClassLabel(names=["neg", "pos"]), "title": Value("string"), "content": Value("string")}
    )
    parts = {
        split: Dataset.from_dict({"label": [0, 1], "title": ["a", None], "content": [split, "d"]}, features=features)
        for split in ("train", "test")
    }
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *names, revision: asked.append(names) or DatasetDict(parts))
    columns, aliases = ("review", "label"), {"review": ("content",)}
    table = load_table("fancyzhx/amazon_polarity", columns, ("title",), aliases=aliases)
    assert table.to_dict("list") == {
        "review": ["train", "d", "test", "d"],
        "label": ["0", "1", "0", "1"],
        "title": ["a", "", "a", ""],
    }
    load_table({"path": "a/b", "config": "c", "split": "test"}, columns, aliases=aliases)
    assert asked == [("fancyzhx/amazon_polarity", None), ("a/b", "c")]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("none.csv", r"raw='none.csv' is not there"),
        ({"path": "a.csv", "colums": {}}, r"unknown options \['colums'\]: use \['path', 'columns'"),
        ({"columns": {}}, "names no table"),
        ({"path": "a.csv", "sample": 0}, "sample=0 must be at least 1"),
        ({"path": "a.csv", "columns": {"title": 0, "authors": "x"}}, "mixes names and numbers"),
        ({"path": "a.csv", "columns": {"titel": "x"}}, r"columns names \['titel'\], but the dataset needs"),
        ("nobody/nothing", "neither a file nor a folder here nor can it be had from the hub"),
    ],
)
def test_sources_that_are_wrong(raw, message):
    with pytest.raises(ConfigError, match=message) as error:
        load(raw)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "title,authors\na,b\n", r"lacks the columns \['ratings_count'\]: it has \['title', 'authors'\]"),
        (
            "a.csv",
            "title,authors,ratings_count\na,b,many\n",
            "1 values of column 'ratings_count' are not numbers.*'many'",
        ),
        ("a.csv", "title,authors,ratings_count\na,b,inf\n", "'ratings_count' has infinite values"),
        ("a.csv", "title,authors,ratings_count\n", "holds no rows"),
        ("a.csv", "", "is malformed: No columns to parse"),
        ("a.jsonl", '{"title": 1}\n{"title"\n', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "each must be an object"),
        ("a.parquet", "nothing", "is not a complete parquet file"),
    ],
)
def test_files_that_are_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_without_tables(tmp_path):
    (tmp_path / "a.xls").write_text("x")
    with pytest.raises(ConfigError, match="is not there: give a file"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="must end in one of"):
        load(tmp_path / "a.xls")


def test_what_is_local():
    assert RawSource("books.csv.gz").is_local
    assert RawSource("./books").is_local
    assert not RawSource("allenai/sciq").is_local
