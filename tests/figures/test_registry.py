"""Families of figures: their order, those of users and of installed packages, and what happens when one fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from fabricated import DETECTORS, draw_only, leave_results_alone, write_run

from madkit.errors import ConfigError
from madkit.figures import draw
from madkit.figures.registry import SECTIONS, FigureFamily, all_families, artist, in_report_order

ORDER = """
which_detector detectors
forest auroc_layers heat_map roc_curves histograms pca table1
critical_difference aggregations rare_alarms thresholds seeds cards comparisons within_answers
stresses distractors prevalence partial_quirks speakers obfuscation
log_odds losses
quirkiness separation logits dose_response
training
poser_curves poser_noise poser_roc poser_table
"""
FIGURE = '''
from matplotlib.figure import Figure
from madkit.figures import Sheet, artist

@artist({section!r}, after={after!r})
def {name}(results):
    """A line."""
    figure = Figure((3, 2))
    figure.subplots().plot([1, 2], [len(results.detection), 0])
    {body}
    yield Sheet("{name}", figure)
'''


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Little is left to draw: enough to see that other figures are drawn beside a user's.
    draw_only(monkeypatch, "forest", "table1")
    leave_results_alone(write_run(tmp_path / "runs", "m", "addition", layers=1, n=40, detectors=DETECTORS[:1]))
    return tmp_path / "runs"


def write_figure(
    folder: Path, name: str = "my_figure", section: str = "detection", after: str | None = "forest", body: str = "pass"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(FIGURE.format(name=name, section=section, after=after, body=body))
    return path


def test_families_come_in_the_order_of_the_report() -> None:
    families = all_families()
    assert [family.name for family in families] == ORDER.split()
    assert {family.section for family in families} == set(SECTIONS)


def test_a_family_directly_follows_the_one_that_it_names() -> None:
    families = [
        FigureFamily(name, lambda results: iter(()), section, after)
        for name, section, after in [
            ("mine", "My section", None),
            ("second", "training", "first"),
            ("first", "training", None),
            ("last", "training", None),
            ("users", "training", "first"),
        ]
    ]
    assert [family.name for family in in_report_order(families)] == ["first", "users", "second", "last", "mine"]
    for after in ("nowhere", "mine", "lost"):  # unknown, of another section, itself
        lost = FigureFamily("lost", lambda results: iter(()), "training", after)
        with pytest.raises(ConfigError, match=f"after='{after}'.*first, users, second, last"):
            in_report_order([*families, lost])


def test_a_figure_of_ones_own_is_drawn_and_reported(runs: Path, tmp_path: Path) -> None:
    source = write_figure(tmp_path, section="My questions", after=None)
    for jobs in (1, 2):  # the second time the file is imported again, which is no second figure
        written = draw([runs], tmp_path / "out", ["png"], jobs=jobs, further=[source])
        assert {path.name for path in written} >= {"my_figure.png", "table1.md", "forest_auroc.png"}
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.index('id="figure-forest_auroc"') < report.index('id="figure-my_figure"')
    assert ">My questions</h2>" in report and ">My questions</a>" in report
    assert "my_figure" not in [family.name for family in all_families()]  # it was drawn in those calls only
    other = write_figure(tmp_path / "other", section="My questions", after=None)  # so its name is free again
    assert "my_figure.png" in {path.name for path in draw([runs], tmp_path / "out", ["png"], further=[other])}


def test_a_module_by_name_is_drawn_whenever_it_is_named(runs: Path, tmp_path: Path, monkeypatch) -> None:
    write_figure(tmp_path / "mine", "named_figure")
    monkeypatch.syspath_prepend(tmp_path / "mine")
    for further, drawn in ((["named_figure"], True), ([], False), (["named_figure"], True)):
        paths = draw([runs], tmp_path / "out", ["png"], further=further)
        assert ("named_figure.png" in {path.name for path in paths}) == drawn


def test_an_installed_package_adds_figures(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_figure(tmp_path / "site", "packaged_figure")
    metadata = tmp_path / "site" / "packaged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[madkit.figures]\nmine = packaged_figure\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    names = [family.name for family in all_families()]
    assert names == ["forest", "packaged_figure", "table1"]
    (metadata / "entry_points.txt").write_text("[madkit.figures]\nmine = a_module_of_nobody\n")
    with pytest.raises(ConfigError, match=r"'mine' of packaged 1\.0.*a_module_of_nobody"):
        draw([runs], tmp_path / "out", ["png"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("results.detection['nonsense']", r"figure family my_figure: my_figure\.py, line 10: KeyError: 'nonsense'"),
        ("yield figure", r"figure family my_figure: .*yields Figure, not madkit\.figures\.Sheet"),
        ("yield Sheet('forest_auroc', figure)", r"my_figure: forest_auroc\.png is also drawn by forest"),
    ],
)
def test_a_figure_that_fails_names_itself(runs: Path, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        draw([runs], tmp_path / "out", ["png"], further=[write_figure(tmp_path, body=body)])
    assert "\n" not in str(caught.value)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ConfigError, match="forest exists already"):

        @artist("detection")
        def forest(results):
            yield from ()


def test_figures_import_nothing_that_trains() -> None:
    code = (
        "import importlib, pkgutil, sys, madkit.figures\n"
        "for module in pkgutil.walk_packages(madkit.figures.__path__, 'madkit.figures.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'madkit.figures.families.forest' in sys.modules\n"
        "print({'torch', 'lightning', 'transformers'} & set(sys.modules))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"
