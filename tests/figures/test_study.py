"""Figures: what is drawn, from which folders, same input and same bytes, errors in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import draw_only, sheets_of, write_run
from matplotlib.figure import SubFigure
from matplotlib.transforms import Bbox

from madkit.errors import ConfigError, MadkitError, StoreError
from madkit.figures import draw
from madkit.figures.registry import result_files
from madkit.figures.results.loading import load_results

# ---------------------------------------------------------------- what is drawn

COMPARED = {f"table_{name}.{kind}" for name in ("comparisons", "detectors") for kind in ("csv", "md")}
TABLES = COMPARED | {
    f"table{name}.{kind}" for name in ("1", "_aggregation", "_rare_alarms", "_within_answers") for kind in ("csv", "md")
}
TABLES |= {"table1.tex", "which_detector.md"}
BESIDES = {"report.html", "sources.json"}
LOGITS = "logit_separation_vs_separation logit_variance_vs_separation logit_separation_vs_logit_variance"
OF_PROMPTS = "log_odds roc_online scores pca"
FROM_RESULTS = (
    f"auroc_by_layer_online auroc_vs_quirkiness auroc_vs_separation losses {LOGITS} {OF_PROMPTS} forest heat_map"
)
EVERYTHING = {*FROM_RESULTS.split(), *TABLES, "training"}  # but for ranks, which need two datasets
KNOWN = EVERYTHING | {"auroc_by_layer_offline", "roc_offline"}


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("history.parquet", "training"),
        ("detection/prompts.parquet", OF_PROMPTS),
        ("detection/scores.parquet", "roc_online scores"),
        ("detection/pca.parquet", "pca"),
        ("detection/separation.parquet", f"auroc_vs_separation {LOGITS}"),
        ("detection/summary.json", "auroc_vs_quirkiness losses"),
        ("detection/comparisons.parquet", " ".join(sorted(COMPARED))),
        ("detection/results.parquet", f"{FROM_RESULTS} {' '.join(sorted(TABLES))}"),
    ],
)
def test_a_missing_part_leaves_out_only_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, lost: str
) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2, n=60)
    (run / part).unlink()
    assert families(sheets_of([tmp_path])) == EVERYTHING - set(lost.split())


def families(sheets: dict[str, object]) -> set[str]:
    """The names without the model's, the feature's, or how many there are."""
    return {next((known for known in sorted(KNOWN, reverse=True) if name.startswith(known)), name) for name in sheets}


def test_no_control_one_layer_no_aggregate_and_no_answers(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1)
    edit(run, "results.parquet", lambda t: t[t["adapter"] & (t["site"] != "aggregate")])
    edit(run, "prompts.parquet", lambda t: t.assign(log_odds=np.nan))
    sheets = sheets_of([tmp_path])
    gone = {"log_odds", "table_aggregation.csv", "table_aggregation.md"}
    assert families(sheets) == EVERYTHING - gone
    row = pd.read_csv(StringIO(sheets["table1.csv"])).set_index("detector").loc["activations lof"]
    source = pd.read_parquet(run / "detection" / "results.parquet").query("score == 'lof' and subset == 'all'")
    assert row["auroc_all"] == pytest.approx(source["auroc"].item())
    assert row["n_datasets_all"] == 1 and row["control_n_datasets_all"] == 0 and np.isnan(row["control_auroc_all"])


def test_a_feature_is_a_control_by_its_column_and_not_by_its_name(tmp_path: Path) -> None:
    detectors = [
        ("activations", "mahalanobis", "online", 1.0, True),
        ("base_activations", "mahalanobis", "online", 1.0, True),
        ("base_activations", "mahalanobis", "online", 0.0, False),
    ]
    run = write_run(tmp_path, "m", "addition", layers=2, detectors=detectors)
    row = (
        pd.read_csv(StringIO(sheets_of([tmp_path], ["table1"])["table1.csv"]))
        .set_index("feature")
        .loc["base_activations"]
    )
    source = pd.read_parquet(run / "detection" / "results.parquet")
    source = source[(source["feature"] == "base_activations") & (source["subset"] == "all")]
    source = source[source["aggregation"] == "mean"].set_index("adapter")["auroc"]
    assert row["auroc_all"] == pytest.approx(source[True])
    assert row["control_auroc_all"] == pytest.approx(source[False])


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1)
    path = run / "detection" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(StoreError, match="have format 1 and this madkit reads 4; run `madkit test` again"):
        load_results([tmp_path])


def test_offline_scores_get_their_own_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=2)
    edit(run, "results.parquet", lambda t: t.assign(setting=np.where(t["score"] == "lof", "offline", "online")))
    assert families(sheets_of([tmp_path])) == EVERYTHING | {"auroc_by_layer_offline", "roc_offline"}


def test_two_models_never_share_a_file(tmp_path: Path) -> None:
    for model, folder in (("org/one", "a"), ("org-one", "b")):
        run = write_run(tmp_path / folder, model.replace("/", "-"), "nli", layers=2)
        edit(run, "results.parquet", lambda t, model=model: t.assign(model=model))
    results = load_results([tmp_path])
    assert len({results.slug(model) for model in results.models}) == 2


def test_the_curves_are_the_results(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for dataset in ("nli", "addition"):
        write_run(runs, "tiny-llama", dataset, layers=2, n=80)
    figure = sheets_of([runs], ["auroc_layers"])["auroc_by_layer_online_tiny-llama"]
    panel = next(ax for ax in figure.axes if ax.get_title() == "nli")  # the first row: activations
    source = pd.read_parquet(runs / "tiny-llama" / "nli" / "detection" / "results.parquet")
    source = source.query("score == 'lof' and subset == 'all' and aggregation != 'max'")
    for adapter in (True, False):
        expected = source[(source["feature"] == "activations") & (source["adapter"] == adapter)]
        curve = expected[expected["site"] != "aggregate"].sort_values("layer")["auroc"].to_numpy()
        assert any(np.array_equal(line.get_ydata(), curve) for line in panel.lines)
        whole = expected[expected["site"] == "aggregate"]["auroc"].to_numpy()
        assert any(np.array_equal(line.get_ydata(), whole) for line in panel.lines)


def test_curves_of_encoders_are_not_among_those_in_nats(tmp_path: Path) -> None:
    write_run(tmp_path, "m", "addition", layers=2, n=60)
    for kind, metric in (("flow", "val/bits_per_dim"), ("sae", "val/fvu")):
        (tmp_path / "m" / kind).mkdir()
        rows = [(step, name, 3.0) for step in (1, 2) for name in ("train/loss", metric)]
        history = pd.DataFrame(rows, columns=["step", "metric", "value"]).assign(run=f"m/{kind}")
        history.to_parquet(tmp_path / "m" / kind / "history.parquet")
    titles = {ax.get_title() for ax in sheets_of([tmp_path], ["training"])["training_m"].axes}
    assert "addition" in titles and not {"flow", "sae"} & titles


def test_a_family_may_read_tables_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m" / "pair" / "poser").mkdir(parents=True)
    pd.DataFrame({"coefficient": [0, 1]}).to_parquet(tmp_path / "m" / "pair" / "poser" / "curve.parquet")
    with pytest.raises(StoreError):
        load_results([tmp_path])
    results = load_results([tmp_path], [*result_files(), "poser/curve.parquet"])
    assert results.table("poser/curve.parquet").to_dict("list") == {
        "coefficient": [0, 1],
        "model": ["pair", "pair"],
        "dataset": ["poser", "poser"],
    }
    assert results.table("poser/other.parquet").empty
    assert results.models == ["pair"]


# ---------------------------------------------------------------- the same input, the same bytes


def test_same_results_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two processes, the layout of one of which ends in other last digits."""
    write_run(tmp_path / "runs", "m", "addition", layers=2, n=60)
    code = "import sys; from madkit.figures import draw; print(len(draw([sys.argv[1]], sys.argv[2], ('png', 'pdf'))))"
    code += "; assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    # A process with a hash seed of its own: no set or dict order may reach the files.
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    command = [sys.executable, "-c", code, str(tmp_path / "runs"), str(tmp_path / "calm")]
    done = subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert int(done.stdout.split()[-1]) == 14 * 2 + len(TABLES) + len(BESIDES)
    place, random = SubFigure._redo_transform_rel_fig, np.random.default_rng(0)  # type: ignore[attr-defined]
    placed = []

    def place_nearby(part: SubFigure, bbox: Bbox | None = None) -> None:
        if bbox is not None:
            bbox = Bbox(np.asarray(bbox.get_points()) + random.normal(0, 1e-10, (2, 2)))
            placed.append(bbox)
        place(part, bbox)

    monkeypatch.setattr(SubFigure, "_redo_transform_rel_fig", place_nearby)
    noisy = draw([tmp_path / "runs"], tmp_path / "noisy", ("png", "pdf"))
    assert placed and {path.name for path in noisy} == {path.name for path in (tmp_path / "calm").iterdir()}
    for path in noisy:
        assert path.read_bytes() == (tmp_path / "calm" / path.name).read_bytes(), path.name


def test_importing_is_quick() -> None:
    code = "import sys, madkit.figures; print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"


def test_progress_names_every_file_and_old_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_only(monkeypatch, "forest", "table1", "training")
    run = write_run(tmp_path, "m", "addition", layers=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table1.md").write_text("old")
    seen: list[Path] = []
    written = draw([run], tmp_path / "out", formats=("svg",), progress=seen.append)
    assert seen == written and all(path.is_file() for path in written)
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in draw([run], tmp_path / "out", formats=("svg",))] == before
    assert "activations lof" in (tmp_path / "out" / "table1.md").read_text()


# ---------------------------------------------------------------- errors


def edit(run: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = run / "detection" / name
    change(pd.read_parquet(path)).to_parquet(path)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "old schema": (lambda run: edit(run, "results.parquet", lambda t: t.drop(columns="low")), "low"),
    "no rows": (lambda run: edit(run, "results.parquet", lambda t: t.iloc[:0]), "no rows"),
    "two datasets": (
        lambda run: edit(run, "results.parquet", lambda t: t.assign(dataset=["x", *t["dataset"][1:]])),
        "several",
    ),
    "half a file": (
        lambda run: (run / "detection" / "results.parquet").write_bytes(b"PAR1"),
        "cannot be read",
    ),
    "not JSON": (lambda run: (run / "detection" / "summary.json").write_text("{"), "not JSON"),
    "old summary": (
        lambda run: (run / "detection" / "summary.json").write_text('{"format": 4, "quirkiness": {"value": 1}}'),
        "value, low or high",
    ),
    "twice": (lambda run: write_run(run.parents[1] / "copy", "m", "addition", layers=1), "both hold"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_folder_is_one_line(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1, n=40)
    damage, words = BREAKS[name]
    damage(run)
    with pytest.raises(StoreError, match=words) as caught:
        draw([tmp_path], tmp_path / "out")
    assert "\n" not in str(caught.value) and str(run.name) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_to_draw_is_one_line(tmp_path: Path) -> None:
    for folders in ([tmp_path], [tmp_path / "nowhere"], []):
        with pytest.raises(MadkitError) as caught:
            draw(folders, tmp_path / "out")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="gif"):
        draw([tmp_path], tmp_path / "out", formats=("gif",))


def test_one_folder_named_twice_is_one_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", "addition", layers=1, n=40)
    assert len(load_results([tmp_path, run, run / "detection", tmp_path / "m"]).folders) == 1
