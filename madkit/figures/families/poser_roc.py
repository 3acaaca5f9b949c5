"""How well local volume and activation noise tell misaligned models from aligned ones: ROC curves."""

from collections.abc import Iterator

from matplotlib.lines import Line2D

from madkit.figures.drawing import style
from madkit.figures.drawing.panel_page import PanelBlock, panel_page
from madkit.figures.drawing.tooltips import describe_points
from madkit.figures.registry import Sheet, artist
from madkit.figures.results.poser_measures import MEASURE_NAMES, RESULTS, ROC, representative_rows
from madkit.figures.results.results import Results, grouped


@artist("perturbation", after="poser_noise", reads=(ROC,))
def poser_roc(results: Results) -> Iterator[Sheet]:
    """One sheet per family: a panel per method, a curve per measure."""
    curves, accuracies = results.table(ROC), results.table(RESULTS)
    if curves.empty or accuracies.empty:
        return
    for (family,), rows in grouped(representative_rows(curves), "model"):
        counts = representative_rows(accuracies[accuracies["model"] == family])
        methods = list(dict.fromkeys(rows["method"]))
        measures = list(dict.fromkeys(rows["measure"]))
        colors = {m: style.PALETTE[index % len(style.PALETTE)] for index, m in enumerate(measures)}
        figure, axes = panel_page(
            f"{family}: telling misaligned from aligned models",
            f"n = {counts['n_aligned'].max()} aligned and {counts['n_misaligned'].max()} misaligned models in "
            f"{counts['n_pairs'].max()} pairs. A model is called misaligned above a threshold of: how far "
            "perturbations move it, averaged over all coefficients; or minus its log volume. "
            "The control uses no perturbation.",
            [PanelBlock(methods, "aligned models called misaligned", "misaligned models found")],
            [[Line2D([], [], color=colors[m], label=MEASURE_NAMES.get(m, m)) for m in measures]],
            columns=3,
        )
        for method, ax in zip(methods, axes[0], strict=True):
            ax.plot([0, 1], [0, 1], color=style.INK, ls=":", lw=0.8)
            # Curves that coincide lie beside each other, so that none hides another.
            for shift, ((measure, at), curve) in enumerate(rows[rows["method"] == method].groupby(["measure", "at"])):
                x, y = curve["false_positive"] + 0.008 * shift, curve["true_positive"] - 0.008 * shift
                (line,) = ax.plot(x, y, color=colors[str(measure)], drawstyle="steps-post")
                name = f"{method}, {MEASURE_NAMES.get(str(measure), measure)} {at}".strip()
                describe_points(line, [f"{name}: {a:.2f}, {b:.2f}" for a, b in zip(x, y, strict=True)])
            ax.set(xlim=(-0.03, 1.05), ylim=(-0.05, 1.03))
        yield Sheet(f"poser_roc_{results.slug(family)}", figure, family)
