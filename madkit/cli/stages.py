"""The Lightning stages behind the `madkit` command: fit, validate, test, predict."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import lightning as L
from jsonargparse import set_parsing_settings
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

from madkit.cli.last_resort import madkit_cause
from madkit.cli.lm_recipe import with_lm_recipe
from madkit.cli.logged_figures import LoggedFigures
from madkit.cli.parser_errors import missing_package, one_line
from madkit.cli.progress_lines import ProgressLines
from madkit.cli.quiet import quiet
from madkit.cli.recipe_files import read_strictly
from madkit.cli.registry import import_all, import_named
from madkit.cli.signals import Interrupted
from madkit.cli.trainer_options import first_sentences, make_trainer, require_numbers, require_seeds
from madkit.errors import ConfigError, MadkitError
from madkit.plugins import PACKAGES, listed_modules
from madkit.runs.fingerprints import code_digest
from madkit.runs.fitted import FitMarker
from madkit.runs.folder import fit_key, folder_of, provenance, root_of, save_recipe, stage_of
from madkit.runs.leftovers import sweep
from madkit.runs.lock import locked
from madkit.runs.progress import in_lines
from madkit.training.checkpoint_files import kept_checkpoint, to_continue
from madkit.training.lightning_internals import end_children, forward_sigterm, is_trial
from madkit.training.training_module import TrainingModule

_DESCRIPTIONS = {
    "fit": "Train a base LM, a quirky LM, or encoders on a base LM; continues where an interrupted run stopped.",
    "validate": "Repeat the validation of a fitted LM or encoder.",
    "test": "Fit detectors on trusted prompts and judge them on test prompts.",
    "predict": "Read features of trusted, untrusted and test prompts into the run's stores.",
}
_GROUPS = {
    "trainer": "Lightning's Trainer: devices, precision, length of training, callbacks",
    "model": "What is trained or run; its own options: --model.help CLASS",
    "data": "What goes in; its own options: --data.help CLASS",
}


def _parser_options(stage: str) -> dict[str, Any]:
    usage = f"madkit {stage} --config RECIPE.yaml [--section.option value ...]"
    description = f"{_DESCRIPTIONS[stage]} Also: --with FILE.py, --debug (madkit --help)."
    # A shortened option would be understood here, but not where the language model's recipe is looked for.
    return {"exit_on_error": False, "description": description, "usage": usage, "allow_abbrev": False}


@runtime_checkable
class _NamesRecipe(Protocol):
    """A module whose recipe is kept apart from that of the stage which made what it reads."""

    recipe: str
    """The name of the file, without its suffix."""


@runtime_checkable
class _SharesRun(Protocol):
    """A module of which several runs may work in one folder, and see to it by themselves that they do not collide."""

    shares_run: bool
    """Whether it is such a module."""


class _SaveRecipe(SaveConfigCallback):
    """Write the resolved recipe into the run folder as ``<stage>.yaml``, headed by version and commit."""

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Once, from the first process; a repeated stage overwrites its file.
        if self.already_saved or not trainer.is_global_zero:
            return
        # What has been parsed is valid; to look at a list of detectors once more takes a third of a second.
        text = self.parser.dump(self.config, skip_none=False, skip_validation=True)
        name = pl_module.recipe if isinstance(pl_module, _NamesRecipe) else stage_of(trainer)
        save_recipe(root_of(trainer) / f"{name}.yaml", text)
        self.already_saved = True


def _require_checkpoint(path: str | None) -> None:
    """Refuse a checkpoint that is not there; Lightning's own words, such as ``last``, name one."""
    if path is None or path in ("last", "best", "hpc", "registry") or path.startswith("registry:") or "://" in path:
        return
    # A sharded one, of FSDP or DeepSpeed, is a folder.
    sharded = any((Path(path) / name).exists() for name in (".metadata", "checkpoint", "latest"))
    if not Path(path).is_file() and not sharded:
        what = "is a folder that holds no checkpoint" if Path(path).is_dir() else "there is no such file"
        raise ConfigError(f"ckpt_path={path!r}: {what}; name a .ckpt file, or leave it out")


def _code_of_task(data: dict[str, Any] | None) -> str | None:
    """A digest of the file of a dataset that is a class of the user's."""
    dataset = (data or {}).get("init_args", {}).get("dataset")
    if dataset is None:
        return None
    from madkit.data.records.sources import task_or_none
    from madkit.data.tasks import DATASETS, Task

    task = None if dataset in DATASETS else task_or_none(dataset)
    return None if task is None else code_digest(task, stop=Task)


class Stages(LightningCLI):
    """LightningCLI with run folders: results, checkpoints and logs go to ``<run>/<dataset>``.

    Args:
        words: the stage, one of fit, validate, test and predict, and its options.
    """

    folder: ClassVar[Path | None] = None
    """The run folder of the stage that runs, once it is known."""

    def __init__(self, words: Sequence[str]) -> None:
        self._key = ""
        self._finished = False
        self._words = list(words)
        Stages.folder = None
        quiet()
        read_strictly()
        # Whatever else a recipe names is not imported.
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*PACKAGES, *listed_modules()])
        super().__init__(
            save_config_callback=_SaveRecipe,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False, "log_every_n_steps": 10},
            parser_kwargs={
                "exit_on_error": False,
                "allow_abbrev": False,
                self._words[0]: _parser_options(self._words[0]),
            },
            load_from_checkpoint_support=False,
        )

    @override
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # Lightning's always has all of them
        """The stage that runs alone: of making four parsers, three would be for nothing."""
        stage = self._words[0]
        return {stage: LightningCLI.subcommands()[stage]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder, and say plainly what each group of options is about."""
        groups: Any = parser.groups
        for name, title in _GROUPS.items():
            groups[name].title = title
            groups[name].description = None
        parser.add_argument(
            "--run", type=str | None, default=None, help="Folder of the model's runs; results go to <run>/<dataset>."
        )
        parser.add_argument(
            "--lm",
            type=str | None,
            default=None,
            help="Recipe of the language model that is read: its base and prompts; `predict` finds that of its run.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line, with what the language model's recipe decides before it."""
        if any(word in ("-h", "--help") or word.endswith(".help") for word in self._words):
            import_all()
            words = self._words
        else:
            words = with_lm_recipe(self._words)
            import_named(words[1:])
        self.config = parser.parse_args(words)
        require_seeds(self.config[self.config.subcommand].as_dict())

    def _parse_ckpt_path(self) -> None:
        """Take weights from a checkpoint, never options: the recipe and the flags alone decide those."""

    def before_instantiate_classes(self) -> None:
        """Derive the run folder and what depends on it."""
        config = self.config[self.subcommand]
        trainer = config.trainer
        data = config.data.as_dict() if config.get("data") else None
        folder = folder_of(config.run, data)
        if config.run is not None and not config.run.strip():
            raise ConfigError(f"run={config.run!r} is empty: say where results go with `--run runs/<name>`")
        if folder is not None:
            trainer.default_root_dir = str(folder)
        if trainer.default_root_dir is None:
            raise ConfigError("run=None: say where results go with `--run runs/<name>`, in the recipe or as an option")
        Stages.folder = Path(trainer.default_root_dir)
        require_numbers(trainer.as_dict())
        _require_checkpoint(config.get("ckpt_path"))
        if self.subcommand == "fit":
            self._key = fit_key(config.as_dict(), _code_of_task(data))
        if self.subcommand == "predict":  # they go to the store; a list of them in memory would only grow
            config.return_predictions = False

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with progress that suits the terminal, and TensorBoard in the run folder if no logger is named."""
        config = self.config_init[self.subcommand].trainer
        callbacks: list[Any] = []
        listed, make = config.callbacks, super().instantiate_trainer
        own = list(listed) if isinstance(listed, list) else [listed] if listed is not None else []
        shown = any(isinstance(callback, ProgressBar) for callback in own)
        if in_lines() and config.enable_progress_bar is not False and not shown:
            callbacks.append(ProgressLines())
        if config.logger in (None, True) and self.subcommand == "predict":
            kwargs["logger"] = False  # what it makes is a store; there is no curve to watch
        elif config.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                config.default_root_dir, name="tensorboard", version=str(self.subcommand), default_hp_metric=False
            )
        if kwargs.get("logger", config.logger) and self.subcommand != "predict":
            callbacks.append(LoggedFigures())
            if self.subcommand == "fit" and not any(isinstance(callback, LearningRateMonitor) for callback in own):
                callbacks.append(LearningRateMonitor("step"))
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": callbacks}

        def made(**options: Any) -> L.Trainer:
            return make(**{"callbacks": list(own), **options})  # the list is added to

        trainer = make_trainer(made, config.as_dict(), kwargs)
        forward_sigterm(trainer)
        return trainer

    def instantiate_classes(self) -> None:
        """Construct model, data and trainer; what they refuse is a mistake in the recipe."""
        try:
            super().instantiate_classes()
        except MadkitError:
            raise
        except Exception as error:
            if (cause := madkit_cause(error)) is not None:
                raise cause from error
            if (needed := missing_package(error)) is not None:
                raise ConfigError(needed) from error
            parsed = "Does not validate" in str(error) or "Parser key" in str(error)
            reason = one_line(str(error)) if parsed else first_sentences(error)
            raise ConfigError(f"a class of the recipe cannot be made, correct its options: {reason}") from error

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a stage, alone in its run folder: another one that begins there meanwhile is refused."""
        with ExitStack() as stack:
            folder = root_of(self.trainer)
            shared = isinstance(self.model, _SharesRun) and self.model.shares_run
            writes = subcommand != "validate" and not is_trial(self.trainer)
            alone = not shared and writes and self.trainer.is_global_zero
            if alone:
                stack.enter_context(locked(folder / ".lock", f"madkit {subcommand}"))
                sweep(folder)
            try:
                super()._run_subcommand(subcommand)
                # Nobody goes on to the next stage before the first process has written what that one reads.
                self.trainer.strategy.barrier()
            except Interrupted:
                end_children(self.trainer)
                if alone:
                    sweep(folder)  # what this process has half-written, too
                raise

    @property
    def _marker(self) -> FitMarker:
        return FitMarker(root_of(self.trainer))

    def before_fit(self) -> None:
        """Continue an interrupted fit of the same recipe; do nothing where it has been finished."""
        if is_trial(self.trainer):
            return
        for name, why in (
            ("limit_val_batches", "the best weights are chosen and reported by a validation"),
            ("limit_train_batches", "nothing would be trained"),
        ):
            if not getattr(self.trainer, name):
                raise ConfigError(f"trainer.{name}=0: {why}; leave it out, or give a few batches")
        checkpoints = root_of(self.trainer).absolute() / "checkpoints" / self._key
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(checkpoints)
        self._finished = self._marker.holds(self._key)
        if self._finished or self.config_init["fit"].get("ckpt_path") is not None:
            return
        last = to_continue(checkpoints, remove=self.trainer.is_global_zero)
        if last is not None:
            self.config_init["fit"]["ckpt_path"] = str(last)
        others = self._marker.read()
        if last is None or (others is not None and others["key"] != self._key):
            self._forget_curves()

    def _forget_curves(self) -> None:
        """Remove the stage's TensorBoard folder: no curve of an earlier recipe may stand among those of this one."""
        if self.trainer.is_global_zero and not is_trial(self.trainer):
            shutil.rmtree(root_of(self.trainer) / "tensorboard" / str(self.subcommand), ignore_errors=True)

    def fit(self, model: TrainingModule, **kwargs: Any) -> None:
        """Train, then validate the best weights once more for the final numbers and histograms."""
        if self._finished:
            self._marker.touch()
            path = self._marker.path
            print(f"{path.parent}: this recipe has already been fitted; delete {path} to do it again", file=sys.stderr)
            return
        if self.trainer.is_global_zero and not is_trial(self.trainer):
            self._marker.remove()
        self.trainer.fit(model, **kwargs)
        if is_trial(self.trainer):
            return
        steps = self.trainer.global_step
        metrics = self.trainer.validate(model, datamodule=kwargs.get("datamodule"), verbose=False)[0]
        if self.trainer.is_global_zero:
            self._marker.write(self._key, model.export_name, steps=steps, metrics=metrics, **provenance())
            summary = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            print(f"{self._marker.path.parent / model.export_name}: {summary}", file=sys.stderr)

    def before_predict(self) -> None:
        """Refuse to store some of the prompts; a trial stores none."""
        if not is_trial(self.trainer):
            why = "a store holds all prompts; for fewer set --data.max_test and its like"
            self._require_all("limit_predict_batches", why)

    def _require_all(self, name: str, why: str) -> None:
        value = getattr(self.trainer, name)
        if value != 1.0 or isinstance(value, int):
            raise ConfigError(f"trainer.{name}={value}: {why}; leave this option out")

    def before_test(self) -> None:
        """Begin without the curves of the detectors that an earlier recipe listed."""
        if is_trial(self.trainer):
            raise ConfigError("trainer.fast_dev_run: detectors are fitted on all prompts or on none; leave it out")
        self._require_all("limit_test_batches", "detectors are fitted on all prompts")
        self._forget_curves()

    def test(self, model: L.LightningModule, **kwargs: Any) -> None:
        """Run the detectors and print what they reached."""
        self.trainer.test(model, **{**kwargs, "verbose": False})
        if self.trainer.is_global_zero:
            folder = root_of(self.trainer)
            for name, value in sorted(self.trainer.callback_metrics.items()):
                if name.startswith("auroc/"):
                    print(f"{folder.parent.name}/{folder.name}  {name}  {float(value):.3f}", file=sys.stderr)

    def before_validate(self) -> None:
        """Validate the weights that `fit` kept, unless others are named."""
        if self.config_init["validate"].get("ckpt_path") is not None:
            return
        fitted = self._marker.read()
        kept = kept_checkpoint(root_of(self.trainer) / "checkpoints" / fitted["key"]) if fitted is not None else None
        if kept is None:
            raise ConfigError(
                f"nothing to validate in {root_of(self.trainer)}: run `madkit fit` first or name a --ckpt_path"
            )
        self.config_init["validate"]["ckpt_path"] = str(kept)
