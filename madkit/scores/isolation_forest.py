"""Isolation forest: how few random cuts separate a row from the trusted ones?"""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from madkit.errors import ConfigError
from madkit.scores.common.score import Score
from madkit.streaming.pool import Pool


class IsolationForest(Score):
    """How few random cuts isolate a row: near 1 is anomalous, 0.5 and below is ordinary. Seeded.

    Fitted by scikit-learn; equals minus its ``score_samples``. As there, rows are rounded to float32. What is
    kept is the trees themselves, as arrays, so that a saved forest needs neither pickle nor the same
    scikit-learn.

    Formula: 2^(-h(x) / c), with h(x) the mean depth over the trees at which x ends, and c the mean depth of a failed
    search among as many rows as a tree has seen.

    Source: Liu, Ting and Zhou (2008), ICDM.

    Blind to: correlations, as each cut looks at one feature; with thousands of features most cuts lie where
    nothing is to be seen. How far outside the trusted range a value lies does not count.

    Use when: the features are few and of different scales, which change nothing here.

    Args:
        trees: number of trees.
        rows: trusted rows per tree, or all of them if there are fewer.
        seed: the same seed and the same rows, in any order, give the same forest.

    Raises:
        ConfigError: an argument is out of range.
    """

    accumulator = Pool
    child: Tensor
    feature: Tensor
    threshold: Tensor
    length: Tensor
    scale: Tensor

    def __init__(self, trees: int = 100, rows: int = 256, seed: int = 0) -> None:
        super().__init__()
        if trees < 1 or rows < 2:
            raise ConfigError(f"trees={trees}, rows={rows}: give at least 1 tree and 2 rows per tree")
        self.trees, self.rows, self.seed = trees, rows, seed

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        from sklearn.ensemble import IsolationForest as Forest

        rows = min(self.rows, len(trusted))
        forest = Forest(n_estimators=self.trees, max_samples=rows, random_state=self.seed).fit(trusted.cpu().numpy())
        nodes = [tree.tree_ for tree in forest.estimators_]
        size = max(tree.node_count for tree in nodes)
        child = np.zeros((2, self.trees, size), dtype=np.int64)
        feature = np.zeros((self.trees, size), dtype=np.int64)
        threshold = np.zeros((self.trees, size))
        length = np.zeros((self.trees, size))
        for i, tree in enumerate(nodes):
            count, leaf = tree.node_count, tree.children_left < 0
            # A leaf leads to itself, so that all rows can walk the same number of steps.
            for side, below in enumerate((tree.children_left, tree.children_right)):
                child[side, i, :count] = np.where(leaf, np.arange(count), below)
            feature[i, :count] = np.where(leaf, 0, tree.feature)
            threshold[i, :count] = tree.threshold
            length[i, :count] = tree.compute_node_depths() - 1 + failed_search_depth(tree.n_node_samples)
        arrays = {"child": child, "feature": feature, "threshold": threshold, "length": length}
        arrays["scale"] = self.trees * failed_search_depth(np.array([rows]))
        return {name: torch.from_numpy(array).to(trusted.device) for name, array in arrays.items()}

    @override
    def score(self, x: Tensor) -> Tensor:
        x = x.float().double()
        tree = torch.arange(self.trees, device=x.device)
        node = torch.zeros(len(x), self.trees, dtype=torch.int64, device=x.device)
        while True:
            right = (x.gather(1, self.feature[tree, node]) > self.threshold[tree, node]).long()
            after = self.child[right, tree, node]
            if after.equal(node):
                return torch.exp2(-self.length[tree, node].sum(1) / self.scale)
            node = after


def failed_search_depth(n: np.ndarray) -> np.ndarray:
    """Mean path length of a failed search among n rows (equation 1): what a leaf of n rows still hides."""
    n = np.asarray(n, dtype=np.float64)
    harmonic = np.log(np.maximum(n - 1, 1)) + np.euler_gamma
    return np.select([n <= 1, n == 2], [0.0, 1.0], 2 * harmonic - 2 * (n - 1) / np.maximum(n, 1))
