"""How the cost of `madkit predict`, `madkit test` and the tables of `madkit figures` grows: CPU seconds, peak memory.

    python benchmarks/scale.py                     # three sizes of each, about four minutes of CPU
    python benchmarks/scale.py --factor 0.1        # a tenth of the prompts, a third of the sites and folders
    python benchmarks/scale.py --only neighbours --out scale.json

Stores and result folders are made up and small in width: what counts is how the numbers grow. Each size runs in a
process of its own, forked after a warm-up, so that its peak of memory is that of no other. An exponent b says that the
cost grows as size^b; it is fitted to all three sizes, and to the last two, where what does not grow at all weighs less.
Needs Linux.
"""

import argparse
import json
import logging
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import torch

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.derived import Conditional
from madkit.detection.data import StoreData
from madkit.detection.detection import Detection
from madkit.detection.detector import Detector
from madkit.extraction.extractor import Extractor
from madkit.features import Activations, Answers
from madkit.scores import KNearestNeighbours, LocalOutlierFactor, Mahalanobis, ScoreCollection
from madkit.store.feature_store import FeatureStore
from madkit.store.shards import cut_shards
from madkit.store.variant import Variant

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE))
from tests.fabricated import tables_of, write_run  # noqa: E402

WIDTH, SHARD = 64, 512
VARIANTS = (Variant("activations"), Variant("activations", adapter=False))


class Size(NamedTuple):
    """What a size cost."""

    size: int
    seconds: float
    """Of CPU, all threads together."""
    memory: float
    """GiB at the peak, beyond what the process had before."""


def prompts_of(n: int) -> pd.DataFrame:
    """Trusted, calibration and test prompts, n together, with eight test prompts a statement."""
    rng = np.random.default_rng(0)
    split = np.repeat(["trusted", "calibration", "test"], [n * 2 // 5, n // 5, n - n * 2 // 5 - n // 5])
    bob = (np.arange(n) % 2 == 1) & (split == "test")
    table = pd.DataFrame({"row": np.arange(n), "split": split, "id": [f"q{i}" for i in range(n)], "anomalous": bob})
    table["statement"] = [f"q{i // 8}" for i in range(n)]
    table["character"] = np.where(bob, "Bob", "Alice")
    table["name"] = [f"{character}{i % 12}" for i, character in enumerate(table["character"])]
    table["alice_label"], table["bob_label"] = rng.random(n) < 0.5, rng.random(n) < 0.5
    table["label"] = np.where(bob, table["bob_label"], table["alice_label"])
    return table.assign(difficulty=0.0, difficulty_quantile=0.5, prompt="1 + 1 = 2?")


def write_stores(run: Path, n: int, sites: int, width: int = WIDTH, features: Sequence[str] = ()) -> None:
    """Vectors of the tuned model and of its base, which explains most of them; and other features, made alike."""
    table = prompts_of(n)
    shards = cut_shards(table["split"].tolist(), SHARD)
    names = [f"model.layers.{i}" for i in range(sites)]
    off = torch.from_numpy(table["anomalous"].to_numpy()).double()[:, None]
    for variant in (*VARIANTS, *map(Variant, features)):
        identity = {"base": "b", "adapter": "a", "prompts": {}, "feature": {}, "control": not variant.adapter}
        store = FeatureStore.create(variant.folder(run), identity, names, shards, table, list(range(sites)))
        for shard in shards:
            draw = torch.Generator().manual_seed(shard.index)
            rows = torch.tensor(shard.rows)
            base = {name: torch.randn(len(rows), width, generator=draw) for name in names}
            noise = torch.randn(len(rows), width, generator=draw) / 4
            tuned = {name: (x + noise + off[rows]).float() for name, x in base.items()}
            store.write(shard.index, rows, tuned if variant.adapter else base)
        store.finish()


def trainer_in(run: Path) -> L.Trainer:
    """A trainer that says nothing."""
    return L.Trainer(
        default_root_dir=str(run), accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
    )  # fmt: skip


def detect(folder: Path, n: int, sites: int) -> Callable[[], object]:
    """The `test` stage, without the start of a process."""
    run = folder / "model" / "addition"
    write_stores(run, n, sites)
    detectors = [
        Detector(Conditional(studentised=True), LocalOutlierFactor(20)),
        Detector(Conditional(studentised=True), Mahalanobis()),
        Detector("activations", LocalOutlierFactor(20)),
        Detector("activations", Mahalanobis()),
    ]
    model = Detection(detectors, ["mean", "zscore"], ceiling=False)
    trainer = trainer_in(run)
    return lambda: trainer.test(model, StoreData("addition"), verbose=False)


def read(folder: Path, n: int) -> Callable[[], object]:
    """The `predict` stage of a small base model, activations and answers, without the start of a process."""
    counts = {"max_trusted": n // 5, "max_untrusted": n // 5, "max_calibration": n // 10, "max_test": n // 2}
    data = QuirkyData(
        "addition", "compact", task_options={"n_train": 2 * n, "n_validation": n, "min": 0, "max": 99, "uniform": 1.0},
        predict_batch_size=256, **counts,
    )  # fmt: skip
    extractor = Extractor(
        str(HERE / "bases" / "tiny-llama"), [Activations(), Answers()], adapter="none", dtype="float32"
    )
    trainer = trainer_in(folder)
    return lambda: trainer.predict(extractor, data, return_predictions=False)


def neighbours(folder: Path, n: int, index: str = "exact") -> Callable[[], object]:
    """LOF and the k nearest neighbours of 1,000 prompts among n trusted ones; fitting looks at all pairs, or at cells.

    Most of what trusted prompts differ in lies in a few directions, as in activations.
    """
    draw = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1).pow(-1.0)
    trusted, test = (torch.randn(rows, WIDTH, generator=draw) * spread for rows in (n, 1000))

    def work() -> None:
        scores = ScoreCollection([LocalOutlierFactor(20, index=index), KNearestNeighbours(20, index=index)])
        scores.fit(trusted)(test)
        if index != "exact":
            print(f"recall among {n:,}: {float(scores['lof_' + index].recall):.3f}", file=sys.stderr)

    return work


approximate = partial(neighbours, index="ivf")


def tables(folder: Path, n: int) -> Callable[[], object]:
    """All tables of n result folders: they are read, compared and written."""
    runs = [write_run(folder, f"model-{i // 9}", f"dataset-{i % 9}", layers=4, n=60) for i in range(n)]
    return lambda: tables_of(runs, folder / "out")


def parts(factor: float) -> dict[str, tuple[str, Callable[[Path, int], Callable[[], object]], list[int]]]:
    """Of each part what is counted, what is run, and three sizes."""
    root = factor**0.5
    return {
        "predict": ("predict: prompts", read, _sizes((1000, 3000, 10000), factor)),
        "prompts": ("test: prompts, 4 sites", lambda f, n: detect(f, n, 4), _sizes((1000, 10000, 30000), factor)),
        "sites": ("test: sites, 1,000 prompts", lambda f, n: detect(f, 1000, n), _sizes((4, 20, 80), root)),
        "neighbours": ("LOF and kNN, exact: trusted prompts", neighbours, _sizes((5000, 15000, 45000), factor)),
        "ivf": (
            "LOF and kNN, `ivf`: trusted prompts",
            partial(neighbours, index="ivf"),
            _sizes((5000, 15000, 45000), factor),
        ),
        "tables": ("tables: result folders", tables, _sizes((18, 100, 300), root)),
    }


def _sizes(sizes: Sequence[int], factor: float) -> list[int]:
    return [round(size * factor) for size in sizes]


def measured(make: Callable[[Path, int], Callable[[], object]], size: int) -> Size:
    """What a size costs, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            work = make(Path(folder), size)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before, start = _memory("VmRSS"), time.process_time()
            work()
            send.send(Size(size, time.process_time() - start, _memory("VmHWM") - before))

    process = context.Process(target=child)
    process.start()
    send.close()
    try:
        found: Size = receive.recv()
    finally:
        process.join()
    return found


def _memory(name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 2**20


def exponent(found: Sequence[Size]) -> float:
    """The slope of log seconds over log size."""
    sizes, seconds = (np.log([getattr(each, name) for each in found]) for name in ("size", "seconds"))
    return float(np.polyfit(sizes, seconds, 1)[0])


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=1.0, help="how much larger all sizes are")
    parser.add_argument("--only", nargs="+", choices=parts(1), default=list(parts(1)))
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # before the fork: a pool of threads would not survive it
    rows = []
    print("| what grows | sizes | CPU seconds | peak memory, GiB | exponent | of the last two |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        title, make, sizes = parts(options.factor)[name]
        if name == "ivf" and find_spec("faiss") is None:
            print(f"| {title} | not run: faiss-cpu is not installed | | | | |")
            continue
        measured(make, sizes[0])  # what a first call imports and compiles is found in the page cache afterwards
        found = [measured(make, size) for size in sizes]
        cells = (
            " / ".join(f"{each.size:,}" for each in found),
            " / ".join(f"{each.seconds:.2f}" for each in found),
            " / ".join(f"{each.memory:.2f}" for each in found),
            f"{exponent(found):.2f}",
            f"{exponent(found[1:]):.2f}",
        )
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
        rows += [{"part": name, **each._asdict()} for each in found]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
