"""Each detector beside the best published one, by paired tests on the same prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from madkit.figures.naming import detector_name, setting_order
from madkit.figures.published.numbers import nearest_model, published_auroc
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import Average, average
from madkit.figures.tables.benign import benign_rows
from madkit.figures.tables.significance import LEVEL
from madkit.statistics.comparison import Comparison, holm
from madkit.statistics.interval import Interval
from madkit.statistics.nested_seeds import nested_mean_comparison, nested_mean_interval

_TPR = ("tpr", "tpr_low", "tpr_high")


@dataclass(frozen=True)
class Against:
    """A detector against the best published one, over all runs that have both."""

    mean: Comparison
    """Of the differences; its interval and p-value speak of other prompts of the same datasets."""
    over_datasets: Interval
    """The same mean with an interval that speaks of other datasets too."""
    n_runs: int
    higher: int
    better: int
    worse: int
    p_holm: float = 1.0

    @property
    def difference(self) -> str:
        """The mean with the interval that speaks of other datasets too, as tables have it."""
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*self.over_datasets)


@dataclass(frozen=True)
class DetectorLine:
    """One model and detector."""

    model: str
    feature: str
    score: str
    setting: str
    needs: str
    auroc: Average
    caught: Average | None
    benign: Average | None
    against: Against | None = None
    is_best: bool = False
    """Whether it is what the others are compared with."""

    @property
    def name(self) -> str:
        """As the studies call it."""
        return detector_name(self.feature, self.score)

    @property
    def key(self) -> str:
        """How tables of paired tests name it."""
        return f"{self.feature}/{self.score}"

    @property
    def is_published(self) -> bool:
        """Whether some study gives a number for it, as an online detector."""
        number = published_auroc(nearest_model(self.model), self.name, "online", "all")
        return self.setting == "online" and number is not None


def detector_lines(results: Results) -> list[DetectorLine]:
    """All detectors that are none of ceiling and control: of each model and setting the highest average first."""
    tests = results.over_seeds(lambda part: part.comparisons)
    tests = tests[(tests["subset"] == "all") & ~tests["control"]]
    return _with_tests(list(_lines(results)), tests)


def _lines(results: Results) -> Iterator[DetectorLine]:
    rows = results.over_seeds(Results.aggregated)
    rows = rows[~rows["control"] & (rows["subset"] == "all") & (rows["setting"] != "ceiling")]
    benign = benign_rows(results)
    benign = benign[benign["subset"] == "all"]
    columns = ["model", "feature", "score", "setting"]
    of_benign = dict(grouped(benign, *columns))
    for key, part in grouped(rows, *columns):
        model, feature, score, setting = key
        auroc = average(part)
        if auroc is None:
            continue
        caught = average(part, _TPR) if "tpr" in part else None
        needs = ", ".join(sorted(set(part["needs"])))
        yield DetectorLine(
            model, feature, score, setting, needs, auroc, caught, average(of_benign.get(key, benign.iloc[:0]))
        )


def _with_tests(lines: Sequence[DetectorLine], tests: pd.DataFrame) -> list[DetectorLine]:
    """The lines with their paired tests: of each model and setting the highest average first."""
    tested: list[DetectorLine] = []
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


def _against(best: str, name: str, tests: pd.DataFrame) -> Against | None:
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
    datasets = list(runs.values())
    return Against(nested_mean_comparison(datasets), _over_datasets(datasets), len(pairs), higher, better, worse)


def _over_datasets(runs: Sequence[Sequence[Comparison]]) -> Interval:
    """The mean difference by the bootstrap over datasets, which is made for shares: from -1 to 1 they are 0 to 1."""
    shares = [[Interval(*((end + 1) / 2 for end in (c.difference, c.low, c.high))) for c in each] for each in runs]
    return Interval(*(2 * end - 1 for end in nested_mean_interval(shares)))
