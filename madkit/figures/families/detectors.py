"""All detectors beside the best published one, by paired tests on the same prompts."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import further_needs
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results
from madkit.figures.tables.averages import METHOD
from madkit.figures.tables.detector_lines import DetectorLine, detector_lines
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.significance import LEVEL

_HEAD = ("detector", "setting", "needs", "AUROC", "TPR at 1% FPR", "benign", "difference", "higher", "better", "worse")


@artist("choice", after="which_detector")
def detectors(results: Results) -> Iterator[Sheet]:
    """`table_detectors.md` and `.csv`: each detector against the best of those with published numbers."""
    lines = detector_lines(results)
    if not lines or results.comparisons.empty:
        return
    yield Sheet("table_detectors.csv", pd.DataFrame(map(_flat, lines)).to_csv(index=False, lineterminator="\n"))
    notes = [
        "*The best published one*: of the detectors that have published numbers and learn from trusted prompts alone, "
        "the one with the highest average here. *Difference*: mean over datasets of the AUROC above it, with an "
        f"interval that speaks of other datasets too; **bold** where p < {LEVEL} for other prompts of the same "
        "datasets (paired tests, adjusted by Holm for the detectors of a model).",
        "*Higher*: on how many runs its AUROC is higher. *Better*, *worse*: on how many the paired test says so "
        "(DeLong, for prompts that share statements and speakers), Holm for all pairs of detectors of a run.",
        "*Benign*: on models that were tuned on the truth alone, where there is nothing to find. *Needs*: besides the "
        "model that is watched, and trusted prompts.",
        f"Intervals: {METHOD}",
    ]
    models = dict.fromkeys(line.model for line in lines)
    document = Document(
        "All detectors against the best published one",
        "All test prompts, mean over layers, averaged over datasets; each number: average [95% interval].",
        {model: (_HEAD, [_cells(line) for line in lines if line.model == model]) for model in models},
        notes,
    )
    yield Sheet("table_detectors.md", document)


def _flat(line: DetectorLine) -> dict[str, object]:
    flat: dict[str, object] = {"model": line.model, "detector": line.name, "feature": line.feature}
    flat |= {"score": line.score, "setting": line.setting, "needs": line.needs, "published": line.is_published}
    flat["best_published"] = line.is_best
    for name, value in (("auroc", line.auroc), ("tpr_at_1_percent", line.caught), ("benign_auroc", line.benign)):
        number, low, high, n = value or (None, None, None, 0)
        flat |= {name: number, f"{name}_low": low, f"{name}_high": high, f"{name}_n_datasets": n}
    against = line.against
    if against is not None:
        _, low, high = against.over_datasets
        flat |= {"difference": against.mean.difference, "difference_low": low, "difference_high": high}
        flat |= {"same_datasets_low": against.mean.low, "same_datasets_high": against.mean.high}
        flat |= {"p_value": against.mean.p_value, "p_holm": against.p_holm}
        flat |= {name: getattr(against, name) for name in ("n_runs", "higher", "better", "worse")}
    return flat


def _cells(line: DetectorLine) -> list[str]:
    cells = [
        line.name,
        line.setting,
        further_needs(line.needs),
        *map(with_interval, (line.auroc, line.caught, line.benign)),
    ]
    if line.against is None:
        return [*cells, "the best published" if line.is_best else "-", "-", "-", "-"]
    runs, difference = line.against.n_runs, line.against.difference
    counts = (line.against.higher, line.against.better, line.against.worse)
    return [
        *cells,
        f"**{difference}**" if line.against.p_holm < LEVEL else difference,
        *(f"{count} of {runs}" for count in counts),
    ]
