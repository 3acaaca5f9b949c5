"""A monitor in a benchmark of monitors: what MOOD Bench does with a pipeline, and what it gets."""

import sys
from enum import Enum
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from madkit import Monitor
from madkit.errors import ConfigError

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(12) for j in range(12)]
SAMPLES = Dataset.from_dict(
    {
        "id": list(range(40)),
        "conversation": [f"Statement: {i} + {i + 20} = {2 * i + 20}" for i in range(20)]
        + [f"{i} Yes = = No" for i in range(20)],
        "domain": ["hh-rlhf-helpful"] * 20 + ["scheming"] * 20,
        "malign": [0] * 20 + [1] * 20,
    }
)


@pytest.fixture(scope="module")
def monitor(bases):
    model, tokenizer = (kind.from_pretrained(bases["llama"]) for kind in (AutoModelForCausalLM, AutoTokenizer))
    return Monitor.fit(model, tokenizer, TRUSTED)


def as_the_benchmark_does(pipeline: Any, dataset: Dataset) -> Dataset:
    """The lines of ``mood_bench.core.mood_bench`` (1.0.0) that have to do with a pipeline."""
    scores, meta = pipeline(dataset["conversation"], batch_size=16)
    scored = dataset.add_column("score", scores.tolist())
    for key, value in meta.items():
        if isinstance(value, list):
            scored = scored.add_column(key, value)
    return scored


def test_the_benchmark_gets_a_score_for_each_conversation(monitor):
    table = monitor.score(SAMPLES["conversation"][:], fpr=0.05)
    scored = as_the_benchmark_does(monitor.as_pipeline(fpr=0.05), SAMPLES)
    np.testing.assert_allclose(scored["score"], table["score"], rtol=1e-6)
    assert scored["p_value"][:] == table["p_value"].tolist() and scored["alarm"][:] == table["alarm"].tolist()
    assert roc_auc_score(scored["malign"], scored["score"]) > 0.95  # higher is more unsafe
    assert set(as_the_benchmark_does(monitor.as_pipeline(), SAMPLES).column_names) == {
        *SAMPLES.column_names,
        "score",
        "p_value",
    }


def test_a_rate_that_cannot_be_promised_is_refused_before_anything_is_scored(monitor):
    with pytest.raises(ConfigError, match="fpr"):
        monitor.as_pipeline(fpr=1e-6)


def test_the_benchmark_itself(monitor, monkeypatch, tmp_path):
    pytest.importorskip("mood_bench", reason="MOOD Bench needs Python 3.12")
    core = sys.modules["mood_bench.core"] if "mood_bench.core" in sys.modules else __import__("mood_bench.core").core
    assert issubclass(core.EvalDataset, Enum)
    monkeypatch.setattr(core, "load_mood_dataset", lambda *args, **options: SAMPLES)
    _, report = core.mood_bench(monitor.as_pipeline(fpr=0.05), output_dir=str(tmp_path), include_figures=False)
    expected = roc_auc_score(SAMPLES["malign"], as_the_benchmark_does(monitor.as_pipeline(), SAMPLES)["score"])
    assert report["groups"]["scheming"]["auroc"] == pytest.approx(expected)
    assert list(tmp_path.glob("MonitorPipeline_*/results.jsonl"))
