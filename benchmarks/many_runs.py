"""How the tables of `madkit figures` grow with the number of runs whose tables are as large as those of a real study.

    python benchmarks/many_runs.py                 # 18, 90 and 360 runs
    python benchmarks/many_runs.py --sizes 1000

Each run has 2,000 test prompts with their scores, components and tests. They are copies of one under other names, as
what counts is how much of them is held at once. Pictures are not drawn: of many models and datasets they show the first
ones, and so they stop to grow.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
from scale import exponent, measured

from tests.fabricated import MANY, tables_of, write_run

TITLE = "tables: runs of 2,000 prompts"
SIZES = (18, 90, 360)
_DATASETS = 9


def write_runs(folder: Path, n: int) -> list[Path]:
    """The folders of n runs: nine datasets a model, all copies of one."""
    first = write_run(folder / "first", "model", "dataset", layers=4, n=2000, detectors=MANY)
    runs = []
    for index in range(n):
        model, dataset = f"model-{index // _DATASETS}", f"dataset-{index % _DATASETS}"
        run = folder / "runs" / model / dataset
        shutil.copytree(first, run, copy_function=os.link)
        for name in ("results", "separation"):
            path = run / "detection" / f"{name}.parquet"
            table = pd.read_parquet(path).assign(model=model, dataset=dataset)
            path.unlink()  # a link, and the first run keeps its own
            table.to_parquet(path)
        runs.append(run)
    return runs


def tables(folder: Path, n: int) -> Callable[[], object]:
    """All tables of n runs: they are read, compared and written."""
    runs = write_runs(folder, n)
    return lambda: tables_of(runs, folder / "out")


def main() -> None:
    """Measure, and print a row in Markdown, with the columns of `benchmarks/scale.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    found = [measured(tables, size) for size in sizes]
    cells = (
        " / ".join(f"{each.size:,}" for each in found),
        " / ".join(f"{each.seconds:.2f}" for each in found),
        " / ".join(f"{each.memory:.2f}" for each in found),
        f"{exponent(found):.2f}" if len(found) > 1 else "-",
        f"{exponent(found[-2:]):.2f}" if len(found) > 1 else "-",
    )
    print(f"| {TITLE} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
