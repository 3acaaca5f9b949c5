"""Write the tables of docs/published.md: results of `make figures` beside what the publications print, row by row.

python docs/published.py runs/
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from madkit.figures.families.poser_table import PUBLISHED
from madkit.figures.naming import detector_name, setting_order, with_setting
from madkit.figures.published.numbers import nearest_model, published_auroc, published_sources
from madkit.figures.results.loading import load_results
from madkit.figures.results.poser_measures import MEASURE_NAMES, RESULTS, representative_rows
from madkit.figures.results.results import Results
from madkit.figures.study import result_files
from madkit.figures.tables.averages import average
from madkit.figures.tables.document import with_interval

PAGE = Path(__file__).with_suffix(".md")
#: The detectors that are shown dataset by dataset, by feature and score.
BY_DATASET = (
    ("activations", "mahalanobis"),
    ("activations", "lof"),
    ("flow", "mahalanobis"),
    ("conditional_studentised", "mahalanobis"),
)


def detection(results: Results) -> Iterator[str]:
    """Averages: a row for each detector that a publication has a number of."""
    models = results.datasets_of_models
    yield "| detector |" + "".join(f" published {nearest_model(m)} | same datasets | {m} |" for m in models)
    yield "|---|" + "---:|---:|---:|" * len(models)
    rows = results.aggregated()
    rows = rows[(rows["subset"] == "all") & ~rows["control"]]
    keys = rows[["feature", "score", "setting"]].drop_duplicates().itertuples(index=False, name=None)
    for feature, score, setting in sorted(keys, key=lambda key: (setting_order(key[2]), detector_name(*key[:2]))):
        name, cells = detector_name(feature, score), []
        for model, datasets in models.items():
            part = rows[
                (rows[["model", "feature", "score", "setting"]] == [model, feature, score, setting]).all(axis=1)
            ]
            ours = average(part)
            printed = published_auroc(nearest_model(model), name, setting, "all")
            same = published_auroc(nearest_model(model), name, setting, "all", frozenset(datasets))
            cells.append((printed, same, ours))
        if any(printed or same for printed, same, _ in cells):
            yield f"| {with_setting(name, setting)} |" + "".join(
                f" {f'{printed.value:.3f} ({printed.n_datasets})' if printed else '-'} |"
                f" {f'{same.value:.3f} ({same.n_datasets})' if same else '-'} |"
                f" {with_interval(ours) if ours else '-'} |"
                for printed, same, ours in cells
            )


def by_dataset(results: Results) -> Iterator[str]:
    """The same for each dataset, of a few detectors; ours without intervals, which the report has."""
    rows = results.aggregated()
    rows = rows[(rows["subset"] == "all") & (rows["setting"] == "online") & ~rows["control"]]
    for model, datasets in results.datasets_of_models.items():
        names = [detector_name(*key) for key in BY_DATASET]
        yield f"**{model}**, and in brackets published {nearest_model(model)}:\n"
        yield "| dataset |" + "".join(f" {name} |" for name in names)
        yield "|---|" + "---:|" * len(names)
        for dataset in datasets:
            cells = []
            for (feature, score), name in zip(BY_DATASET, names, strict=True):
                part = rows[
                    (rows[["model", "dataset", "feature", "score"]] == [model, dataset, feature, score]).all(axis=1)
                ]
                printed = published_auroc(nearest_model(model), name, "online", "all", frozenset([dataset]))
                ours = f"{part['auroc'].iloc[0]:.3f}" if len(part) else "-"
                cells.append(f" {ours} ({f'{printed.value:.3f}' if printed else '-'}) |")
            yield f"| {dataset} |" + "".join(cells)
        yield ""


def poser(results: Results) -> Iterator[str]:
    """A row for each method and measure, those without a published number too: they are what to compare with."""
    yield "| method | what is compared | published | ours |"
    yield "|---|---|---|---|"
    table = results.table(RESULTS)
    for row in representative_rows(table).itertuples() if len(table) else ():
        printed = [text for text in PUBLISHED.get((row.method, row.measure), ()) if text != "-"]
        what = MEASURE_NAMES.get(row.measure, row.measure)
        ours = f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]"
        yield f"| {row.method} | {what} | {', '.join(printed) or '-'} | {ours} |"


def sources() -> Iterator[str]:
    """Where the published numbers are from."""
    yield from (f"- {source}" for source in published_sources())


def filled(text: str, results: Results) -> str:
    """The page with its tables, which stand between comments with their names."""
    tables = {"detection": detection(results), "by dataset": by_dataset(results), "poser": poser(results)}
    for name, lines in (tables | {"sources": sources()}).items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = "\n\n".join([before + begin, "\n".join(lines).strip(), end + after])
    return text


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of them")
    results = load_results(parser.parse_args().runs, result_files())
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
