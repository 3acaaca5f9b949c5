"""`madkit data difficulty`: measure how hard each question is for language models."""

from __future__ import annotations

import gc
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from madkit.cli.progress_lines import ProgressLines
from madkit.cli.quiet import quiet
from madkit.data.prompts.template_files import load_unnamed
from madkit.data.records.sources import is_raw, is_table_task, load_records, make_records, task_or_none
from madkit.data.tasks import find_task, make_task, task_names
from madkit.difficulty.data import QuestionData
from madkit.difficulty.losses import AnswerLosses, LossStore, context_length
from madkit.difficulty.questions import collect_questions
from madkit.difficulty.results import reserve_folder, with_difficulty, write_results
from madkit.errors import ConfigError
from madkit.lm import loading
from madkit.runs.fingerprints import digest
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked
from madkit.runs.progress import in_lines
from madkit.training.lightning_internals import forward_sigterm

if TYPE_CHECKING:
    from datasets import DatasetDict


def difficulty(
    source: str | None = None,
    models: list[str] | None = None,
    out: str | None = None,
    dataset: str | None = None,
    template: str = "unnamed",
    name: str | None = None,
    shots: int = 0,
    dtype: str = "auto",
    batch_tokens: int = 16384,
    accelerator: str = "auto",
    devices: int | str = 1,
    max_length: int | None = None,
    attention: str = "auto",
    shard_size: int = 512,
    seed: int = 0,
    task_options: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Give every question the mean loss of some language models on its true answer as its difficulty.

    Each question counts once, and its prompt names nobody; the loss is the two-way cross-entropy between its choices,
    each taken with all its tokens. OUT then is a source of records (--data.source OUT), beside them losses.parquet with
    a column for each model. A command that was interrupted continues when it is given again, and so does one with more
    models.

    Args:
        source: Records or a raw table, as data.source of a recipe (a folder, a file, a hub name), or the name of a
            generated dataset. A column difficulty may be missing; one that is there is replaced.
        models: Causal LMs, by hub name or folder, such as EleutherAI/pythia-160m EleutherAI/pythia-410m.
        out: Folder for the results.
        dataset: Whose templates; by default the one that the source's name ends in (quirky_nli_raw: nli).
        template: unnamed (the first of standardized), standardized, mixture, first, compact or a YAML file. The line
            that names the speaker is left out; a YAML file need not have one. Several wordings are drawn from.
        name: A name to put into all prompts where a template has one, in place of leaving it out.
        shots: Answered questions before each question, as many true as false (the public nli and sentiment: 5).
        dtype: Number format of the weights: auto (as stored), float32, bfloat16 or float16.
        batch_tokens: The most tokens in one forward pass, padding included.
        accelerator: cpu, cuda, mps, or auto for what is there.
        devices: How many devices, or auto for all; each takes its share of the questions.
        max_length: Longer prompts lose tokens on the left; by default the model's context.
        attention: Attention implementation of transformers; auto is the best that the architecture has.
        shard_size: Questions in one file of losses, the most that an interruption costs.
        seed: Which templates (of several), demonstrations and generated questions.
        task_options: Options of a dataset that is generated or made of a raw table.
        trust_remote_code: Run code that comes with a model.
    """
    for option, value in {"source": source, "models": models, "out": out}.items():
        if not value:
            raise ConfigError(f"{option} is missing: give --{option}; see `madkit data difficulty --help`")
    assert source and models and out  # noqa: S101 - for the type checker; the loop above has made sure
    if len(set(models)) < len(models):
        raise ConfigError(f"models={models} names a model twice: it would count double")
    if shots < 0:
        raise ConfigError(f"shots={shots} must not be negative")
    quiet()
    dataset = dataset or re.sub(r"^quirky_|_raw$", "", Path(source).stem)
    records, constants = _records(source, dataset, task_options, seed)
    fields = [*constants, *next(iter(records.values())).features["template_args"]]
    templates = load_unnamed(template, find_task(dataset).name if "." in dataset else dataset, fields, name)
    questions = collect_questions(records, templates, constants, name, shots, seed)
    identity = {
        "template": template,
        "wording": digest([[item.text, *item.choices] for item in templates]),
        "name": name,
        "shots": shots,
        "seed": seed,
        "dtype": dtype,
        "max_length": max_length,
        "shard_size": shard_size,
        "questions": questions.digest(),
    }
    folder = Path(out)
    losses = {}
    with ExitStack() as stack:
        if _is_first_process():
            stack.enter_context(locked(folder / ".lock", "madkit data difficulty"))
            sweep(folder)
        reserve_folder(folder, identity, write=_is_first_process())
        for model in models:
            tokenizer = loading.load_tokenizer(model, trust_remote_code=trust_remote_code, argument="models")
            context = context_length(model, max_length, trust_remote_code)
            data = QuestionData(questions, tokenizer, context, batch_tokens, shard_size)
            losses[model] = _losses_of(
                AnswerLosses(
                    model, folder / "losses" / _slug(model), data, identity, dtype, attention, trust_remote_code
                ),
                accelerator,
                devices,
            )
        if _is_first_process():
            table = write_results(folder, records, questions, losses)
            for model in ["difficulty", *models]:
                print(f"{model}: mean loss {table[model].mean():.4f} nats, {len(table)} questions", file=sys.stderr)
            print(folder)
    return 0


def _records(
    source: str, dataset: str, task_options: dict[str, Any] | None, seed: int
) -> tuple[DatasetDict, dict[str, Any]]:
    """The records, with a difficulty of 0 for now, and the values that all their prompts share."""
    # As everywhere, a file or folder of that name comes before the dataset.
    generated = source in task_names() and not Path(source).expanduser().exists()
    if generated:
        records = make_records(source, task_options, seed)
    elif is_raw(dataset, source):
        records = make_records(dataset, {**(task_options or {}), "raw": source}, seed)
    elif task_options:
        raise ConfigError(f"task_options={task_options} are for generated records: drop them")
    else:
        records = load_records(source)
    # Prompts show nothing but the records where a dataset is made of a table or is the user's.
    has_constants = task_or_none(dataset) is not None and not is_table_task(dataset)
    constants = make_task(dataset, task_options if generated else None).constants if has_constants else {}
    zeros = {split: np.zeros(len(part)) for split, part in records.items()}
    return with_difficulty(records, zeros), constants


def _losses_of(module: AnswerLosses, accelerator: str, devices: int | str) -> np.ndarray:
    """One model's losses: computed, continued, or read where they are on disk already."""
    if not module.complete():
        lines = in_lines()
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=devices,
            default_root_dir=module.folder,
            callbacks=[ProgressLines()] if lines else [],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        forward_sigterm(trainer)
        trainer.predict(module, datamodule=module.data, return_predictions=False)
    path = module.path
    # One model in memory at a time.
    module.lm = module.head = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return LossStore(path).losses()


def _is_first_process() -> bool:
    """Whether this process is the only one or the first of several."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _slug(model: str) -> str:
    """A folder's name for a model.

    Example:
        >>> _slug("EleutherAI/pythia-160m")
        'EleutherAI--pythia-160m'
    """
    return re.sub(r"[^\w.-]+", "--", model.strip("./"))
