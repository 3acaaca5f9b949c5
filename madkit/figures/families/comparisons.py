"""Is one detector better than another? Paired tests on the same prompts, counted over datasets."""

from collections.abc import Iterator

from madkit.figures.naming import detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.document import Document
from madkit.figures.tables.significance import LEVEL


@artist("comparison", after="rare_alarms")
def comparisons(results: Results) -> Iterator[Sheet]:
    """`table_comparisons.csv` (every test) and `.md` (how many datasets decide for which detector)."""
    tests = results.comparisons
    if tests.empty:
        return
    yield Sheet("table_comparisons.csv", _csv(results))
    aggregated = tests[(tests["subset"] == "all") & ~tests["control"]]
    head = ["detectors", "mean difference", "first better", "second better", "undecided"]
    tables = {}
    for (model,), part in grouped(aggregated, "model"):
        rows = []
        for (a, b), pair in part.groupby(["a", "b"], sort=False):
            significant = pair["p_holm"] < LEVEL
            first = int((significant & (pair["difference"] > 0)).sum())
            second = int((significant & (pair["difference"] < 0)).sum())
            names = f"{_name(str(a))} against {_name(str(b))}"
            mean = f"{pair['difference'].mean():+.3f}"
            rows.append([names, mean, str(first), str(second), str(len(pair) - first - second)])
        tables[model] = (head, rows)
    notes = [
        "*Better*: on how many datasets the paired test of DeLong, DeLong and Clarke-Pearson (1988) says so, for "
        "prompts that share statements and speakers (Obuchowski 1997), with p < "
        f"{LEVEL}, adjusted by Holm for all pairs of detectors of that dataset, controls included.",
        "Every test is in `table_comparisons.csv`.",
    ]
    title = "Paired comparisons: difference in AUROC on the same test prompts, mean over layers"
    yield Sheet("table_comparisons.md", Document(title, "A positive difference speaks for the first.", tables, notes))


def _csv(results: Results) -> Iterator[str]:
    """Every test, run by run: with a thousand runs there are millions."""
    for index, tests in enumerate(results.tests()):
        yield tests.drop(columns="control").to_csv(index=False, lineterminator="\n", header=not index)


def _name(detector: str) -> str:
    feature, _, score = detector.partition("/")
    return detector_name(feature, score)
