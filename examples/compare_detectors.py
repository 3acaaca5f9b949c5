"""Two detectors on one feature store: which one finds the quirk better, and is that more than luck?

    python examples/compare_detectors.py runs/tiny-llama/addition

Nothing is trained and no language model is loaded: the store that `madkit predict` left is all it takes. Scores are
added up over layers, as in Table 1; the paired test knows that both detectors saw the same prompts,
and that prompts share statements and speakers.
"""

import sys
from pathlib import Path

from madkit import FeatureStore
from madkit.scores import LocalOutlierFactor, Mahalanobis
from madkit.statistics import Comparison, auroc, compare, prompt_clusters


def main(run: str | Path, feature: str = "activations") -> Comparison:
    """Print the AUROC of both detectors and their difference.

    Args:
        run: a run folder with a feature store.
        feature: the feature both detectors read.
    """
    store = FeatureStore.current(Path(run) / "features" / feature)
    rows, _ = store.read(store.sites[0], "test")
    prompts = store.rows.set_index("row").loc[rows.numpy()]
    labels = prompts["anomalous"].to_numpy(dtype=bool)
    together = prompt_clusters(prompts["statement"], prompts["name"], labels)
    totals = []
    for score in (Mahalanobis, LocalOutlierFactor):
        total = 0
        for site in store.sites:
            _, trusted = store.read(site, "trusted")
            _, test = store.read(site, "test")
            total = total + score().fit(trusted)(test)
        totals.append(total)
        found = auroc(total, labels, clusters=together)
        print(f"{score.__name__:20} AUROC {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
    difference = compare(*totals, labels, clusters=together)
    print(f"difference {difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]", end=" ")
    n = f"n = {len(labels)} prompts of {prompts['statement'].nunique()} statements"
    print(f"p = {difference.p_value:.2g} ({n}, paired)")
    return difference


if __name__ == "__main__":
    main(*sys.argv[1:])
