"""Where a case happens: a folder of its own, filled from finished runs that are made once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from campaign.forks import Ended, madkit, run_forked

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "recipes"
#: Where a command may write; all else in a case's folder has to stay as it was.
OWN = ("runs", "out", "tmp", "logs")
SHORT = {"n_train": 240, "n_validation": 120}

PREDICT_RECIPE = """\
model:
  class_path: Extractor
  init_args:
    features:
      - {class_path: Activations, init_args: {first: 1, step: 1}}
      - {class_path: Answers, init_args: {splits: [trusted, calibration, test]}}
    controls: [activations]
data: {init_args: {dataset: addition}}
"""
TEST_RECIPE = """\
model:
  class_path: Detection
  init_args:
    aggregations: [mean]
    ceiling: false
    detectors:
      - {feature: activations, score: {class_path: Mahalanobis}}
      - {feature: activations, adapter: false, score: {class_path: Mahalanobis}}
      - {feature: answers, score: {class_path: MaxSoftmax}}
data: {class_path: StoreData, init_args: {dataset: addition}}
"""
#: The words of a short fit, predict and test; whatever a case says after them counts.
FIT = (
    *("fit", "--config", "@recipes/tiny-llama.yaml", "--run", "runs", "--model.base", "@base"),
    *("--data.task_options", json.dumps(SHORT), "--trainer.max_steps", "4", "--trainer.val_check_interval", "2"),
    *("--data.max_validation", "16", "--data.batch_size", "8", "--data.shard_size", "32"),
    *(
        "--data.max_trusted",
        "40",
        "--data.max_untrusted",
        "24",
        "--data.max_test",
        "24",
        "--data.max_calibration",
        "16",
    ),
)
PREDICT = ("predict", "--config", "@templates/predict.yaml", "--run", "runs")
TEST = ("test", "--config", "@templates/test.yaml", "--run", "runs")


def named(word: str, root: Path, templates: Path) -> str:
    """A word of a command line with the folders that it names: @root, @base, @templates, @recipes, @project."""
    folders = {
        "@root": root,
        "@base": templates / "base",
        "@templates": templates,
        "@recipes": RECIPES,
        "@project": ROOT,
    }
    for name, folder in folders.items():
        word = word.replace(name, str(folder))
    return word


class Templates:
    """Finished runs that cases start from, made by the stages themselves.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base, self.other_base = folder / "base", folder / "base-2"

    def make(self) -> None:
        """Two bases; a run that was fitted, one that was predicted too, and one that was tested too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "predict.yaml").write_text(PREDICT_RECIPE)
        (self.folder / "test.yaml").write_text(TEST_RECIPE)
        _must(run_forked(self._make_bases, logs=self.folder / "logs", cwd=self.folder))
        before: Path | None = None
        for name, words in (("fitted", FIT), ("predicted", PREDICT), ("tested", TEST)):
            place = self.folder / name
            if before is not None:
                shutil.copytree(before, place)
            place.mkdir(exist_ok=True)
            _must(
                run_forked(
                    madkit(*[named(word, place, self.folder) for word in words]),
                    logs=self.folder / "logs" / name,
                    cwd=place,
                )
            )
            before = place

    def _make_bases(self) -> None:
        import conftest

        conftest.SIZE = {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
        }
        conftest.make_base(self.base, "llama")
        conftest.make_base(self.other_base, "llama", seed=1)


class Place:
    """The folder of one case.

    Args:
        root: the folder, which is made.
        templates: the finished runs.
    """

    def __init__(self, root: Path, templates: Templates) -> None:
        self.root, self.templates = root, templates
        self.run = root / "runs" / "addition"
        root.mkdir(parents=True)

    def named(self, word: str) -> str:
        """A word of a command line with the folders that it names."""
        return named(word, self.root, self.templates.folder)

    def start_from(self, template: str) -> None:
        """Copy the run folder of a finished run."""
        shutil.copytree(self.templates.folder / template / "runs", self.root / "runs")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write an input file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def copy_base(self, name: str = "base") -> Path:
        """A copy of the base model, to be damaged."""
        return Path(shutil.copytree(self.templates.base, self.root / name))

    def store(self, feature: str = "activations", root: str = "features") -> Path:
        """The folder of a feature's store."""
        (found,) = [path for path in (self.run / root / feature).iterdir() if path.is_dir()]
        return found

    def others(self) -> dict[str, tuple[int, int]]:
        """Everything outside the folders that a command may write to: path, time of change, size."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            if Path(folder) == self.root:
                folders[:] = [name for name in folders if name not in OWN]
            for name in (*folders, *files):
                path = Path(folder) / name
                status = path.lstat()
                is_file = name in files
                found[str(path.relative_to(self.root))] = (status.st_mtime_ns, status.st_size) if is_file else (0, 0)
        return found


def digests(folder: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """A digest of the content of each file that fits one of the patterns."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(folder, patterns)
    }


def _files(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _must(ended: Ended) -> None:
    if ended.code != 0:
        raise RuntimeError(f"a template could not be made: {ended.err[-3000:]}")
