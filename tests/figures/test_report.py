"""The report: one file, true numbers, nothing from elsewhere, and a page that works in a real browser."""

import base64
import gzip
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from fabricated import DETECTORS, MANY, write_run

from madkit.figures import draw
from madkit.figures.drawing import style
from madkit.figures.families.forest import forest
from madkit.figures.output import write_figure
from madkit.figures.results.results import load_results

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
    assert "Content-Security-Policy" in page and len(page) < 4e6


def test_prompts_are_text_and_never_markup(page: str) -> None:
    assert "<script>document.title" not in page
    assert "<b>2 + 2</b>" not in page


def test_the_page_names_its_sources(folder: Path, page: str) -> None:
    for model in ("tiny-llama", "tiny-mistral"):
        for dataset in ("nli", "addition"):
            assert f"madkit test --config {folder}/runs/{model}/{dataset}/test.yaml" in page
    assert "commit abcdef123456" in page and "seed_everything: 0" in page
    sources = json.loads((folder / "out" / "sources.json").read_text())["files"]
    assert set(sources) == {path.name for path in (folder / "out").iterdir()} - {"sources.json"}
    assert all(Path(name).is_dir() for names in sources.values() for name in names)
    assert {Path(name).parent.name for name in sources["roc_online_tiny-llama.png"]} == {"tiny-llama"}
    for name in ("table1.md", "table1.tex"):
        assert f"{folder}/runs/tiny-llama/nli" in (folder / "out" / name).read_text()


def test_the_most_surprising_prompts_are_the_extremes(folder: Path, page: str) -> None:
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    first = json.loads(blocks[0])  # addition, tiny-llama
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


def figures(page: str) -> dict[str, dict]:
    """Pictures and points by the figure's name."""
    found = re.findall(r'<figure id="figure-([^"]+)".*?class="data">([^<]*)</script>', page, re.DOTALL)
    return {name: json.loads(gzip.decompress(base64.b64decode(data))) for name, data in found}


def test_figures_are_complete_pictures_with_points_inside_the_page(page: str) -> None:
    found = figures(page)
    assert "auroc_by_layer_online_tiny-llama_others_1" in found  # knn, which no study published
    for name, figure in found.items():
        assert figure["svg"].rstrip().endswith("</svg>") and figure["svg"].startswith("<?xml"), name
        assert figure["points"], name
        assert all(0 <= x <= 1 and 0 <= y <= 1 and words for x, y, words in figure["points"]), name


def test_coordinates_are_short_and_nothing_else_is(folder: Path) -> None:
    with style.applied():
        (sheet,) = forest(load_results([folder / "runs"]))
        drawn = write_figure(sheet, "a section", folder / "svg", ["svg"], [folder])
        exact = io.StringIO()
        sheet.body.savefig(exact, format="svg")
    whole, short = exact.getvalue(), json.loads(gzip.decompress(base64.b64decode(drawn.packed)))["svg"]
    assert drawn.paths[0].read_text() == short and len(short) < len(whole)
    numbers = [[float(x) for x in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', short)]
    expected = [[float(x) for x in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', whole)]
    assert [len(path) for path in numbers] == [len(path) for path in expected] and len(numbers) > 20
    assert max(abs(a - b) for x, y in zip(numbers, expected, strict=True) for a, b in zip(x, y, strict=True)) <= 0.01
    # What letters are made by must keep all its digits.
    assert whole.count("scale(0.015625)") == short.count("scale(0.015625)") > 0


def test_points_say_the_numbers_of_the_results(folder: Path, page: str) -> None:
    results = pd.read_parquet(folder / "runs" / "tiny-llama" / "nli" / "detection" / "results.parquet")
    row = results.query("feature == 'activations' and score == 'lof' and subset == 'all' and layer == 1").iloc[0]
    words = f"nli, activations lof, model.layers.1: AUROC {row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert words in {words for _, _, words in figures(page)["auroc_by_layer_online_tiny-llama"]["points"]}


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
def test_the_page_works_in_a_browser(browser, folder: Path, page: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.get((folder / "out" / "report.html").as_uri())
    assert "broken" not in browser.title
    run = browser.execute_script
    assert run("return document.documentElement.scrollWidth <= innerWidth")  # only tables scroll sideways

    name = "auroc_by_layer_online_tiny-llama"
    left, top, width, height = browser.execute_async_script(DRAWN, name)
    x, y, words = figures(page)[name]["points"][0]
    mouse = ActionChains(browser)
    mouse.w3c_actions.pointer_action.move_to_location(round(left + x * width), round(top + y * height))
    mouse.perform()
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    tip = run("const t = document.getElementById('tip'); return t.hidden ? null : t.textContent")
    spoken = [w for a, b, w in figures(page)[name]["points"] if abs(a - x) * width < 3 and abs(b - y) * height < 3]
    assert tip in spoken and words in spoken
    mouse.w3c_actions.pointer_action.click()
    mouse.perform()
    assert run("return document.getElementById('viewer').open")
    assert (tmp_path / "viewer.png").write_bytes(browser.get_screenshot_as_png())
    run("document.querySelector('[data-close]').click()")

    column = "return [...document.querySelectorAll('#table-1 tbody')][0].textContent"
    before = run(column)
    run("document.querySelectorAll('#table-1 th button')[3].click()")
    values = run(
        "return [...document.querySelectorAll('#table-1 table')][0].tBodies[0].rows.length && "
        "[...document.querySelector('#table-1 table').tBodies[0].rows].map((r) => parseFloat(r.cells[3].textContent))"
    )
    assert values == sorted(values, reverse=True) and sorted(before) == sorted(run(column))

    run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    shown = run("return document.querySelector('.prompt pre').textContent")
    assert shown.startswith(HOSTILE)
    assert run("return document.documentElement.scrollWidth <= innerWidth")
    if "tiny-mistral" in page:
        run(
            "const f = document.getElementById('model-filter'); f.value = 'tiny-mistral'; "
            "f.dispatchEvent(new Event('change'))"
        )
        assert run("return document.querySelector('[data-model=tiny-llama]').hidden")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert errors == []
