"""The Lightning stages behind the `madkit` command: fit, validate, test, predict."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from madkit.cli.lm_recipe import with_lm_recipe
from madkit.cli.progress_lines import ProgressLines
from madkit.cli.tensorboard_figures import TensorBoardFigures
from madkit.errors import ConfigError
from madkit.runs.atomic import write_json
from madkit.runs.folder import fit_key, folder_of, provenance, root_of, save_recipe, stage_of
from madkit.runs.progress import in_lines

# Messages that a user of madkit can do nothing about.
NOISE = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*You have overridden `on_before_batch_transfer`.*",
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*predict returned None.*",
    ".*is_gradient_checkpointing. is deprecated.*",
    ".*is smaller than the logging interval.*",
    ".*Starting from v1.9.0, `tensorboardX` has been removed.*",
)


def quiet() -> None:
    """Keep Lightning's tips and notices off the terminal; warnings that matter stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message)


DESCRIPTIONS = {
    "fit": "Train a base LM, a quirky LM, or encoders on a base LM; continues where an interrupted run stopped.",
    "validate": "Repeat the validation of a fitted LM or encoder.",
    "test": "Fit detectors on trusted prompts and judge them on test prompts.",
    "predict": "Read features of trusted, untrusted and test prompts into the run's stores.",
}
GROUPS = {
    "trainer": "Lightning's Trainer: devices, precision, length of training, callbacks",
    "model": "What is trained or run; its own options: --model.help CLASS",
    "data": "What goes in; its own options: --data.help CLASS",
}


def _parser_options(stage: str) -> dict[str, Any]:
    usage = f"madkit {stage} --config RECIPE.yaml [--section.option value ...]"
    return {"exit_on_error": False, "description": DESCRIPTIONS[stage], "usage": usage}


class SaveRecipe(SaveConfigCallback):
    """Write the resolved recipe into the run folder as ``<stage>.yaml``, headed by version and commit.

    A module whose ``recipe`` is another name keeps its own apart from those of the modules it builds on.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write once, from the first process; a repeated stage overwrites its own file."""
        if self.already_saved or not trainer.is_global_zero:
            return
        text = self.parser.dump(self.config, skip_none=False)
        name = getattr(pl_module, "recipe", stage_of(trainer))
        save_recipe(root_of(trainer) / f"{name}.yaml", text)
        self.already_saved = True


class Stages(LightningCLI):
    """LightningCLI with run folders: results, checkpoints and logs go to ``<run>/<dataset>``."""

    def __init__(self) -> None:
        quiet()
        super().__init__(
            save_config_callback=SaveRecipe,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False, "log_every_n_steps": 10},
            parser_kwargs={"exit_on_error": False, **{stage: _parser_options(stage) for stage in DESCRIPTIONS}},
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder, and say plainly what each group of options is about."""
        groups: Any = parser.groups
        for name, title in GROUPS.items():
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
        self.config = parser.parse_args(with_lm_recipe(sys.argv[1:]))

    def _parse_ckpt_path(self) -> None:
        """Take weights from a checkpoint, never options: the recipe and the flags alone decide those."""

    def before_instantiate_classes(self) -> None:
        """Derive the run folder and what depends on it."""
        config = self.config[self.subcommand]
        trainer = config.trainer
        data = config.data.as_dict() if config.get("data") else None
        folder = folder_of(config.run, data)
        if folder is not None:
            trainer.default_root_dir = str(folder)
        if trainer.default_root_dir is None:
            raise ConfigError("run=None: say where results go with `--run runs/<name>`, in the recipe or as an option")
        if self.subcommand == "fit":
            self.key = fit_key(config.as_dict())
        if self.subcommand == "predict":  # they go to the store; a list of them in memory would only grow
            config.return_predictions = False

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with TensorBoard in the run folder and progress that suits the terminal."""
        config = self.config_init[self.subcommand].trainer
        callbacks: list[Any] = []
        lines = in_lines()
        if lines and config.enable_progress_bar is not False:
            callbacks.append(ProgressLines())
        if config.logger in (None, True) and self.subcommand == "predict":
            kwargs["logger"] = False  # what it makes is a store; there is no curve to watch
        elif config.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                config.default_root_dir, name="tensorboard", version=str(self.subcommand), default_hp_metric=False
            )
            callbacks.append(TensorBoardFigures())
            if self.subcommand == "fit":
                callbacks.append(LearningRateMonitor("step"))
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": callbacks}
        return super().instantiate_trainer(**kwargs)

    @property
    def _marker(self) -> Path:
        return root_of(self.trainer) / "fit.json"

    def before_fit(self) -> None:
        """Continue an interrupted fit of the same recipe; do nothing where it has been finished."""
        if getattr(self.trainer, "fast_dev_run", False):
            return
        checkpoints = root_of(self.trainer) / "checkpoints" / self.key
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(checkpoints)
        self.finished = self._is_finished()
        if self.finished:
            return
        last = checkpoints / "last.ckpt"
        if self.config_init["fit"].get("ckpt_path") is not None:
            return
        if last.exists():
            self.config_init["fit"]["ckpt_path"] = str(last)
        elif self.trainer.is_global_zero:
            # The curves of another recipe must not run on into this one's.
            shutil.rmtree(root_of(self.trainer) / "tensorboard" / "fit", ignore_errors=True)

    def _is_finished(self) -> bool:
        if not self._marker.exists():
            return False
        marker = json.loads(self._marker.read_text())
        return marker["key"] == self.key and (self._marker.parent / marker["result"]).exists()

    def fit(self, model: L.LightningModule, **kwargs: Any) -> None:
        """Train, then validate the best weights once more for the final numbers and histograms."""
        if getattr(self, "finished", False):
            self._marker.touch()  # up to date as of now, which is what `make` looks at
            print(
                f"{self._marker.parent}: this recipe has already been fitted; delete {self._marker} to do it again",
                file=sys.stderr,
            )
            return
        self._marker.unlink(missing_ok=True)
        self.trainer.fit(model, **kwargs)
        if getattr(self.trainer, "fast_dev_run", False):
            return
        steps = self.trainer.global_step
        metrics = self.trainer.validate(model, datamodule=kwargs.get("datamodule"), verbose=False)[0]
        if self.trainer.is_global_zero:
            marker = {"key": self.key, "result": model.export_name, "steps": steps, "metrics": metrics, **provenance()}
            write_json(self._marker, marker)
            summary = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            print(f"{self._marker.parent / str(model.export_name)}: {summary}", file=sys.stderr)

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
        found = sorted((root_of(self.trainer) / "checkpoints").glob("*/best*.ckpt"), key=lambda p: p.stat().st_mtime)
        if not found:
            raise ConfigError(
                f"nothing to validate in {root_of(self.trainer)}: run `madkit fit` first or name a --ckpt_path"
            )
        self.config_init["validate"]["ckpt_path"] = str(found[-1])
