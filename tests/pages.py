"""The pages of a study of five models, and what is wrong with a page."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
from fabricated import DETECTORS, MANY, TABLES, write_run
from matplotlib.figure import Figure
from matplotlib.text import Text

from madkit.data.tasks import DATASETS
from madkit.figures.drawing import style
from madkit.figures.registry import Sheet, all_families, result_files
from madkit.figures.results.loading import load_results
from madkit.figures.results.results import Results

NAMES = ["tiny-llama", "tiny-mistral", "meta-llama-Llama-3.1-8B", "pythia-6.9b", "gemma-2-27b"]


def five_models(root: Path, datasets: int = len(DATASETS)) -> Results:
    """Five models on the last datasets. The others have the numbers of the first one, each on another dataset."""
    for dataset in DATASETS[-datasets:]:
        write_run(root, NAMES[0], dataset, layers=3, n=40, detectors=MANY)
    return _like_the_first(load_results([root], result_files()), DATASETS[-datasets:])


def _like_the_first(results: Results, datasets: tuple[str, ...]) -> Results:
    """Two models have everything; the others make only the pages fuller that show all models."""
    beyond = {(feature, score) for feature, score, *_ in MANY} - {(feature, score) for feature, score, *_ in DETECTORS}
    other = {feature for feature, _ in beyond} - {"activations"}
    turned = {
        name: {d: datasets[(i - n) % len(datasets)] for i, d in enumerate(datasets)} for n, name in enumerate(NAMES)
    }

    def of(name: str, table: pd.DataFrame) -> pd.DataFrame:
        if name not in NAMES[:2] and "feature" in table:
            table = table[~table["feature"].isin(other)]
            if "score" in table:
                table = table[[key not in beyond for key in zip(table["feature"], table["score"], strict=True)]]
        return table.assign(model=name, dataset=table["dataset"].map(turned[name]))

    tables = {
        key: pd.concat([of(name, table) for name in NAMES], ignore_index=True)
        for key, table in vars(results).items()
        if isinstance(table, pd.DataFrame)
    }
    found = results.run_folders.items()
    folders = {(name, turned[name][dataset]): path for name in NAMES for (_, dataset), path in found}
    return replace(results, run_folders=folders, **tables)


def part(study: Results, models: slice, datasets: int) -> Results:
    """Only some models and the last datasets; colours stay those of the five."""
    chosen = set(NAMES[models]), set(DATASETS[-datasets:])
    tables = {
        name: table[table["model"].isin(chosen[0]) & table["dataset"].isin(chosen[1])]
        for name, table in vars(study).items()
        if isinstance(table, pd.DataFrame)
    }
    run_folders = {key: path for key, path in study.run_folders.items() if key[0] in chosen[0] and key[1] in chosen[1]}
    return replace(study, run_folders=run_folders, **tables)


def sheets(results: Results, per_model: bool | None) -> list[Sheet]:
    """The figures, of families that draw a page per model, or of those that draw all models on one."""
    found = []
    with style.applied():
        for family in (family for family in all_families() if family.name not in TABLES):
            for sheet in family.sheets(results):
                if isinstance(sheet.body, Figure) and per_model in (None, sheet.model is not None):
                    found.append(sheet)
                elif isinstance(sheet.body, Figure):
                    break
    return found


def faults(figure: Figure) -> list[str]:
    """Texts outside the page, and pairs of texts on top of each other."""
    figure.draw_without_rendering()
    beyond = {
        id(label)
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }  # matplotlib keeps these texts but does not draw them
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in beyond
        if text.axes is None or text.axes.get_visible()
    ]
    page = figure.bbox
    outside = [
        f"outside: {name!r}"
        for name, box in boxes
        if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1
    ]
    return outside + [
        f"overlap: {a!r} {b!r}"
        for (a, first), (b, second) in combinations(boxes, 2)
        if first.x0 < second.x1 and second.x0 < first.x1 and first.y0 < second.y1 and second.y0 < first.y1
    ]
