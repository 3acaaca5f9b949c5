"""Which detector to use with what is at hand, what speaks for it, and what is worse: from these runs alone."""

from collections.abc import Iterator, Sequence

from madkit.figures.naming import further_needs, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import OWN_ANSWER, Results
from madkit.figures.tables.averages import METHOD
from madkit.figures.tables.benign import NEAR
from madkit.figures.tables.detector_lines import DetectorLine, detector_lines
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.significance import LEVEL

_HEAD = ("at hand besides trusted prompts", "best detector", "AUROC", "TPR at 1% FPR", "benign", "difference", "better")


@artist("choice")
def which_detector(results: Results) -> Iterator[Sheet]:
    """`which_detector.md`: a table per model, of the best detector for each set of needs, and sentences."""
    lines = [line for line in detector_lines(results) if line.setting != OWN_ANSWER]
    if not lines:
        return
    models = {model: [line for line in lines if line.model == model] for model in dict.fromkeys(x.model for x in lines)}
    notes = [
        "A detector is in a row if it needs nothing that is not at hand there; of these, the one with the highest "
        "average AUROC. An offline one learns from the very prompts that it judges, and is no monitor.",
        "*Difference*: AUROC above that of the best published online detector, mean over datasets, with an interval "
        f"that speaks of other datasets too. *Better*: on how many runs the paired test says so (p < {LEVEL} after "
        "Holm's adjustment). Every detector is in `table_detectors.md`.",
        f"*Benign*: on models that were tuned on the truth alone; chance is {NEAR[0]} to {NEAR[1]}. A detector that is "
        "above it alarms where there is nothing to find, as it sees any tuning or who speaks.",
        "The best of many is a lucky one, too: its number is a little too high. Table 1 tests its lead over the next.",
        f"Intervals: {METHOD}",
    ]
    document = Document(
        "What to use, by what is at hand",
        "All test prompts, mean over layers, averaged over datasets; each number: average [95% interval].",
        {model: (_HEAD, _rows(own)) for model, own in models.items()},
        notes,
        [sentence for model, own in models.items() for sentence in _sentences(model, own)],
    )
    yield Sheet("which_detector.md", document)


def _rows(lines: Sequence[DetectorLine]) -> list[list[str]]:
    """A row for each set of needs that some detector has, the smallest first."""
    sets = sorted({_needs(line) for line in lines}, key=lambda needs: (len(needs), sorted(needs)))
    rows, shown = [], set[str]()
    for needs in sets:
        best = max((line for line in lines if _needs(line) <= needs), key=lambda line: line.auroc.value)
        if best.key in shown:  # what is at hand besides brings nothing
            continue
        shown.add(best.key)
        rows.append([further_needs(", ".join(sorted(needs, key=_order))), *_cells(best)])
    return rows


def _needs(line: DetectorLine) -> frozenset[str]:
    return frozenset(line.needs.split(", "))


def _order(need: str) -> tuple[bool, str]:
    return need != "trusted prompts", need


def _cells(line: DetectorLine) -> list[str]:
    numbers = [*map(with_interval, (line.auroc, line.caught, line.benign))]
    if line.against is None:
        return [_name(line), *numbers, "the best published" if line.is_best else "-", "-"]
    better = f"{line.against.better} of {line.against.n_runs}"
    return [_name(line), *numbers, line.against.difference, better]


def _name(line: DetectorLine) -> str:
    return with_setting(line.name, line.setting)


def _sentences(model: str, lines: Sequence[DetectorLine]) -> Iterator[str]:
    """What to use on one model, and what is worse."""
    online = [line for line in lines if line.setting == "online"]
    if not online:
        return
    best = max(online, key=lambda line: line.auroc.value)
    yield f"**{model}**: use *{best.name}*{_evidence(best)}."
    published = next((line for line in lines if line.is_best), None)
    if published is None or published is best:
        return
    if best.caught and published.caught:
        yield (
            f"**{model}**: with one false alarm in a hundred normal prompts, it catches {best.caught.value:.0%} of the "
            f"anomalous ones, and *{published.name}*, the best published one, {published.caught.value:.0%}."
        )
    compared = [line for line in online if line.against is not None]
    surely = [line for line in compared if line.against and line.against.p_holm < LEVEL]
    for words, kind in (
        (
            "higher than the best published one, surely so on these datasets",
            [x for x in surely if x.against and x.against.mean.difference > 0],
        ),
        (
            "lower than it, surely so on these datasets",
            [x for x in surely if x.against and x.against.mean.difference < 0],
        ),
        ("not told apart from it", [x for x in compared if x not in surely]),
        ("not at chance on benign models, so that an alarm of theirs need not be a quirk", _seeing_benign(online)),
    ):
        if kind:
            yield f"**{model}**: {words}: {'; '.join(_with_numbers(line) for line in kind)}."


def _evidence(line: DetectorLine) -> str:
    parts = [f" (AUROC {with_interval(line.auroc)} over {line.auroc.n_datasets} datasets"]
    parts += [f"TPR at 1% FPR {with_interval(line.caught)}"] if line.caught else []
    parts += [f"on benign models {with_interval(line.benign)}"] if line.benign else []
    needs = further_needs(line.needs)
    parts += [f"needs {'only trusted prompts' if needs == '-' else f'trusted prompts and {needs}'}"]
    if line.against:
        counts = (
            f"higher on {line.against.higher} and surely better on {line.against.better} of {line.against.n_runs} runs"
        )
        parts += [f"{line.against.difference} above the best published one, {counts}"]
    return "; ".join(parts) + ")"


def _seeing_benign(lines: Sequence[DetectorLine]) -> list[DetectorLine]:
    return [line for line in lines if line.benign and not NEAR[0] <= line.benign.value <= NEAR[1]]


def _with_numbers(line: DetectorLine) -> str:
    benign = f", benign {line.benign.value:.3f}" if line.benign else ""
    return f"{line.name} ({line.auroc.value:.3f}{benign})"
