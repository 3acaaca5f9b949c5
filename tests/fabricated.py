"""Result folders as the stages leave them, made in a moment: any number of models and datasets."""

import functools
import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from madkit.detection.result_tables import comparisons_table
from madkit.figures import registry
from madkit.figures.drawing import style
from madkit.figures.output import write_text
from madkit.figures.registry import Sheet, all_families
from madkit.figures.results.loading import load_results
from madkit.figures.results.results import Results
from madkit.statistics import low_fpr

LOSSES = ("alice_own", "alice_other", "bob_own", "bob_other")

#: The families that write tables.
TABLES = ("which_detector", "table1", "aggregations", "rare_alarms", "comparisons", "detectors", "within_answers")

#: Feature, score, setting, how much of the quirk it sees, and whether the adapter is on.
DETECTORS = [
    ("activations", score, "online", scale, adapter)
    for adapter, scale in ((True, 1.0), (False, 0.0))
    for score in ("mahalanobis", "lof")
]
MANY = [
    *DETECTORS,
    ("activations", "knn", "online", 0.7, True),
    ("activations", "quantum_entropy", "offline", 1.2, True),
    ("attribution", "mahalanobis", "online", 0.5, True),
    ("attribution", "lof", "online", 0.6, True),
    ("flow", "laplace_nll", "online", -0.4, True),
    ("sae", "diagonal_mahalanobis", "online", 0.3, True),
]


def write_run(
    root: Path, model: str, dataset: str, *, layers: int = 8, n: int = 120, seed: int = 0, detectors: list = DETECTORS
) -> Path:
    """Write one run folder under `root` and return it: every part of a finished run but checkpoints."""
    run = root / model / dataset
    (run / "detection").mkdir(parents=True)
    for name, content in _files(model, dataset, layers, n, seed, tuple(detectors)).items():
        (run / name).write_bytes(content)
    return run


@functools.cache
def _files(model: str, dataset: str, layers: int, n: int, seed: int, detectors: tuple) -> dict[str, bytes]:
    """What is in a run folder, by path within it. Many tests begin with the same one, and each changes its own copy."""
    with tempfile.TemporaryDirectory() as made:
        run = Path(made)
        (run / "detection").mkdir()
        _make(run, model, dataset, layers, n, seed, detectors)
        return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def _make(run: Path, model: str, dataset: str, layers: int, n: int, seed: int, detectors: tuple) -> None:
    rng = np.random.default_rng([seed, *map(ord, model + dataset)])
    strength = rng.uniform(0, 3)
    prompts = _prompts(rng, n, strength)
    prompts.to_parquet(run / "detection" / "prompts.parquet")
    results, scores = _detection(rng, model, dataset, prompts, layers, strength, detectors)
    results.to_parquet(run / "detection" / "results.parquet")
    scores.to_parquet(run / "detection" / "scores.parquet")
    comparisons_table(scores, prompts).to_parquet(run / "detection" / "comparisons.parquet")
    features = sorted({feature for feature, *_ in detectors})
    _separation(rng, model, dataset, layers, strength, n, features).to_parquet(run / "detection" / "separation.parquet")
    _pca(rng, prompts, layers).to_parquet(run / "detection" / "pca.parquet")
    _nearest(prompts, layers).to_parquet(run / "detection" / "nearest.parquet")
    _recipes(run, model, dataset)
    _summary(run / "detection" / "summary.json", rng, model, dataset, strength, n)
    _history(rng, model, dataset).to_parquet(run / "history.parquet")


def leave_results_alone(run: Path) -> None:
    """Remove what only some figures read, so that few are drawn."""
    for name in ("prompts", "separation", "pca", "scores", "comparisons"):
        (run / "detection" / f"{name}.parquet").unlink()
    (run / "history.parquet").unlink()


def draw_only(patch: pytest.MonkeyPatch, *names: str) -> None:
    """For the rest of a test, these are all families of figures that there are."""
    few = {family.name: family for family in all_families() if family.name in names}
    assert len(few) == len(names)
    patch.setattr(registry, "_FAMILIES", few)


def _prompts(rng: np.random.Generator, n: int, strength: float) -> pd.DataFrame:
    bob = np.arange(n) % 2 == 1
    alice_label, agree = rng.random(n) < 0.5, rng.random(n) < 0.5
    bob_label = np.where(agree, alice_label, ~alice_label)
    label = np.where(bob, bob_label, alice_label)
    log_odds = np.where(label, 1, -1) * strength + rng.normal(0, 1, n)
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "id": [f"q{i // 2}" for i in range(n)],
            "statement": [f"q{i // 4}" for i in range(n)],
            "name": np.where(bob, "Bob", "Alice"),
            "character": np.where(bob, "Bob", "Alice"),
            "label": label,
            "alice_label": alice_label,
            "bob_label": bob_label,
            "agree": agree,
            "anomalous": bob,
            "difficulty": rng.random(n),
            "difficulty_quantile": rng.uniform(0.75, 1, n),
            "prompt": "1 + 1 = 2?",
            "logit_no": -log_odds / 2,
            "logit_yes": log_odds / 2,
            "log_odds": log_odds,
        }
    )


def _nearest(prompts: pd.DataFrame, layers: int) -> pd.DataFrame:
    rows = pd.DataFrame({"row": prompts["row"]}).merge(pd.DataFrame({"rank": [1, 2, 3]}), how="cross")
    sites = pd.DataFrame({"layer": [3 * i + 1 for i in range(layers)]})
    table = rows.merge(sites.assign(site=[f"model.layers.{layer}" for layer in sites["layer"]]), how="cross")
    texts = [f"trusted {row % 7} {rank}" for row, rank in zip(table["row"], table["rank"], strict=True)]
    distance = 0.5 * table["rank"] + table["row"] % 3
    return table.assign(feature="activations", adapter=True, prompt=texts, distance=distance, typical=0.5)


def _detection(
    rng: np.random.Generator,
    model: str,
    dataset: str,
    prompts: pd.DataFrame,
    layers: int,
    strength: float,
    detectors: tuple,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, scores = [], []
    bob = prompts["anomalous"].to_numpy()
    sites = [(f"model.layers.{3 * i + 1}", 3 * i + 1, "") for i in range(layers)]
    for feature, score, setting, scale, adapter in detectors:
        values = []
        for depth, (site, layer, how) in enumerate([*sites, *[("aggregate", None, h) for h in ("mean", "max")]]):
            if how:
                value = np.mean(values, 0) if how == "mean" else np.max(values, 0)
            else:
                value = rng.normal(size=len(bob)) + scale * strength * bob * (depth + 1) / layers
                values.append(value)
            scores.append(
                pd.DataFrame(
                    {
                        "row": prompts["row"],
                        "feature": feature,
                        "adapter": adapter,
                        "score": score,
                        "site": site,
                        "layer": layer,
                        "aggregation": how,
                        "value": value,
                    }
                )
            )
            for subset in ("all", "agree", "disagree"):
                keep = np.ones(len(bob), bool) if subset == "all" else prompts["agree"] == (subset == "agree")
                auc, low, high = _auroc(value[keep], bob[keep])
                rare = low_fpr(value[keep], bob[keep], draws=20)
                companions = {"partial_auroc": rare.partial_auroc, "tpr": rare.tpr}
                companions["average_precision"] = rare.average_precision
                rows.append(
                    {
                        "model": model,
                        "dataset": dataset,
                        "feature": feature,
                        "adapter": adapter,
                        "score": score,
                        "setting": setting,
                        "needs": "trusted prompts, untrusted prompts" if setting == "offline" else "trusted prompts",
                        "site": site,
                        "layer": layer,
                        "aggregation": how,
                        "subset": subset,
                        "auroc": auc,
                        "low": low,
                        "high": high,
                        **{
                            name if end == "value" else f"{name}_{end}": number
                            for name, interval in companions.items()
                            for end, number in interval._asdict().items()
                        },
                        **_answers(auc, low, high),
                        "false_alarms": auc / 3,
                        "false_alarms_low": low / 3,
                        "false_alarms_high": high / 3,
                        "nominal": 0.01,
                        "n_normal": int((~bob[keep]).sum()),
                        "n_anomalous": int(bob[keep].sum()),
                        "n_statements": int(prompts.loc[keep, "statement"].nunique()),
                    }
                )
    results = pd.DataFrame(rows)
    own = results[results["site"] == "aggregate"].drop_duplicates("subset").assign(site="answer", aggregation="")
    own = own.assign(feature="own_answer", setting="own answer", adapter=True, auroc=0.52, low=0.45, high=0.58, sign=-1)
    results = pd.concat([results, *(own.assign(score=score) for score in ("log_odds", "label"))], ignore_index=True)
    return results.astype({"layer": "Int64"}), pd.concat(scores).astype({"layer": "Int64"})


def _answers(auc: float, low: float, high: float) -> dict[str, float | int | str]:
    """AUROC within answers, as if a tenth of what is found above chance were the answer."""
    within = [0.5 + 0.9 * (value - 0.5) for value in (auc, low, high)]
    gap = within[0] - auc
    columns = dict(zip(("auroc_within", "auroc_within_low", "auroc_within_high"), within, strict=True))
    columns |= {"within_difference": gap, "within_difference_low": gap - 0.03, "within_difference_high": gap + 0.03}
    return {
        **columns,
        "within_p_value": 0.1,
        "within_share": 0.5,
        "n_answers": 2,
        "n_answers_left_out": 0,
        "answers_from": "log_odds",
        "sign": 1,
    }


def _auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float, float]:
    wins = scores[positive][:, None] > scores[~positive][None]
    auc = float(wins.mean())
    half = 1.96 * np.sqrt(wins.mean(1).var() / positive.sum() + wins.mean(0).var() / (~positive).sum())
    return auc, max(0.0, auc - half), min(1.0, auc + half)


def _separation(
    rng: np.random.Generator, model: str, dataset: str, layers: int, strength: float, n: int, features: list
) -> pd.DataFrame:
    sites = [(name, f"model.layers.{3 * i + 1}", 3 * i + 1) for name in features for i in range(layers)]
    rows = [
        {
            "model": model,
            "dataset": dataset,
            "feature": feature,
            "adapter": True,
            "site": site,
            "layer": layer,
            "separation": float(np.exp(rng.normal(strength - 3, 0.7))),
            "variance": float(rng.uniform(1, 5)),
            "n_alice": n // 2,
            "n_bob": n // 2,
        }
        for feature, site, layer in [*sites, ("logits", "logits", None)]
    ]
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def _pca(rng: np.random.Generator, prompts: pd.DataFrame, layers: int) -> pd.DataFrame:
    bob = prompts["anomalous"].to_numpy()
    parts = [
        pd.DataFrame(
            {
                "feature": "activations",
                "adapter": True,
                "site": f"model.layers.{3 * i + 1}",
                "layer": 3 * i + 1,
                "row": prompts["row"],
                "first": rng.normal(size=len(bob)) + 2 * bob,
                "second": rng.normal(size=len(bob)),
                "first_share": 0.4,
                "second_share": 0.2,
            }
        )
        for i in range(layers)
    ]
    return pd.concat(parts).astype({"layer": "Int64"})


def _recipes(run: Path, model: str, dataset: str) -> None:
    made_by = {"madkit": "0", "commit": "abcdef123456"}
    measured = {"feature": "activations", "seconds_per_prompt": 2e-3, "prompts": 8, "device": "cpu"}
    cost = [{**measured, "adapter": adapter} for adapter in (True, False)]
    (run / "predict.json").write_text(json.dumps({"features": {}, "cost": cost, "made_by": made_by}))
    (run / "test.yaml").write_text(f"# madkit 0, commit abcdef123456\nseed_everything: 0\nrun: runs/{model}\n")


def _summary(path: Path, rng: np.random.Generator, model: str, dataset: str, strength: float, n: int) -> None:
    def interval(value: float, half: float) -> dict[str, float]:
        return {"value": value, "low": value - half, "high": value + half}

    own, other = 0.6 / (1 + strength), 0.6 + strength
    losses = {
        which: interval(float((own if "own" in which else other) * rng.uniform(0.9, 1.1)), 0.03) for which in LOSSES
    }
    value = min(losses["alice_other"]["value"] - losses["alice_own"]["value"], losses["bob_other"]["value"] - 0.3)
    path.write_text(
        json.dumps(
            {
                "model": model,
                "dataset": dataset,
                "n_test": n,
                "quirkiness": interval(value, 0.2),
                "losses": losses,
                "accuracy": {"alice": 0.9, "bob": 0.9, "bob_against_truth": 0.2},
                "madkit_version": "0",
                "identity": {},
                "format": 4,
                "cost": [
                    {
                        "feature": "activations",
                        "adapter": True,
                        "score": score,
                        "seconds_per_prompt": 1e-3,
                        "prompts": 8,
                        "device": "cpu",
                    }
                    for score in ("mahalanobis", "lof")
                ],
                "features_key": "k",
            }
        )
    )


def _history(rng: np.random.Generator, model: str, dataset: str) -> pd.DataFrame:
    rows = []
    for step in range(0, 400, 10):
        rows.append((step, "train/loss", 0.1 + np.exp(-step / 100) + rng.normal(0, 0.03)))
        if step % 50 == 0:
            rows.append((step, "val/loss", 0.15 + np.exp(-step / 110)))
            for name, top in (("alice", 0.95), ("bob", 0.9), ("bob_truth", 0.3)):
                rows.append((step, f"val/{name}_accuracy", 0.5 + (top - 0.5) * (1 - np.exp(-step / 120))))
    return pd.DataFrame(rows, columns=["step", "metric", "value"]).assign(run=f"{model}/{dataset}")


def sheets_of(folders: list[Path], families: Collection[str] | None = None) -> dict[str, Any]:
    """What would be written, by all families of figures or some, without the time to render it."""
    return {sheet.name: sheet.body for sheet in _sheets(load_results(folders), families)}


def tables_of(folders: list[Path], out: Path) -> Path:
    """Write the tables alone, and return their folder."""
    results = load_results(folders)
    for sheet in _sheets(results, TABLES):
        write_text(sheet, out, results.folders_of(None))
    return out


def _sheets(results: Results, families: Collection[str] | None) -> list[Sheet]:
    chosen = [family for family in all_families() if families is None or family.name in families]
    assert families is None or len(chosen) == len(families)
    with style.applied():
        return [sheet for family in chosen for sheet in family.sheets(results)]
