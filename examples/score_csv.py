"""Score prompts of your own with a fitted detector.

    python examples/score_csv.py runs/tiny-llama/addition prompts.csv scored.csv

The CSV has a column `prompt`. Each prompt goes through the quirky model of the run; the detector that `madkit test`
fitted on trusted prompts scores what happens inside, layer by layer. The result is the CSV with two more columns:
`score`, the mean over layers as in Table 1, and `above`, the share of the run's normal test prompts that score lower:
1.0 means more anomalous than all of them.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftConfig

from madkit import FeatureStore
from madkit.data.prompts.tokens import tokenize_prompts
from madkit.extraction.forward_pass import trace
from madkit.features import Activations
from madkit.lm import adapters, loading
from madkit.scores import load_score

BATCH = 64


@torch.no_grad()
def main(run: str | Path, prompts: str | Path, out: str | Path, score: str = "mahalanobis") -> pd.DataFrame:
    """Write `out` and return it as a table.

    Args:
        run: a run folder after `madkit test`.
        prompts: a CSV with a column `prompt`.
        out: the CSV to write.
        score: the score's name in the results.
    """
    run = Path(run)
    store = FeatureStore.current(run / "features" / "activations")
    base = PeftConfig.from_pretrained(run / "adapter").base_model_name_or_path
    lm = adapters.load_adapter(loading.load_causal_lm(base, dtype=store.identity["dtype"]), str(run / "adapter"))
    feature = Activations(**store.identity["feature"]["options"])
    detectors = {s: load_score(run / "detection" / "detectors" / "activations" / score / s) for s in store.sites}

    table = pd.read_csv(prompts)
    choices = store.rows["choices"].iloc[0]
    length = store.identity["prompts"]["max_length"]
    tokens = tokenize_prompts(loading.load_tokenizer(base), table["prompt"].tolist(), [choices] * len(table), length)
    hookpoints = {feature.name: feature.hookpoints(lm.get_base_model())}
    found = []
    for rows in np.array_split(np.arange(len(table)), -(-len(table) // BATCH)):
        ids, mask = (torch.from_numpy(part) for part in tokens.padded(rows))
        batch = {"input_ids": ids, "attention_mask": mask, "choices": torch.from_numpy(tokens.choices[rows])}
        vectors = feature(trace(lm, [feature], hookpoints, batch)[feature.name])
        found.append(torch.stack([detectors[site](x) for site, x in vectors.items()]).mean(0))
    table["score"] = torch.cat(found).numpy()

    known = pd.read_parquet(run / "detection" / "scores.parquet")
    known = known[known["adapter"] & (known["feature"] == "activations")]
    known = known[(known["score"] == score) & (known["aggregation"] == "mean")]
    people = pd.read_parquet(run / "detection" / "prompts.parquet").set_index("row")
    normal = np.sort(known.loc[~people.loc[known["row"], "anomalous"].to_numpy(dtype=bool), "value"])
    table["above"] = np.searchsorted(normal, table["score"]) / len(normal)
    table.to_csv(out, index=False)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
