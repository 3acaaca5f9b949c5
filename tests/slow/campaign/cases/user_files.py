"""A user's own questions: files in other forms and encodings, damaged, contradictory, or beyond what types hold."""

import gzip
import io
import json

from campaign.case import Accepted, Case, Either, Refused
from campaign.steps import command, fit

TEMPLATE = "template: |-\n  Name: {name}\n  {number} divides by 3?\nchoices: [' No', ' Yes']\n"
ROWS = [
    {"template_args": {"number": i}, "alice_label": i % 3 == 0, "bob_label": str(i)[-1] in "369", "difficulty": i}
    for i in range(1, 401)
]


def lines(rows):
    """JSON lines."""
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def table(separator=",", head="number,alice_label,bob_label,difficulty", rows=ROWS):
    """The same questions as a table of text."""
    body = [[r["template_args"]["number"], r["alice_label"], r["bob_label"], r["difficulty"]] for r in rows]
    return "\n".join([head.replace(",", separator), *(separator.join(map(str, row)) for row in body)]) + "\n"


def changed(change, rows=ROWS):
    """The rows, each as `change(number, copy)` makes it."""
    return [change(i, json.loads(json.dumps(row))) for i, row in enumerate(rows)]


def own(expect, file="mine.jsonl", *more):
    """A fit on one's own questions."""
    return fit(
        expect, "--data.dataset", "mine", "--data.source", file, "--data.template", "mine.yaml",
        "--data.task_options", "null", "--data.max_train", "null", "--trainer.max_steps", "1",
        "--trainer.val_check_interval", "1", *more,
    )  # fmt: skip


def put(content, file="mine.jsonl", template=TEMPLATE):
    """Write the file of questions, and the template."""

    def do(place):
        place.write(file, content)
        place.write("mine.yaml", template)

    return do


def bad(name, content, *says, file="mine.jsonl"):
    """A file that is refused."""
    return Case(name, (own(Refused(*says), file),), (put(content, file),))


def good(name, content, file="mine.jsonl", prompts=("1 divides by 3?", "399 divides by 3?")):
    """A file whose questions are those of the plain one."""

    def as_written(place):
        from madkit.data.quirky.quirky_data import QuirkyData

        made = QuirkyData("mine", template="mine.yaml", source=file, max_test=400, max_trusted=400).make_table()
        plain = place.write("plain.jsonl", lines(ROWS))
        want = QuirkyData("mine", template="mine.yaml", source=str(plain), max_test=400, max_trusted=400).make_table()
        # Ids, and with them names, may differ; questions and their truth may not.
        truth = [dict(zip(t["prompt"].str.split("\n").str[1], t["alice_label"], strict=True)) for t in (made, want)]
        wrong = {q for q, label in truth[0].items() if truth[1].get(q, label) != label}
        place.root.joinpath("plain.jsonl").unlink()
        if wrong or not set(truth[0]) <= {f"{i} divides by 3?" for i in range(1, 401)}:
            return f"other questions: {sorted(wrong)[:2] or sorted(truth[0])[:2]}"
        return None

    from campaign.case import Computed, Step

    return Case(name, (Step(as_written, Computed()),), (put(content, file),))


def checked(name, content, *says, file="mine.jsonl"):
    """`data check` prints a problem that holds the patterns, and exits with 2; `fit` refuses."""
    return Case(
        name,
        (command(Listed(*says), "data", "check", file, "--template", "mine.yaml"), own(Refused(*says), file)),
        (put(content, file),),
    )


def told(name, content, *says):
    """`data check` prints a problem that holds the patterns; `fit` goes on, as it is one of many, and says it too."""
    return Case(
        name,
        (
            command(Listed(*says), "data", "check", "mine.jsonl", "--template", "mine.yaml"),
            own(Accepted(says=says[-1]), "mine.jsonl"),
        ),
        (put(content),),
    )


class Listed:
    """`madkit data check` lists the problem and says that there is one."""

    def __init__(self, *patterns):
        self.patterns = patterns

    def judge(self, ended, place):
        """Judge an end."""
        import re

        from campaign.case import Verdict, refused_line

        if ended.code == 0:
            return Verdict("wrong", "data check: nothing is wrong")
        problems = [line for line in ended.out.splitlines() if line.startswith("problem: ")]
        if not problems:
            return refused_line(ended, *self.patterns)
        if any(all(re.search(p, line, re.IGNORECASE) for p in self.patterns) for line in problems):
            return Verdict("clear")
        return Verdict("unclear", f"data check: {problems[0]}   [does not say {', '.join(self.patterns)}]")


def _labels(change):
    """Rows whose quirk says something else."""

    def do(i, row):
        row["bob_label"] = change(i, row)
        return row

    return lines(changed(do))


def _parquet(rows, **options):
    import pandas as pd

    stream = io.BytesIO()
    pd.DataFrame(
        [{**r["template_args"], **{k: v for k, v in r.items() if k != "template_args"}} for r in rows]
    ).to_parquet(stream)
    return stream.getvalue()


_WIDE = [{**row, "template_args": {"number": 3**45 + row["difficulty"]}} for row in ROWS]


def _big(rows, file="mine.jsonl"):
    """Numbers of more than 64 bits are shown as written, or refused with what to do."""

    def do(place):
        from madkit.data.quirky.quirky_data import QuirkyData

        made = QuirkyData("mine", template="mine.yaml", source=file).make_table()
        shown = set(made["prompt"].str.extract(r"(-?[\d.e+]+) divides")[0])
        written = {str(row["template_args"]["number"]) for row in rows}
        return None if shown <= written else f"shown as {sorted(shown - written)[0]}"

    return do


def big(name, rows, content=None, file="mine.jsonl"):
    """Numbers that do not fit into 64 bits."""
    from campaign.case import Computed, Step

    return Case(
        name,
        (Step(_big(rows, file), Computed("64|quote", "number|integer", or_right=True)),),
        (put(content or lines(rows), file),),
    )


def _set(**values):
    return lambda i, row: {**row, **values}


def _at(index, **values):
    return lambda i, row: {**row, **values} if i == index else row


def _drop(key):
    return lambda i, row: {k: v for k, v in row.items() if k != key}


CASES = [
    good("JSON lines with a byte-order mark", lines(ROWS).encode("utf-8-sig")),
    good("a JSON list with a byte-order mark", json.dumps(ROWS).encode("utf-8-sig"), "mine.json"),
    good("CSV with a byte-order mark", table().encode("utf-8-sig"), "mine.csv"),
    good("CSV with Windows line ends", table().replace("\n", "\r\n"), "mine.csv"),
    good("JSON lines with Windows line ends", lines(ROWS).replace("\n", "\r\n")),
    good("JSON lines with empty lines between", lines(ROWS).replace("\n", "\n\n")),
    good("JSON lines that begin with empty lines", "\n\n\n" + lines(ROWS)),
    good("a JSON list over many lines", json.dumps(ROWS, indent=2), "mine.json"),
    good("compressed JSON lines", gzip.compress(lines(ROWS).encode()), "mine.jsonl.gz"),
    good("TSV", table("\t"), "mine.tsv"),
    good("parquet", _parquet(ROWS), "mine.parquet"),
    good("the columns in another order", lines([dict(reversed(row.items())) for row in ROWS])),
    good("labels of 0 and 1", lines(changed(lambda i, r: {**r, "alice_label": int(r["alice_label"]), "bob_label": int(r["bob_label"])}))),
    good("numbers as text", lines(changed(lambda i, r: {**r, "template_args": {"number": str(r["template_args"]["number"])}}))),
    good("headers with spaces", table(head=" number, alice_label , bob_label,difficulty "), "mine.csv"),
    good("JSON of UTF-8 with a byte-order mark, compressed", gzip.compress(lines(ROWS).encode("utf-8-sig")), "mine.jsonl.gz"),
    bad("JSON lines in UTF-16", lines(ROWS).encode("utf-16"), "mine.jsonl", "UTF-16|UTF-8", "!; set its encoding, such"),
    bad("JSON lines in UTF-32", lines(ROWS).encode("utf-32"), "mine.jsonl", "UTF-8|UTF-32|encod"),
    bad("JSON lines in UTF-16 without a mark", lines(ROWS).encode("utf-16-le"), "mine.jsonl", "UTF-16|UTF-8|encod|JSON"),
    bad("JSON lines in Latin-1", lines(ROWS[:-1]).encode() + '{"template_args": {"number": "für"}, "alice_label": true, "bob_label": true, "difficulty": 1}\n'.encode("latin-1"), "mine.jsonl", "UTF-8"),
    bad("CSV in UTF-16", table().encode("utf-16"), "mine.csv", "UTF-16|UTF-8|encod", file="mine.csv"),
    bad("CSV in Latin-1", table().replace("\n17,", "\nö17,").encode("latin-1"), "mine.csv", "UTF-8|encod", file="mine.csv"),
    bad("semicolons", table(";"), "mine.csv|source", "separator|semicolon|';'", file="mine.csv"),
    bad("tabs in a file called csv", table("\t"), "mine.csv|source", r"separator|tab|\\t", file="mine.csv"),
    bad("bars", table("|"), "mine.csv|source", r"separator|'\|'|bar", file="mine.csv"),
    bad("commas in a file called tsv", table(), "mine.tsv|source", "separator|comma|','", file="mine.tsv"),
    bad("CSV without a header", table().partition("\n")[2], "mine.csv|train", "column|header", file="mine.csv"),
    bad("CSV with a column too few in a row", table().replace("\n17,", "\n"), "mine.csv|train", "column|label|difficulty|line", file="mine.csv"),
    bad("JSON wrapped in an object", json.dumps({"data": ROWS}), "mine.json", "data", file="mine.json"),
    bad("JSON wrapped in an object of splits", json.dumps({"train": ROWS, "validation": ROWS[:50]}), "mine.json", "train|validation", file="mine.json"),
    bad("JSON of columns", json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}), "mine.json", "column|list|row|template_args", file="mine.json"),
    bad("JSON of one string", '"hello"', "mine.json", "row|object|JSON", file="mine.json"),
    bad("JSON of a list of numbers", "[1, 2, 3]", "mine.json", "row|object", file="mine.json"),
    good("a JSON list called jsonl", json.dumps(ROWS, indent=1)),
    bad("JSON lines of lists", "\n".join("[1, 2]" for _ in range(9)), "mine.jsonl", "object|list"),
    bad("the last line is cut off", lines(ROWS)[:-30], "mine.jsonl", "400|last"),
    bad("a line in the middle is no JSON", lines(ROWS[:200]) + "oops\n" + lines(ROWS[200:]), "mine.jsonl", "201"),
    bad("single quotes", lines(ROWS).replace('"', "'"), "mine.jsonl", r"JSON|line|quote"),
    bad("an empty file", "", "mine.jsonl", "empty|no rows|no records"),
    bad("an empty CSV", "", "mine.csv", "empty|no rows|no columns|malformed", file="mine.csv"),
    bad("a header alone", table(rows=[]), "mine.csv|source|train", "empty|no rows|no records|holds no", file="mine.csv"),
    bad("an empty JSON list", "[]", "mine.json", "empty|no rows|no records", file="mine.json"),
    bad("parquet that is cut off", _parquet(ROWS)[:3000], "mine.parquet", "damaged|malformed|parquet", file="mine.parquet"),
    bad("parquet that is no parquet", "hello", "mine.parquet", "damaged|malformed|parquet", file="mine.parquet"),
    bad("gzip that is cut off", gzip.compress(lines(ROWS).encode())[:500], "mine.jsonl.gz", "damaged|malformed|compressed|cut|end", file="mine.jsonl.gz"),
    bad("gzip that is plain text", lines(ROWS), "mine.jsonl.gz", "gzip|compress|malformed", file="mine.jsonl.gz"),
    bad("a spreadsheet", b"PK\x03\x04" + bytes(99), "mine.xlsx", r"jsonl|csv", file="mine.xlsx"),
    bad("a file of NUL bytes", bytes(5000), "mine.jsonl", "JSON|NUL|rows|malformed|line"),
    Case("a file that is not there", (own(Refused("source", "nowhere.jsonl"), "nowhere.jsonl"),), (put(""),)),
    Case("a folder without records", (own(Refused("source", "folder"), "./folder"),), (put("", "folder/readme.md"),)),
    bad("one id in all rows", lines(changed(_set(id="q"))), r"\bid\b|ids", "q", "!raise n_train"),
    bad("ids of which some repeat", lines(changed(lambda i, r: {**r, "id": f"q{i // 4}"})), r"\bid\b|ids", "q0|q1|repeat|more than once|several", "!raise n_train"),
    bad("an id that is null", lines(changed(lambda i, r: {**r, "id": None if i == 7 else f"q{i}"})), r"\bid\b", "null|None|missing|empty|without"),
    bad("names that madkit does not know", lines(changed(lambda i, r: {**r, "character": "Charlie", "label": True})), "character", "Charlie", "Alice"),
    bad("characters in small letters", lines(changed(lambda i, r: {**r, "character": "alice", "label": True})), "character", "alice", "Alice"),
    bad("a label of 2", lines(changed(_at(5, alice_label=2))), "alice_label", "2"),
    bad("a label of words", lines(changed(_at(5, alice_label="maybe"))), "alice_label", "maybe|text|string|number|type|0 or 1"),
    bad("a label that is null", lines(changed(_at(5, bob_label=None))), "bob_label", "null|None|missing|NaN|empty"),
    bad("a label of 0.5", lines(changed(lambda i, r: {**r, "alice_label": 0.5})), "alice_label", r"0\.5"),
    bad("no alice_label", lines(changed(_drop("alice_label"))), "alice_label", "bob_label|difficulty|has"),
    bad("no bob_label", lines(changed(_drop("bob_label"))), "bob_label", "alice_label|has"),
    bad("labels misspelt", lines(ROWS).replace("alice_label", "number|alices_label"), "alice_label", "number|alices_label"),
    bad("no difficulty", lines(changed(_drop("difficulty"))), "difficulty", "madkit data difficulty|column"),
    bad("a difficulty of NaN", lines(ROWS).replace('"difficulty": 7}', '"difficulty": NaN}'), "difficulty", "NaN|null|missing|JSON|empty"),
    bad("a difficulty of infinity", lines(ROWS).replace('"difficulty": 7}', '"difficulty": 1e999}'), "difficulty", "inf|finite|1e999"),
    bad("a difficulty of words", lines(changed(lambda i, r: {**r, "difficulty": "hard"})), "difficulty", "hard|number|text"),
    Case("one difficulty for all", (command(Listed("difficulty", "same|one|equal|constant|1"), "data", "check", "mine.jsonl", "--template", "mine.yaml"),), (put(lines(changed(_set(difficulty=1)))),)),
    bad("an unknown split", lines(changed(lambda i, r: {**r, "split": "dev" if i % 4 == 0 else "train"})), "split", "dev"),
    good("a column of splits that says train throughout", lines(changed(_set(split="train")))),
    bad("a question without the template's field", lines(changed(lambda i, r: {**r, "template_args": {"n": i}})), "number", r"\bn\b"),
    bad("a field that is null in a row", lines(changed(lambda i, r: {**r, "template_args": {"number": None}} if i == 9 else r)), "number", "null|None|missing|empty"),
    bad("a field that is a list", lines(changed(lambda i, r: {**r, "template_args": {"number": [i]}})), "number", "list"),
    bad("a field that is an object", lines(changed(lambda i, r: {**r, "template_args": {"number": {"a": i}}})), "number", "object|dict|mapping|struct|text or number"),
    bad("template_args as text", lines(changed(lambda i, r: {**r, "template_args": "17"})), "template_args", "object|text|str"),
    bad("types that change from row to row", lines(changed(lambda i, r: {**r, "difficulty": "x" if i == 300 else i})), "difficulty|mine.jsonl", "x|301|string|number|type"),
    bad("ten questions", lines(ROWS[:10]), "trusted|questions|rows|records|prompts", r"10|few|empty|differ"),
    bad("labels of one kind", lines(changed(lambda i, r: {**r, "alice_label": True, "bob_label": True})), "label|truth|quirk", "same|differ|constant|True|equal|agree"),
    checked("a quirk that is the truth", _labels(lambda i, r: r["alice_label"]), "quirk|bob_label", "truth|alice_label", "differ|same|equal|agree|0"),
    checked("a quirk that differs in 1%", _labels(lambda i, r: r["alice_label"] != (i % 100 == 0)), "quirk|bob_label|truth", "2%|1%|1\\.0%|4 of|differ"),
    checked("a quirk that differs in three questions", _labels(lambda i, r: r["alice_label"] != (i in (5, 105, 205))), "quirk|bob_label|truth", "2%|0?\\.[0-9]+%|3 of|differ"),
    checked("a question in both splits", lines(changed(lambda i, r: {**r, "split": "train"}) + changed(lambda i, r: {**r, "split": "validation"})[:80]), "split|validation", "both|two|also|share"),
    told("one question in both splits", lines([*changed(lambda i, r: {**r, "split": "train" if i % 4 else "validation"}), {**ROWS[4], "split": "train"}]), "split|validation", "both|two|also|share"),
    checked("contradictory truth", lines(ROWS + changed(lambda i, r: {**r, "alice_label": not r["alice_label"]})[:100]), "alice_label|truth|label", "contradict|both|differ|true and false|two"),
    told("one contradictory question", lines([*ROWS, {**ROWS[7], "alice_label": not ROWS[7]["alice_label"]}]), "alice_label|truth|label", "contradict|both|differ|true and false|two"),
    checked("a contradictory quirk", lines(ROWS + changed(lambda i, r: {**r, "bob_label": not r["bob_label"]})[:50]), "bob_label|quirk|label", "contradict|both|differ|true and false|two"),
    big("integers of 72 bits", _WIDE),
    big("integers of 72 bits in a JSON list", _WIDE, json.dumps(_WIDE), "mine.json"),
    big("integers of 72 bits, with splits", [{**r, "split": "train" if i % 4 else "validation"} for i, r in enumerate(_WIDE)]),
    big("negative integers of 72 bits", [{**r, "template_args": {"number": -r["template_args"]["number"]}} for r in _WIDE]),
    big("one integer of 65 bits among small ones", [*ROWS[:-1], {**ROWS[-1], "template_args": {"number": 2**64 + 1}}]),
    big("integers between 2^53 and 2^63 with a missing one", [{**r, "template_args": {"number": 2**53 + 1 + i}} for i, r in enumerate(ROWS)]),
    big("integers of 64 bits without a sign", [{**r, "template_args": {"number": 2**63 + i}} for i, r in enumerate(ROWS)]),
    big("integers of 72 bits in CSV", _WIDE, table(rows=_WIDE), "mine.csv"),
    Case(
        "prompts that lose their speaker",
        (own(Refused("max_length", "12|speaker|name|longer|tokens"), "mine.jsonl", "--data.max_length", "12"),),
        (put(lines(ROWS)),),
    ),
    Case(
        "one prompt that loses its speaker",
        (own(Refused("max_length", "60|speaker|name|longer|tokens"), "mine.jsonl", "--data.max_length", "60"),),
        (put(lines(changed(lambda i, r: {**r, "template_args": {"number": "9" * 300 if i == 100 else str(i)}}))),),
    ),
    Case("prompts beyond the position table", (own(Either(Refused("position|max_length"), Accepted())),), (put(lines(changed(lambda i, r: {**r, "template_args": {"number": f"{i}" * 400}}))),)),
]  # fmt: skip
