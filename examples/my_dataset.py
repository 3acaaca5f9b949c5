r"""A quirky dataset of one's own: is this number divisible by three?

    madkit fit --config recipes/llama.yaml --data.dataset examples.my_dataset.Thirds \
        --data.template examples/my_dataset.yaml

The truth is divisibility; the quirk looks at the last digit only, and calls a number divisible if that digit is. What
the words are is up to `my_dataset.yaml`.
"""

import numpy as np

from madkit.data.tasks import Questions, Task


class Thirds(Task):
    """Numbers below `below`, half of which are kept for validation.

    Args:
        below: the largest number plus one.
    """

    name = "thirds"
    fields = ("number",)

    def __init__(self, below: int = 4000) -> None:
        self.below = below

    def questions(self, seed: int) -> dict[str, Questions]:
        """Shuffle the numbers and give each split its own."""
        numbers = np.random.default_rng(seed).permutation(np.arange(1, self.below))
        half = len(numbers) // 2
        return {"train": self._ask(numbers[:half]), "validation": self._ask(numbers[half:])}

    @staticmethod
    def _ask(numbers: np.ndarray) -> Questions:
        truth = numbers % 3 == 0
        quirk = (numbers % 10) % 3 == 0
        return Questions({"number": numbers}, truth, quirk, difficulty=numbers)
