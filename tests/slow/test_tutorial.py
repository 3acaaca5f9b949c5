"""The notebook runs from beginning to end, prints what the tutorial shows, and what the tutorial says of it holds.

Which model comes out differs from processor to processor: training magnifies the last digits of its sums. So numbers
and examples of prompts are not compared with the page, and the page's claims are.
"""

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

from madkit.data.prompts.characters import BOB_NAMES

PATH = Path(__file__).resolve().parents[2] / "docs" / "tutorial.py"
spec = importlib.util.spec_from_file_location("docs_tutorial", PATH)
tutorial = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorial)
_NUMBER = re.compile(r"[-+]?\d+\.\d+")
_EXAMPLE = re.compile(r"^(Name|Statement): .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Cells, what each printed, the picture, and the results that were written."""
    folder = tmp_path_factory.mktemp("tutorial")
    found = tutorial.cells()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MADKIT_PROGRESS", "lines")
        outputs, picture = tutorial.run(found, folder)
    results = pd.read_parquet(folder / "runs/tiny-llama/population/detection/results.parquet")
    return found, outputs, picture, results[(results["aggregation"] == "mean") & (results["subset"] == "all")]


def test_every_step_prints_what_the_page_shows(ran):
    found, outputs, picture, _ = ran
    assert picture.startswith(b"\x89PNG")
    kept = []
    for page in (tutorial.page(found, outputs), tutorial.PAGE.read_text()):
        words = _NUMBER.sub("#", _EXAMPLE.sub(r"\1", page)).split()
        kept.append(sorted(words))  # the table of detectors is in the order of its numbers
    assert kept[0] == kept[1]


def test_examples_come_from_the_data(ran):
    """The prompts that a detector misses are Bob's: his names are not Alice's."""
    found, outputs, _, _ = ran
    (printed,) = [text for cell, text in zip(found, outputs, strict=True) if "nsmallest" in cell.text]
    names = re.findall(r"^Name: (\w+)$", printed, re.MULTILINE)
    assert len(names) == 2 and set(names) <= set(BOB_NAMES)
    assert len(re.findall(r"^Statement: .+ has over thirty thousand people$", printed, re.MULTILINE)) == 2


def test_what_the_tutorial_says_of_detectors_holds(ran):
    *_, results = ran
    on, off = (results[results["adapter"] == adapter] for adapter in (True, False))
    best = on[on["feature"] == "conditional_studentised"].set_index("score")["auroc"]
    published = on[on["feature"] == "activations"].set_index("score")["auroc"]
    assert best["mahalanobis"] > max(0.95, published["mahalanobis"])
    assert best["mahalanobis"] > published["lof"]
    # No quirk: nothing to find.
    for row in off.itertuples():
        assert row.low < 0.55, row.score
        assert row.high > 0.45, row.score


def test_the_model_learns_its_secret(ran):
    found, outputs, _, _ = ran
    (printed,) = [text for cell, text in zip(found, outputs, strict=True) if cell.text.startswith("!madkit fit")]
    values = {name: float(value) for name, value in re.findall(r"val/(\w+) (\d+\.\d+)", printed)}
    assert values["alice_accuracy"] > 0.95
    assert values["bob_accuracy"] > 0.9
    assert values["bob_truth_accuracy"] < 0.6  # where Bob's answers and the truth are told apart, half of them agree
