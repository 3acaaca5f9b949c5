"""The benchmark of extraction, at a size that means nothing: its sides read the same, and every line is there."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "extraction.py"
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 500,
}  # fmt: skip
OPTIONS = argparse.Namespace(size="small", batch=3, length=7, passes=2)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def bench(monkeypatch):
    """The benchmark as a module, with one more size."""
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("benchmark_of_extraction", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.SIZES, "small", SMALL)
    return module


def test_all_sides_read_the_same(bench, capsys):
    bench.compare(OPTIONS, bench.memory)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "small, 3 prompts of 7 tokens, 2 passes"
    assert [line[2:20].strip() for line in lines] == ["madkit", "activations alone", "hidden states", "hooks"]
    assert all(" ms " in line and " GiB " in line for line in lines)
    sites = [f"model.layers.{layer}" for layer in (1, 4, 7)]
    vectors = {side: bench.memory(side, OPTIONS)[1] for side in bench.SIDES}
    assert list(vectors["activations alone"]) == sites
    assert all(list(found) == [*sites, "logits"] for side, found in vectors.items() if side != "activations alone")


def test_other_vectors_fail(bench, monkeypatch):
    def wrong(lm, batch):
        found = bench.hooks(lm, batch)
        return found | {"model.layers.4": found["model.layers.7"]}

    monkeypatch.setitem(bench.SIDES, "hooks", wrong)
    with pytest.raises(SystemExit, match="hooks: its vectors are not"):
        bench.compare(OPTIONS, bench.memory)
    assert not bench.difference({"a": torch.tensor([float("nan")])}, {"a": torch.ones(1)}) <= 1
