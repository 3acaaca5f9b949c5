"""What a reader should know first, in sentences made of the numbers."""

from collections.abc import Iterator

import pandas as pd

from madkit.figures.naming import anomalous_share, count_range, detector_name
from madkit.figures.results.poser_measures import RESULTS, conclusions
from madkit.figures.results.results import Results, grouped
from madkit.figures.results.selection import MOST_MODELS, first_models, what_is_shown
from madkit.figures.tables.answers import differing
from madkit.figures.tables.averages import average
from madkit.figures.tables.benign import benign_rows, in_words, sees_benign
from madkit.figures.tables.significance import significantly_best

_FAR = 0.05  # from one half: a control that has to be explained


def summary(results: Results) -> list[str]:
    """Sentences, in Markdown, in the order in which they matter."""
    everything = results.over_seeds(Results.aggregated)
    omitted = what_is_shown(results)
    results = first_models(results)
    rows = results.over_seeds(Results.aggregated) if results.shown else everything
    rows = rows[rows["subset"] == "all"]
    control = rows["control"]
    pairs = results.table(RESULTS)
    scope = _scope(everything[everything["subset"] == "all"]) if len(rows) else "No run has been tested yet."
    sentences = [scope] if len(rows) or not len(pairs) else []
    sentences += [f"{omitted} These sentences are of the same models."] if omitted else []
    sentences += [
        sentence for (model,), part in grouped(rows[~control], "model") for sentence in _best(results, model, part)
    ]
    sentences += _controls(rows[control])
    sentences += _benign(results)
    sentences += _false_alarms(rows[~control])
    sentences += _answers(results)
    sentences += _below_chance(rows[~control])
    sentences += _quirks(results)
    for (family,), part in grouped(pairs, "model"):
        sentences += [f"**{family}**: {conclusion}" for conclusion in conclusions(part)]
    return sentences


def _scope(rows: pd.DataFrame) -> str:
    models, datasets = sorted(set(rows["model"])), sorted(set(rows["dataset"]))
    datasets_once = rows.drop_duplicates(["model", "dataset"])
    prompts = datasets_once[["n_normal", "n_anomalous"]].sum(axis=1)
    return (
        f"{_number(len(models), 'model')} ({_named(models)}), {_number(len(datasets), 'quirky dataset')}, "
        f"{count_range(prompts)} test prompts of {count_range(datasets_once['n_statements'])} statements each, "
        f"{anomalous_share(datasets_once)} of them anomalous."
    )


def _best(results: Results, model: str, rows: pd.DataFrame) -> Iterator[str]:
    """The detector with the highest average of each setting, and whether the paired test lets it be called best."""
    for setting in ("online", "offline"):
        part = rows[rows["setting"] == setting]
        averages = {
            pair: value
            for pair, detector in grouped(part, "feature", "score")
            if (value := average(detector)) is not None
        }
        if not averages:
            continue
        feature, score = max(averages, key=lambda pair: averages[pair].value)
        value = averages[feature, score]
        significant = (model, setting, f"{feature}/{score}") in significantly_best(results, part, "all")
        verdict = (
            "it is better than every other by the paired test"
            if significant
            else "the paired test does not set it apart"
        )
        yield (
            f"**{model}**: of the {setting} detectors *{detector_name(feature, score)}* has the highest average AUROC, "
            f"**{value.value:.3f}** [{value.low:.3f}, {value.high:.3f}]; "
            f"{verdict if len(averages) > 1 else 'it has no competitor'}."
        )


def _controls(rows: pd.DataFrame) -> Iterator[str]:
    for (model,), part in grouped(rows[rows["setting"] != "ceiling"], "model"):
        low, high = part["auroc"].min(), part["auroc"].max()
        far = max(abs(low - 0.5), abs(high - 0.5)) > _FAR
        note = (
            "**not near chance: part of what detectors find there is not the quirk**"
            if far
            else "near chance, as it should be"
        )
        yield f"**{model}**: with the adapter off the same detectors reach {low:.3f} to {high:.3f}, {note}."


def _benign(results: Results) -> Iterator[str]:
    rows = benign_rows(results)
    for (model,), part in grouped(rows[rows["subset"] == "all"], "model"):
        far = sees_benign(part)
        note = (
            f"**not at chance, so that they find other things than the quirk: {in_words(far)}**"
            if len(far)
            else "at chance, as it should be"
        )
        yield (
            f"**{model}**: on benign models, tuned on the same {_number(part['dataset'].nunique(), 'dataset')} with "
            f"the truth as everyone's answer, detectors reach {part['auroc'].min():.3f} to "
            f"{part['auroc'].max():.3f}, {note}."
        )


def _false_alarms(rows: pd.DataFrame) -> Iterator[str]:
    """What becomes of a threshold that is set on easy trusted prompts."""
    rows = rows[(rows["setting"] == "online")].dropna(subset=["false_alarms"])
    for (model,), part in grouped(rows, "model"):
        averages = part.groupby(["feature", "score"])["false_alarms"].mean()
        nominal = part["nominal"].max()
        far = averages.max() > 2 * nominal
        note = "; **a threshold has to be set on prompts like those that come in**" if far else ""
        yield (
            f"**{model}**: thresholds set on held-out trusted prompts for {nominal:.2g} false alarms have "
            f"{averages.min():.3f} to {averages.max():.3f} on normal test prompts, which are harder, by online "
            f"detector on average over datasets{note}."
        )


def _answers(results: Results) -> Iterator[str]:
    """How far the answer alone goes, and which detectors find in part what was answered."""
    own = results.own_answer
    own = own[own["subset"] == "all"]
    for (model,), part in grouped(own, "model"):
        model_own = part[part["score"] == "log_odds"] if (part["score"] == "log_odds").any() else part
        far = model_own[model_own["low"] > 0.5 + _FAR]
        note = f"; **the answers alone tell the characters apart: {', '.join(far['dataset'])}**" if len(far) else ""
        low, high = model_own["auroc"].min(), model_own["auroc"].max()
        yield f"**{model}**: its own answer, as a score by the better sign, has AUROC {low:.3f} to {high:.3f}{note}."
    # Of the first seed, as in Table 1: intervals of the difference are those of single runs.
    rows = results.aggregated()
    rows = rows[(rows["subset"] == "all") & ~rows["control"] & (rows["setting"] != "ceiling")]
    for (model,), part in grouped(rows[differing(rows)], "model"):
        gap = part.iloc[int(part["within_difference"].abs().to_numpy().argmax())]
        of = len(rows[rows["model"] == model])
        yield (
            f"**{model}**: AUROC within answers differs from the plain one by more than chance for {len(part)} of {of} "
            "detectors and datasets (1 in 20 does anyway), most for "
            f"*{detector_name(gap['feature'], gap['score'])}* on {gap['dataset']}: {gap['auroc']:.3f} over all pairs, "
            f"**{gap['auroc_within']:.3f}** over the "
            f"{gap['within_share']:.0%} with the same answer."
        )


def _below_chance(rows: pd.DataFrame) -> Iterator[str]:
    worse = rows[(rows["high"] < 0.5) & (rows["setting"] != "ceiling")]
    if len(worse):
        names = sorted({detector_name(f, s) for f, s in zip(worse["feature"], worse["score"], strict=True)})
        pairs = len(worse.drop_duplicates(["model", "dataset"]))
        pairs_in_words = _number(pairs, "pair of model and dataset", "pairs of model and dataset")
        yield f"Surely below chance in {pairs_in_words}: {', '.join(names)}."


def _quirks(results: Results) -> Iterator[str]:
    for (model,), part in grouped(results.quirkiness, "model"):
        values = part["value"]
        weak = sorted(part.loc[~(part["low"] > 0), "dataset"])  # or not known
        note = f"; **not surely quirky: {', '.join(weak)}**" if weak else ""
        yield f"**{model}**: quirkiness coefficients from {values.min():.2f} to {values.max():.2f} nats{note}."


def _named(models: list[str]) -> str:
    return ", ".join(models[:MOST_MODELS]) + (" and others" if len(models) > MOST_MODELS else "")


def _number(n: int, singular: str, plural: str = "") -> str:
    return f"{n} {singular if n == 1 else plural or singular + 's'}"
