"""Read and check one run folder."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from madkit.errors import StoreError
from madkit.runs.file_digest import file_digest
from madkit.runs.run_name import BENIGN, RunName
from madkit.runs.tables import read_table

_INTERVAL = ("value", "low", "high")

SCHEMAS: dict[str, tuple[str, ...]] = {
    "detection": (
        *("feature", "adapter", "score", "setting", "needs", "site", "layer", "aggregation", "subset"),
        *("auroc", "low", "high", "sign", "n_normal", "n_anomalous", "n_statements"),
        *("auroc_within", "auroc_within_low", "auroc_within_high"),
        *("within_difference", "within_difference_low", "within_difference_high"),
        *("false_alarms", "false_alarms_low", "false_alarms_high", "nominal"),
        *("within_share", "n_answers", "n_answers_left_out", "answers_from"),
    ),
    "prompts": ("row", "statement", "name", "character", "label", "agree", "log_odds"),
    "separation": ("feature", "adapter", "site", "layer", "separation", "variance"),
    "pca": ("feature", "adapter", "site", "layer", "row", "first", "second", "first_share", "second_share"),
    "comparisons": (
        *("aggregation", "subset", "a", "adapter_a", "b", "adapter_b"),
        *("difference", "low", "high", "p_value", "p_holm"),
    ),
    "nearest": ("feature", "adapter", "site", "layer", "row", "rank", "prompt", "distance", "typical"),
    "calibration": ("row", "feature", "adapter", "score", "site", "value"),
    "history": ("step", "metric", "value"),
    "costs": ("feature", "adapter", "score", "seconds_per_prompt", "device"),
    "quirkiness": _INTERVAL,
    "losses": ("which", *_INTERVAL),
}
"""The columns that the figures read, by table. `model`, `dataset` and, to tables with features, `control` are added."""

_FILES = {
    "detection": "results.parquet",
    "prompts": "prompts.parquet",
    "separation": "separation.parquet",
    "pca": "pca.parquet",
    "comparisons": "comparisons.parquet",
    "nearest": "nearest.parquet",
    "calibration": "calibration.parquet",
}
LARGE = ("prompts", "pca", "comparisons", "nearest", "calibration")
"""Tables of thousands of rows a run, which are read run by run when a figure needs them."""
HELD = tuple(name for name in SCHEMAS if name not in LARGE)
"""All others, which are held in memory for all runs."""
_LOSSES = ("alice_own", "alice_other", "bob_own", "bob_other")
_FORMAT = 4
"""The format of the results that `madkit test` writes."""


def read_run(run: Path) -> tuple[RunName, dict[str, pd.DataFrame]]:
    """The name of a run folder, and those of its tables that exist, named as in `SCHEMAS`, without the `LARGE` ones.

    Raises:
        StoreError: an unreadable or empty file, a missing column, several models in one folder, or a quirky model in
            the folder of a benign one.
    """
    tables: dict[str, pd.DataFrame] = {}
    # The results are written last: without them the other files are those of an unfinished stage.
    finished = (run / "detection" / _FILES["detection"]).is_file()
    summary_file = run / "detection" / "summary.json"
    if finished and summary_file.is_file():
        # First, because of other formats it can tell what they are.
        tables |= _read_summary(summary_file)
        tables["costs"] = _read_costs(run)
        _require_same(summary_file)
        _require_benign(run)
    for kind, file in _FILES.items():
        if finished and kind not in LARGE and (run / "detection" / file).is_file():
            tables[kind] = _read_table(run / "detection" / file, kind)
    if (run / "history.parquet").is_file():
        tables["history"] = _read_table(run / "history.parquet", "history")
    # A folder that was only trained has no result to name its model; its path does.
    name = RunName.of(run)
    if "detection" in tables:
        names = tables["detection"]
        _require_columns(names, ["model", "dataset"], run / "detection" / "results.parquet")
        if len(names[["model", "dataset"]].drop_duplicates()) != 1:
            raise StoreError(
                f"{run}/detection/results.parquet holds several models or datasets; one run folder holds one."
            )
        name = name._replace(model=str(names["model"].iloc[0]), dataset=str(names["dataset"].iloc[0]))
    # A table without rows, such as the history of a very short run, is treated as missing.
    return name, {
        kind: mark_controls(table).assign(model=name.model, dataset=name.dataset)
        for kind, table in tables.items()
        if not table.empty
    }


def mark_controls(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `control`, true where the adapter was off.

    A comparison is marked if one of its two detectors is a control. A table without features stays as it is.
    """
    if "adapter" in table:
        return table.assign(control=~table["adapter"].astype(bool))
    if {"adapter_a", "adapter_b"} <= set(table):
        return table.assign(control=~(table["adapter_a"].astype(bool) & table["adapter_b"].astype(bool)))
    return table


def read_large(run: Path, kind: str) -> pd.DataFrame | None:
    """One of the `LARGE` tables of a finished run; None where it has none or an empty one.

    Raises:
        StoreError: an unreadable file, or one that lacks a column.
    """
    path = run / "detection" / _FILES[kind]
    if not path.is_file() or not (run / "detection" / _FILES["detection"]).is_file():
        return None
    table = _read_table(path, kind)
    return None if table.empty else mark_controls(table)


def read_aggregate_scores(path: Path, detectors: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Scores of one run, aggregated over sites: feature, control, score, row, value.

    Args:
        path: of the table.
        detectors: features and scores to read: with those of single sites, the table has some hundred thousand rows.

    Raises:
        StoreError: an unreadable file, or one with other columns.
    """
    columns = ["feature", "adapter", "score", "site", "aggregation", "row", "value"]
    wanted = [("feature", "in", sorted({f for f, _ in detectors})), ("score", "in", sorted({s for _, s in detectors}))]
    # Of the sites only those that are the only one are needed, which is seen when all of them have been read.
    table = mark_controls(read_parquet(path, columns, [*wanted, ("aggregation", "in", ["mean", ""])]))
    table = table[pd.MultiIndex.from_frame(table[["feature", "score"]]).isin(list(detectors))]
    means = table[(table["site"] == "aggregate") & (table["aggregation"] == "mean")]
    sites = table[table["site"] != "aggregate"]
    key = ["feature", "control", "score", "row"]
    single_sites = sites[~sites.duplicated(key, keep=False)]
    return pd.concat([means, single_sites])[[*key, "value"]].drop_duplicates(key, keep="first")


def read_site_scores(path: Path, detectors: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Scores of one run at single sites, the adapter on: feature, score, site, layer, row, value.

    Raises:
        StoreError: an unreadable file, or one with other columns.
    """
    columns = ["feature", "adapter", "score", "site", "layer", "row", "value"]
    wanted = [("feature", "in", sorted({f for f, _ in detectors})), ("score", "in", sorted({s for _, s in detectors}))]
    table = read_parquet(path, columns, [*wanted, ("aggregation", "=", ""), ("adapter", "=", True)])
    table = table[pd.MultiIndex.from_frame(table[["feature", "score"]]).isin(list(detectors))]
    return table.drop(columns="adapter")


def read_parquet(path: Path, columns: list[str] | None = None, rows: Sequence[Any] | None = None) -> pd.DataFrame:
    """A table of a run folder.

    Args:
        path: of the file.
        columns: which columns; None for all.
        rows: conditions on rows, as triples of column, operator and value; None for all.

    Raises:
        StoreError: it cannot be read, or lacks one of the columns.
    """
    return read_table(path, "delete it and run its stage again", columns, rows)


def _read_table(path: Path, name: str) -> pd.DataFrame:
    table = read_parquet(path)
    _require_columns(table, SCHEMAS[name], path)
    if table.empty and name == "detection":
        raise StoreError(f"{path} has no rows; delete it and run its stage again.")
    return table


def _require_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise StoreError(
            f"{path} lacks the column(s) {', '.join(missing)}: another version wrote it; run its stage again."
        )


def _read_costs(run: Path) -> pd.DataFrame:
    """What reading each feature and computing each score took a prompt, as far as the stages measured it."""
    lines = []
    for path in (run / "predict.json", run / "detection" / "summary.json"):
        content = _read_json(path) if path.is_file() else {}
        for cost in content.get("cost") or []:
            detector = str(cost["feature"]), bool(cost["adapter"]), str(cost.get("score", ""))
            lines.append((*detector, float(cost["seconds_per_prompt"]), str(cost["device"])))
    return pd.DataFrame(lines, columns=list(SCHEMAS["costs"]))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise StoreError(f"{path} is not JSON; delete it and run its stage again.") from None
    if not isinstance(content, dict):
        raise StoreError(f"{path} is damaged; delete it and run its stage again.")
    return content


def _require_same(summary: Path) -> None:
    """Refuse tables that are not those of the summary beside them."""
    for name, digest in _read_json(summary).get("files", {}).items():
        path = summary.parent / name
        if not path.is_file() or file_digest(path) != digest:
            raise StoreError(f"{path} is missing or not what `madkit test` has written; run it again.")


def _require_benign(run: Path) -> None:
    """Refuse a control that is none: a model tuned with the quirk, where a benign one has its place."""
    identity = _read_json(run / "detection" / "summary.json").get("identity") or {}
    quirk = identity.get("prompts", {}).get("quirk", "none")
    if RunName.of(run).part == BENIGN and quirk != "none":
        raise StoreError(
            f"{run} is the place of a benign control and holds a model with quirk={quirk!r}; tune it with "
            "`--data.quirk none`, or move the folder."
        )


def _read_summary(path: Path) -> dict[str, pd.DataFrame]:
    summary = _read_json(path)
    if summary.get("format") != _FORMAT:
        raise StoreError(
            f"{path}: the results have format {summary.get('format')!r} and this madkit reads {_FORMAT}; run "
            "`madkit test` again, and `madkit predict` before it where it asks for that."
        )
    tables = {}
    try:
        if summary.get("quirkiness"):
            tables["quirkiness"] = pd.DataFrame([{key: summary["quirkiness"][key] for key in _INTERVAL}])
        if summary.get("losses"):
            tables["losses"] = pd.DataFrame(
                [{"which": name, **{key: summary["losses"][name][key] for key in _INTERVAL}} for name in _LOSSES]
            )
    except (KeyError, TypeError, AttributeError):
        raise StoreError(
            f"{path}: quirkiness or losses lack value, low or high: another version wrote it; run `madkit test` again."
        ) from None
    # JSON has no NaN: a null is a number that could not be computed.
    return {name: table.astype(dict.fromkeys(_INTERVAL, float)) for name, table in tables.items()}
