"""Which detector to use: all of them beside the best published one, by paired tests on the same prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from madkit.figures.naming import detector_name, further_needs, setting_order
from madkit.figures.published.numbers import nearest_model, published_auroc
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import METHOD, Average, average
from madkit.figures.tables.benign import benign_rows
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.significance import LEVEL
from madkit.statistics.comparison import Comparison, holm
from madkit.statistics.nested_seeds import nested_mean_comparison

_TPR = ("tpr", "tpr_low", "tpr_high")
_HEAD = ("detector", "setting", "needs", "AUROC", "TPR at 1% FPR", "benign", "difference", "higher", "better", "worse")


@dataclass(frozen=True)
class _Against:
    """A detector against the best published one, over all runs that have both."""

    mean: Comparison
    n_runs: int
    higher: int
    better: int
    worse: int
    p_holm: float = 1.0


@dataclass(frozen=True)
class _Line:
    """One model and detector."""

    model: str
    feature: str
    score: str
    setting: str
    needs: str
    auroc: Average
    caught: Average | None
    benign: Average | None
    against: _Against | None = None
    is_best: bool = False
    """Whether it is what the others are compared with."""

    @property
    def name(self) -> str:
        return detector_name(self.feature, self.score)

    @property
    def key(self) -> str:
        """How tables of paired tests name it."""
        return f"{self.feature}/{self.score}"

    @property
    def is_published(self) -> bool:
        number = published_auroc(nearest_model(self.model), self.name, "online", "all")
        return self.setting == "online" and number is not None


@artist("comparison", after="comparisons")
def detectors(results: Results) -> Iterator[Sheet]:
    """`table_detectors.md` and `.csv`: each detector against the best of those with published numbers."""
    tests = results.over_seeds(lambda part: part.comparisons)
    tests = tests[(tests["subset"] == "all") & ~tests["control"]]
    lines = _with_tests(list(_lines(results)), tests)
    if tests.empty or not lines:
        return
    yield Sheet("table_detectors.csv", pd.DataFrame(map(_flat, lines)).to_csv(index=False, lineterminator="\n"))
    notes = [
        "*The best published one*: of the detectors that have published numbers and learn from trusted prompts alone, "
        "the one with the highest average here. *Difference*: mean over datasets of the AUROC above it; "
        f"**bold** where p < {LEVEL}, adjusted by Holm for the detectors of a model.",
        "*Higher*: on how many runs its AUROC is higher. *Better*, *worse*: on how many the paired test says so "
        "(DeLong, for prompts that share statements and speakers), Holm for all pairs of detectors of a run.",
        "*Benign*: on models that were tuned on the truth alone, where there is nothing to find. *Needs*: besides the "
        "model that is watched, and trusted prompts.",
        f"Intervals: {METHOD}",
    ]
    models = dict.fromkeys(line.model for line in lines)
    document = Document(
        "Which detector to use: all against the best published one",
        "All test prompts, mean over layers, averaged over datasets; each number: average [95% interval].",
        {model: (_HEAD, [_cells(line) for line in lines if line.model == model]) for model in models},
        notes,
    )
    yield Sheet("table_detectors.md", document)


def _lines(results: Results) -> Iterator[_Line]:
    rows = results.over_seeds(Results.aggregated)
    rows = rows[~rows["control"] & (rows["subset"] == "all") & (rows["setting"] != "ceiling")]
    benign = benign_rows(results)
    benign = benign[benign["subset"] == "all"]
    columns = ["model", "feature", "score", "setting"]
    for key, part in grouped(rows, *columns):
        model, feature, score, setting = key
        auroc = average(part)
        if auroc is None:
            continue
        same = benign[(benign[columns] == pd.Series(key, index=columns)).all(axis=1)]
        caught = average(part, _TPR) if "tpr" in part else None
        needs = ", ".join(sorted(set(part["needs"])))
        yield _Line(model, feature, score, setting, needs, auroc, caught, average(same))


def _with_tests(lines: Sequence[_Line], tests: pd.DataFrame) -> list[_Line]:
    """The lines with their paired tests: of each model and setting the highest average first."""
    tested: list[_Line] = []
    ordered = sorted(lines, key=lambda line: (line.model, setting_order(line.setting), -line.auroc.value))
    for model in dict.fromkeys(line.model for line in ordered):
        of_model = [line for line in ordered if line.model == model]
        best = next((line for line in of_model if line.is_published), None)
        if best is not None:
            pairs = tests[tests["model"] == model]
            found = {line.key: _against(best.key, line.key, pairs) for line in of_model}
            some = {key: against for key, against in found.items() if against is not None}
            adjusted = holm([against.mean.p_value for against in some.values()])
            final = {k: replace(a, p_holm=float(p)) for (k, a), p in zip(some.items(), adjusted, strict=True)}
            of_model = [replace(line, against=final.get(line.key), is_best=line is best) for line in of_model]
        tested += of_model
    return tested


def _against(best: str, name: str, tests: pd.DataFrame) -> _Against | None:
    """The paired tests of a detector against the best published one, over datasets; None where there are none."""
    ours, theirs = (tests["a"] == name) & (tests["b"] == best), (tests["a"] == best) & (tests["b"] == name)
    pairs = tests[ours | theirs].dropna(subset=["difference"])
    if pairs.empty or name == best:
        return None
    runs: dict[str, list[Comparison]] = {}
    higher = better = worse = 0
    columns = ["dataset", "a", "p_holm", *Comparison._fields]
    for dataset, first, p_holm, *numbers in pairs[columns].itertuples(index=False):
        test = Comparison(*numbers) if first == name else Comparison(*numbers).turned
        runs.setdefault(dataset, []).append(test)
        higher += test.difference > 0
        better += test.difference > 0 and p_holm < LEVEL
        worse += test.difference < 0 and p_holm < LEVEL
    return _Against(nested_mean_comparison(list(runs.values())), len(pairs), higher, better, worse)


def _flat(line: _Line) -> dict[str, object]:
    flat: dict[str, object] = {"model": line.model, "detector": line.name, "feature": line.feature}
    flat |= {"score": line.score, "setting": line.setting, "needs": line.needs, "published": line.is_published}
    flat["best_published"] = line.is_best
    for name, value in (("auroc", line.auroc), ("tpr_at_1_percent", line.caught), ("benign_auroc", line.benign)):
        number, low, high, n = value or (None, None, None, 0)
        flat |= {name: number, f"{name}_low": low, f"{name}_high": high, f"{name}_n_datasets": n}
    against = line.against
    if against is not None:
        flat |= {"difference": against.mean.difference, "difference_low": against.mean.low}
        flat |= {"difference_high": against.mean.high, "p_value": against.mean.p_value, "p_holm": against.p_holm}
        flat |= {name: getattr(against, name) for name in ("n_runs", "higher", "better", "worse")}
    return flat


def _cells(line: _Line) -> list[str]:
    cells = [
        line.name,
        line.setting,
        further_needs(line.needs),
        *map(with_interval, (line.auroc, line.caught, line.benign)),
    ]
    if line.against is None:
        return [*cells, "the best published" if line.is_best else "-", "-", "-", "-"]
    mean, runs = line.against.mean, line.against.n_runs
    difference = f"{mean.difference:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"
    counts = (line.against.higher, line.against.better, line.against.worse)
    return [
        *cells,
        f"**{difference}**" if line.against.p_holm < LEVEL else difference,
        *(f"{count} of {runs}" for count in counts),
    ]
