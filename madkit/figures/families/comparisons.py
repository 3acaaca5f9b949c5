"""Is one detector better than another? Paired tests on the same prompts, counted over datasets."""

from collections.abc import Iterator

from madkit.figures.naming import CONTROL, detector_name
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.document import Document

LEVEL = 0.05


@artist(92, "How detectors compare")
def comparisons(results: Results) -> Iterator[Sheet]:
    """`table_comparisons.csv` (every test) and `.md` (how many datasets decide for which detector)."""
    found = results.comparisons
    if found.empty:
        return
    yield Sheet("table_comparisons.csv", found.to_csv(index=False, lineterminator="\n"))
    whole = found[(found["aggregation"] == "mean") & (found["subset"] == "all")]
    whole = whole[~whole["a"].str.startswith(CONTROL) & ~whole["b"].str.startswith(CONTROL)]
    head = ["detectors", "mean difference", "first better", "second better", "undecided"]
    tables = {}
    for (model,), part in grouped(whole, "model"):
        rows = []
        for (a, b), pair in part.groupby(["a", "b"], sort=False):
            decided = pair["p_holm"] < LEVEL
            better, worse = (
                int((decided & (pair["difference"] > 0)).sum()),
                int((decided & (pair["difference"] < 0)).sum()),
            )
            names = f"{_words(str(a))} against {_words(str(b))}"
            mean = f"{pair['difference'].mean():+.3f}"
            rows.append([names, mean, str(better), str(worse), str(len(pair) - better - worse)])
        tables[model] = (head, rows)
    notes = [
        "*Better*: on how many datasets the paired test of DeLong, DeLong and Clarke-Pearson (1988) says so with p < "
        f"{LEVEL}, adjusted by Holm for all pairs of detectors of that dataset, controls included.",
        "Every test is in `table_comparisons.csv`.",
    ]
    title = "Paired comparisons: difference in AUROC on the same test prompts, mean over layers"
    yield Sheet("table_comparisons.md", Document(title, "A positive difference speaks for the first.", tables, notes))


def _words(detector: str) -> str:
    feature, _, score = detector.partition("/")
    return detector_name(feature, score)
