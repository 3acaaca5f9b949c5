"""The report: one file, true numbers, nothing from elsewhere, and a page that works in a real browser."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import DETECTORS, MANY, write_run

from madkit.figures import draw
from madkit.figures.drawing import style
from madkit.figures.drawing.page_svg import TOLERANCE, page_svg
from madkit.figures.families.forest import forest
from madkit.figures.output import UNITS, write_figure
from madkit.figures.packing import unpacked
from madkit.figures.results.loading import load_results

HOSTILE = "</script><script>document.title='broken'</script> <b>2 + 2</b> & more"


OWN = {"tiny-llama": MANY, "tiny-mistral": DETECTORS}
"""The detectors of each model."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two models, the report of which is in `out/report.html`."""
    root = tmp_path_factory.mktemp("study")
    for model, detectors in OWN.items():
        for dataset in ("nli", "addition"):
            run = write_run(root / "runs", model, dataset, layers=2, n=80, detectors=detectors)
            path = run / "detection" / "prompts.parquet"
            prompts = pd.read_parquet(path)
            prompts["prompt"] = [f"{HOSTILE} {row}" for row in prompts["row"]]
            prompts.to_parquet(path)
    written = draw([root / "runs"], root / "out", ["png"])
    # The presence of Table 1 says: all is drawn.
    assert [path.name for path in written[-3:]] == ["table1.csv", "table1.tex", "table1.md"]
    assert {path.name for path in (root / "out").iterdir()} == {path.name for path in written}  # no temporary file
    return root


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(page: str) -> dict[str, str]:
    """What stands in the file as packed text, by the address of its page or figure."""
    found = re.findall(r'<script type="text/plain" data-of="([^"]+)">([^<]*)</script>', page)
    return {name: unpacked(text) for name, text in found}


def test_every_figure_is_drawn_whole(folder: Path) -> None:
    per_model = ["auroc_by_layer_online", "log_odds", "losses", "training", "heat_map", "scores"]
    per_model += ["roc_online", "pca_activations"]
    stems = {f"{name}_{model}" for name in per_model for model in OWN}
    stems |= {"auroc_by_layer_offline_tiny-llama", "roc_offline_tiny-llama", "forest_auroc", "critical_difference"}
    features = ("activations", "attribution", "flow", "sae")
    stems |= {f"auroc_vs_{name}_{feature}" for name in ("quirkiness", "separation") for feature in features}
    stems |= {"logit_separation_vs_separation", "logit_variance_vs_separation", "logit_separation_vs_logit_variance"}
    pictures = sorted((folder / "out").glob("*.png"))
    assert {path.stem for path in pictures} == stems
    for path in pictures:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
        drawn_from = {model for model in OWN if model in path.name} or set(OWN)
        for model in OWN:
            assert (f"{model}/nli".encode() in content) == (model in drawn_from)  # the folders it was drawn from


class Links(HTMLParser):
    """What a page loads, and the anchors it has and points to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.points: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action") or (name == "href" and not str(value).startswith("#")):
                self.loads.append(str(value))
            if name == "href":
                self.points.add(str(value))
            if name == "id":
                self.ids.append(str(value))


def test_nothing_comes_from_elsewhere_and_links_lead_somewhere(page: str) -> None:
    links = Links()
    links.feed(page)
    assert [load for load in links.loads if not load.startswith("data:")] == []
    assert links.points - {"data:,"} <= {f"#{name}" for name in links.ids}
    assert len(set(links.ids)) == len(links.ids)
    assert "Content-Security-Policy" in page and len(page) < 1.5e6


def test_every_page_has_its_address(page: str, pages: dict[str, str]) -> None:
    places = re.findall(r'<section class="page" id="([^"]+)"', page)
    assert set(pages) == {*places, *(f"figure-{name}" for name in re.findall(r'<figure id="figure-([^"]+)"', page))}
    assert {"detector-activations-lof", "dataset-nli", "configuration"} <= set(places)
    assert all(f'href="#{place}"' in page for place in places)


def test_prompts_are_text_and_never_markup(page: str, pages: dict[str, str]) -> None:
    for text in (page, *(text for name, text in pages.items() if not name.startswith("figure-"))):
        assert "<script>document.title" not in text
        assert "<b>2 + 2</b>" not in text


def test_a_detector_s_page_has_its_numbers_and_says_what_it_is(folder: Path, pages: dict[str, str]) -> None:
    content = pages["detector-activations-lof"]
    assert "How much sparser a row lies" in content and "Blind to:" in content
    results = pd.read_parquet(folder / "runs" / "tiny-llama" / "nli" / "detection" / "results.parquet")
    rows = results.query("feature == 'activations' and score == 'lof' and adapter")
    shown = rows[(rows["aggregation"] == "mean") | (rows["site"] != "aggregate") & (rows["subset"] == "all")]
    for number, low, high in shown[["auroc", "low", "high"]].itertuples(index=False):
        assert f"{number:.3f} <small>[{low:.3f}, {high:.3f}]</small>" in content


def test_the_page_names_its_sources(folder: Path, pages: dict[str, str]) -> None:
    for model in ("tiny-llama", "tiny-mistral"):
        for dataset in ("nli", "addition"):
            assert f"madkit test --config {folder}/runs/{model}/{dataset}/test.yaml" in pages["configuration"]
    assert "commit abcdef123456" in pages["configuration"] and "seed_everything: 0" in pages["configuration"]
    sources = json.loads((folder / "out" / "sources.json").read_text())["files"]
    assert set(sources) == {path.name for path in (folder / "out").iterdir()} - {"sources.json"}
    assert all(Path(name).is_dir() for names in sources.values() for name in names)
    assert {Path(name).parent.name for name in sources["roc_online_tiny-llama.png"]} == {"tiny-llama"}
    for name in ("table1.md", "table1.tex"):
        assert f"{folder}/runs/tiny-llama/nli" in (folder / "out" / name).read_text()


def test_the_most_surprising_prompts_are_the_extremes(folder: Path, pages: dict[str, str]) -> None:
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', pages["dataset-addition"], re.DOTALL)
    first = json.loads(blocks[0])  # tiny-llama
    assert [one["detector"] for one in first][:2] == ["activations mahalanobis", "activations lof"]
    detection = folder / "runs" / "tiny-llama" / "addition" / "detection"
    scores = pd.read_parquet(detection / "scores.parquet").query(
        "feature == 'activations' and adapter and score == 'mahalanobis' and aggregation == 'mean'"
    )
    table = scores.merge(pd.read_parquet(detection / "prompts.parquet"), on="row").sort_values("value")
    normal, anomalous = table[~table["anomalous"]], table[table["anomalous"]]
    assert [p["text"] for p in first[0]["normal"]] == normal["prompt"].iloc[::-1].head(6).tolist()
    assert [p["text"] for p in first[0]["anomalous"]] == anomalous["prompt"].head(6).tolist()
    share = (anomalous["value"] < normal["value"].max()).mean()
    assert first[0]["normal"][0]["share"] == f"{share:.0%}"


def test_a_prompt_is_shown_from_the_inside(folder: Path, pages: dict[str, str]) -> None:
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', pages["dataset-addition"], re.DOTALL)
    surprises, look = map(json.loads, blocks[:2])  # tiny-llama
    rows = [prompt["row"] for prompt in look["prompts"]]
    assert {prompt["row"] for one in surprises for prompt in (*one["normal"], *one["anomalous"])} <= set(rows)
    detection = folder / "runs" / "tiny-llama" / "addition" / "detection"
    scores = pd.read_parquet(detection / "scores.parquet").query(
        "feature == 'activations' and adapter and score == 'lof' and aggregation == ''"
    )
    normal = pd.read_parquet(detection / "prompts.parquet").query("not anomalous")["row"]
    (shown,) = (one for one in look["detectors"] if one["name"] == "activations lof")
    for index, site in enumerate(shown["sites"]):
        values = scores[scores["site"] == site].set_index("row")["value"]
        expected = [int((values[normal] < values[row]).sum()) * 100 // len(normal) for row in rows]
        assert [shares[index] for shares in shown["shares"]] == expected
    assert look["reference"] == "normal test prompts"  # as these runs have no calibration prompts
    nearest = pd.read_parquet(detection / "nearest.parquet").query("site == 'model.layers.4'")
    (place,) = (one for one in look["nearest"] if one["site"] == "model.layers.4")
    for row, found in zip(rows, place["found"], strict=True):
        own = nearest[nearest["row"] == row].sort_values("rank")
        assert [look["texts"][number] for number, _ in found] == own["prompt"].tolist()
        assert [distance for _, distance in found] == own["distance"].tolist()


def figure_of(content: str) -> dict:
    """The picture of a figure, and its points as places and texts."""
    figure = json.loads(content)
    x, y, text = (np.cumsum(figure["points"][name]).astype(int) for name in ("x", "y", "text"))
    places = zip(x / UNITS, y / UNITS, [figure["texts"][index] for index in text], strict=True)
    return {"svg": figure["svg"], "points": [(float(a), float(b), words) for a, b, words in places]}


@pytest.fixture(scope="module")
def figures(pages: dict[str, str]) -> dict[str, dict]:
    """Pictures and points by the figure's name."""
    found = {name.removeprefix("figure-"): text for name, text in pages.items() if name.startswith("figure-")}
    return {name: figure_of(text) for name, text in found.items()}


def test_figures_are_complete_pictures_with_points_inside_the_page(figures: dict[str, dict]) -> None:
    assert "auroc_by_layer_online_tiny-llama_others_1" in figures  # knn, which no study published
    for name, figure in figures.items():
        assert figure["svg"].rstrip().endswith("</svg>") and figure["svg"].startswith("<?xml"), name
        assert figure["points"], name
        assert all(0 <= x <= 1 and 0 <= y <= 1 and words for x, y, words in figure["points"]), name


def test_coordinates_are_short_and_nothing_else_is(folder: Path) -> None:
    with style.applied():
        (sheet,) = forest(load_results([folder / "runs"]))
        drawn = write_figure(sheet, "a section", folder / "svg", ["svg"], [folder])
        exact = io.StringIO()
        sheet.body.savefig(exact, format="svg")
    whole, short = exact.getvalue(), drawn.paths[0].read_text()
    assert len(figure_of(unpacked(drawn.packed))["svg"]) < len(short) < len(whole)
    numbers = [[float(x) for x in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', short)]
    expected = [[float(x) for x in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', whole)]
    assert [len(path) for path in numbers] == [len(path) for path in expected] and len(numbers) > 20
    assert max(abs(a - b) for x, y in zip(numbers, expected, strict=True) for a, b in zip(x, y, strict=True)) <= 0.01
    # What letters are made by must keep all its digits.
    assert whole.count("scale(0.015625)") == short.count("scale(0.015625)") > 0


def test_lines_of_the_page_lie_where_they_were_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = np.round(np.column_stack([np.arange(300) / 3, rng.normal(scale=0.1, size=300).cumsum()]), 2)
    words = "\n".join(f"{'ML'[index > 0]} {x} {y} " for index, (x, y) in enumerate(drawn.tolist()))
    short = page_svg(f'<path d="{words}"/><path d="M 1 2 \nL 3 4 \nL 3 1 \nz\nM 9 9 \nL 8 8.5 \n"/>')
    line, others = re.findall(r' d="([^"]*)"', short)
    assert others == "m 1 2l 2 2 0-3zm 8 7l-1-.5"
    moves = [float(number) for number in re.findall(r"-?[\d.]+", line)]
    kept = np.array(moves).reshape(-1, 2).cumsum(axis=0)
    assert len(kept) < 300 and len(line) < len(words) / 2
    # The distance of each drawn vertex to the nearest piece of the line that was kept.
    starts, ways = kept[:-1], np.diff(kept, axis=0)
    shares = ((drawn[:, None] - starts) * ways).sum(-1) / (ways**2).sum(-1)
    nearest = starts + shares.clip(0, 1)[..., None] * ways
    assert np.linalg.norm(drawn[:, None] - nearest, axis=-1).min(axis=1).max() <= 2 * TOLERANCE


def test_points_say_the_numbers_of_the_results(folder: Path, figures: dict[str, dict]) -> None:
    results = pd.read_parquet(folder / "runs" / "tiny-llama" / "nli" / "detection" / "results.parquet")
    row = results.query("feature == 'activations' and score == 'lof' and subset == 'all' and layer == 1").iloc[0]
    words = f"nli, activations lof, model.layers.1: AUROC {row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert words in {words for _, _, words in figures["auroc_by_layer_online_tiny-llama"]["points"]}


# ---------------------------------------------------------------- in a browser


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"desktop": (1280, 900, 1.0), "phone": (390, 844, 2.0)}


@pytest.fixture
def browser(request: pytest.FixtureRequest):
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    if CHROMIUM is None or driver is None:
        pytest.skip("no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    width, height, scale = SIZES[request.param]
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": request.param == "phone"}
    started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    started.set_script_timeout(30)
    yield started
    started.quit()


DRAWN = """
const [name, done] = arguments;
const frame = document.querySelector(`#figure-${CSS.escape(name)} .frame`);
frame.scrollIntoView({ block: "center" });
const wait = () => { const image = frame.querySelector("img");
  if (image && image.complete && image.naturalWidth) { const r = frame.getBoundingClientRect();
    done([r.left, r.top, r.width, r.height]); } else setTimeout(wait, 50); };
wait();
"""


@pytest.mark.parametrize("browser", SIZES, indirect=True)
def test_the_page_works_in_a_browser(browser, folder: Path, figures: dict[str, dict], tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.get((folder / "out" / "report.html").as_uri())
    assert "broken" not in browser.title
    run = browser.execute_script
    assert run("return document.documentElement.scrollWidth <= innerWidth")  # only tables scroll sideways

    name = "auroc_by_layer_online_tiny-llama"
    left, top, width, height = browser.execute_async_script(DRAWN, name)
    x, y, words = figures[name]["points"][0]
    mouse = ActionChains(browser)
    mouse.w3c_actions.pointer_action.move_to_location(round(left + x * width), round(top + y * height))
    mouse.perform()
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    tip = run("const t = document.getElementById('tip'); return t.hidden ? null : t.textContent")
    spoken = [w for a, b, w in figures[name]["points"] if abs(a - x) * width < 3 and abs(b - y) * height < 3]
    assert tip in spoken and words in spoken
    mouse.w3c_actions.pointer_action.click()
    mouse.perform()
    assert run("return document.getElementById('viewer').open")
    assert (tmp_path / "viewer.png").write_bytes(browser.get_screenshot_as_png())
    run("document.querySelector('[data-close]').click()")

    column = "return [...document.querySelectorAll('#table-1 tbody')][0].textContent"
    before = run(column)
    run("document.querySelectorAll('#table-1 th button')[1].click()")
    values = run(
        "return [...document.querySelectorAll('#table-1 table')][0].tBodies[0].rows.length && "
        "[...document.querySelector('#table-1 table').tBodies[0].rows].map((r) => parseFloat(r.cells[1].textContent))"
    )
    assert values == sorted(values, reverse=True) and sorted(before) == sorted(run(column))

    run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    run("location.hash = '#dataset-addition'")
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert run("return document.querySelector('.prompt pre').textContent").startswith(HOSTILE)
    assert run("return document.getElementById('overview').hidden && document.title.startsWith('addition')")
    run("document.querySelectorAll('.prompt button')[1].click()")
    chosen, inside = run(
        "const p = document.querySelectorAll('.prompt pre')[1].textContent; "
        "return [p, document.querySelector('.inside').textContent]"
    )
    assert inside.startswith(chosen) and "trusted" in inside and "times as far as" in inside
    assert run("return document.documentElement.scrollWidth <= innerWidth")
    run(
        "const f = document.getElementById('model-filter'); f.value = 'tiny-mistral'; "
        "f.dispatchEvent(new Event('change'))"
    )
    assert run("return document.querySelector('#dataset-addition [data-model=tiny-llama]').hidden")
    run("history.back()")
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert run("return !document.getElementById('overview').hidden")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert errors == []


@pytest.mark.parametrize(("browser", "scheme"), [("desktop", "light"), ("phone", "dark")], indirect=["browser"])
def test_everybody_can_read_the_page(browser, folder: Path, scheme: str) -> None:
    """Contrast, labels, names and order of headings, as axe-core checks them, and all by the keyboard."""
    axe = pytest.importorskip("axe_core_python")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    browser.get((folder / "out" / "report.html").as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.execute_script(source)
    browser.set_script_timeout(120)
    for address in ("", "#detector-activations-lof", "#dataset-addition", "#configuration"):
        browser.execute_script("location.hash = arguments[0]", address)
        browser.execute_async_script("setTimeout(arguments[0], 300)")
        found = browser.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert "color-contrast" in {one["id"] for one in found["passes"]}
