"""Random numbers as a function of a key: the same everywhere, for arrays and tensors."""

import numpy as np
import torch

from madkit.statistics.hashing import GAMMA, splitmix64, stable_hash


def test_hash_is_the_same_on_every_machine():
    assert stable_hash(["a", "b"], "x").tolist() == [16707994065875574366, 8309007046382523818]


def test_splitmix_gives_the_sequence_of_its_authors_for_arrays_and_tensors():
    steps = np.arange(1, 1001)
    mixed = splitmix64(1234567 * np.ones_like(steps) + GAMMA * steps)
    # The first outputs of the reference implementation for the seed 1234567.
    assert mixed.view(np.uint64)[:3].tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    tensor = splitmix64(1234567 + GAMMA * torch.from_numpy(steps))
    assert np.array_equal(tensor.numpy(), mixed)
    assert steps.tolist() == list(range(1, 1001))  # the argument stays as it is
