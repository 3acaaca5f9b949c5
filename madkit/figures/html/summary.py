"""What a reader should know first, in sentences made of the numbers."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import CONTROL, count_range, detector_name
from madkit.figures.results.poser import RESULTS, findings
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import average
from madkit.figures.tables.significance import leaders

_FAR = 0.05  # from one half: a control that has to be explained


def summary(results: Results) -> list[str]:
    """Sentences, in Markdown, in the order in which they matter."""
    whole = results.aggregate()
    rows = whole[whole["subset"] == "all"]
    own = rows[~rows["feature"].str.startswith(CONTROL)]
    pairs = results.table(RESULTS)
    found = [_scope(rows)] if len(rows) else [] if len(pairs) else ["No run has been tested yet."]
    found += [sentence for (model,), part in grouped(own, "model") for sentence in _best(results, model, part)]
    found += _controls(rows)
    found += _below_chance(own)
    found += _quirks(results)
    for (family,), part in grouped(pairs, "model"):
        found += [f"**{family}**: {words}" for words in findings(part)]
    return found


def _scope(rows: pd.DataFrame) -> str:
    models, datasets = sorted(set(rows["model"])), sorted(set(rows["dataset"]))
    prompts = rows.drop_duplicates(["model", "dataset"])[["n_normal", "n_anomalous"]].sum(axis=1)
    return (
        f"{_number(len(models), 'model')} ({', '.join(models)}), {_number(len(datasets), 'quirky dataset')}, "
        f"{count_range(prompts)} test prompts each, half of them anomalous."
    )


def _best(results: Results, model: str, own: pd.DataFrame) -> Iterator[str]:
    """The detector with the highest average of each setting, and whether the paired test lets it be called best."""
    for setting in ("online", "offline"):
        part = own[own["setting"] == setting]
        averages = {pair: average(rows) for pair, rows in grouped(part, "feature", "score")}
        known = {pair: value for pair, value in averages.items() if value is not None}
        if not known:
            continue
        feature, score = max(known, key=lambda pair: known[pair].value)
        value = known[feature, score]
        surely = (model, setting, f"{feature}/{score}") in leaders(results, part, "all")
        others = len(known) - 1
        verdict = (
            "it is better than every other by the paired test" if surely else "the paired test does not set it apart"
        )
        yield (
            f"**{model}**: of the {setting} detectors *{detector_name(feature, score)}* has the highest average AUROC, "
            f"**{value.value:.3f}** [{value.low:.3f}, {value.high:.3f}]; "
            f"{verdict if others else 'it has no competitor'}."
        )


def _controls(rows: pd.DataFrame) -> Iterator[str]:
    control = rows[rows["feature"].str.startswith(CONTROL) & (rows["setting"] != "ceiling")]
    for (model,), part in grouped(control, "model"):
        low, high = part["auroc"].min(), part["auroc"].max()
        far = max(abs(low - 0.5), abs(high - 0.5)) > _FAR
        note = (
            "**not near chance: part of what detectors find there is not the quirk**"
            if far
            else "near chance, as it should be"
        )
        yield f"**{model}**: with the adapter off the same detectors reach {low:.3f} to {high:.3f}, {note}."


def _below_chance(own: pd.DataFrame) -> Iterator[str]:
    worse = own[(own["high"] < 0.5) & (own["setting"] != "ceiling")]
    if len(worse):
        names = sorted({detector_name(f, s) for f, s in zip(worse["feature"], worse["score"], strict=True)})
        pairs = len(worse.drop_duplicates(["model", "dataset"]))
        where = _number(pairs, "pair of model and dataset", "pairs of model and dataset")
        yield f"Surely below chance in {where}: {', '.join(names)}."


def _quirks(results: Results) -> Iterator[str]:
    for (model,), part in grouped(results.quirkiness, "model"):
        values = part["value"]
        weak = sorted(part.loc[part["low"] <= 0, "dataset"])
        note = f"; **not surely quirky: {', '.join(weak)}**" if weak else ""
        yield f"**{model}**: quirkiness coefficients from {values.min():.2f} to {values.max():.2f} nats{note}."


def _number(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
