"""How much of the spread between runs is between seeds: components of variance of each detector."""

from collections.abc import Iterator

from madkit.figures.naming import detector_name, with_setting
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.results import Results, grouped
from madkit.figures.tables.averages import Average
from madkit.figures.tables.document import Document, with_interval
from madkit.figures.tables.seeds import seed_spread


@artist("comparison", after="rare_alarms")
def seeds(results: Results) -> Iterator[Sheet]:
    """`table_seeds.md` and `.csv`; nothing where there is one seed."""
    table = seed_spread(results)
    if table.empty:
        return
    yield Sheet("table_seeds.csv", table.to_csv(index=False, lineterminator="\n"))
    head = [
        "detector",
        "datasets",
        "runs",
        "AUROC",
        "SD between datasets",
        "SD between seeds",
        "SD of prompts",
        "seeds' share",
    ]
    cells: dict[str, list[list[str]]] = {}
    for (model,), part in grouped(table.sort_values("auroc", ascending=False, kind="stable"), "model"):
        for row in part.to_dict("records"):
            value = Average(row["auroc"], row["low"], row["high"], row["n_datasets"])
            spreads = (row["between_datasets"], row["between_seeds"], row["sampling"])
            cells.setdefault(model, []).append(
                [
                    with_setting(detector_name(row["feature"], row["score"]), row["setting"]),
                    *(str(row["n_datasets"]), str(row["n_runs"]), with_interval(value)),
                    *("-" if spread != spread else f"{spread:.3f}" for spread in spreads),
                    "-" if row["seed_share"] != row["seed_share"] else f"{row['seed_share']:.0%}",
                ]
            )
    notes = [
        "Standard deviations of one run's AUROC, by the method of moments, with seeds nested in datasets: between "
        "datasets (with endless seeds and prompts), between the seeds of a dataset (with endless prompts), and of the "
        "prompts that a run asks. *Seeds' share*: of the variance, the sum of the three squares.",
        "Estimates from few datasets and seeds are rough. A base model that all datasets of a seed share counts as "
        "if each had its own, so that what it does to all of them at once is not seen.",
    ]
    title = "Seeds: what the AUROC of a run varies by (all test prompts, mean over layers)"
    document = Document(
        title, "Each AUROC: average [95% interval].", {m: (head, rows) for m, rows in cells.items()}, notes
    )
    yield Sheet("table_seeds.md", document)
