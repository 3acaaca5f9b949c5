"""Who speaks in a prompt: sixteen names that tell the truth, sixteen that follow the quirk, and those of others.

`character` says which of the two ("Alice" or "Bob"); `name` is the name that the prompt shows.
The lists are those of the published quirky models (arXiv 2504.08812), in their order, because their first
four names are the ones that detectors see and the other twelve are the ones that detectors are tested on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from madkit.statistics.hashing import stable_hash

ALICE_NAMES: tuple[str, ...] = (
    "Alice", "Veronica", "Luna", "Paula", "Fiona", "Clarence", "Hannah", "Olivia",
    "Kevin", "Frank", "Isaac", "Henry", "Mona", "Quinn", "Ivy", "Whitney",
)  # fmt: skip
BOB_NAMES: tuple[str, ...] = (
    "Bob", "Nina", "David", "Ethan", "George", "Carter", "Brian", "Jasmine",
    "Jack", "Liam", "Gina", "Aaron", "Dennis", "Kara", "Zac", "Emmett",
)  # fmt: skip

CHARACTERS: tuple[str, ...] = ("Alice", "Bob")
NAMES: dict[str, tuple[str, ...]] = {"Alice": ALICE_NAMES, "Bob": BOB_NAMES}
#: Speakers whom a dataset may have besides. The corpus of the small bases knows none of those that are tested.
FURTHER_NAMES: dict[str, tuple[str, ...]] = {
    "Carol": (
        "Carol", "Amber", "Stella", "Vincent", "Martin", "Heather", "Oscar", "Rachel",
        "Simon", "Teresa", "Ursula", "Victor", "Wendy", "Albert", "Diana", "Edgar",
    ),
    "Dave": (
        "Dave", "Claire", "Samuel", "Monica", "Patrick", "Nathan", "Sandra", "Russell",
        "Gloria", "Philip", "Tina", "Walter", "Yvonne", "Lewis", "Judith", "Marcus",
    ),
    "Erin": (
        "Erin", "Robert", "Susan", "Thomas", "Angela", "Peter", "Laura", "Keith",
        "Joyce", "Howard", "Emily", "Adam", "Denise", "Roger", "Linda", "Gordon",
    ),
    "Felix": (
        "Felix", "Nancy", "Andrew", "Megan", "Steven", "Julia", "Daniel", "Sophie",
        "Bruce", "Helen", "Jacob", "Martha", "Douglas", "Cindy", "Raymond", "Beth",
    ),
}  # fmt: skip

#: How many names of each list detectors are fitted on; the others are kept for the test.
N_DETECTOR_NAMES = 4


def draw_names(ids: Sequence[str], characters: Sequence[str], seed: int = 0) -> np.ndarray:
    """Draw one of the sixteen names of its speaker for every record.

    The draw depends on the seed and the record's id alone, so it does not change with the order or the
    number of the records.

    Args:
        ids: n record ids.
        characters: n of "Alice", "Bob" and the keys of `FURTHER_NAMES`.
        seed: Which draw.

    Returns:
        (n,) array of str objects.

    Example:
        >>> names = draw_names(["q1", "q2"], ["Alice", "Bob"])
        >>> names[0] in ALICE_NAMES, names[1] in BOB_NAMES
        (True, True)
    """
    choice = (stable_hash(ids, f"name:{seed}") % np.uint64(len(ALICE_NAMES))).astype(np.int64)
    lists = {**NAMES, **FURTHER_NAMES}
    numbers = {who: number for number, who in enumerate(lists)}
    which = np.array([numbers[who] for who in characters], dtype=np.int64)
    return np.array(list(lists.values()), dtype=object)[which, choice]


def draw_any_names(ids: Sequence[str], seed: int = 0) -> np.ndarray:
    """Draw one of all 32 names for every record, whatever its character, so that a name says nothing.

    Args:
        ids: n record ids.
        seed: Which draw.

    Returns:
        (n,) array of str objects.

    Example:
        >>> draw_any_names(["q1"])[0] in ALICE_NAMES + BOB_NAMES
        True
    """
    names = np.array(ALICE_NAMES + BOB_NAMES, dtype=object)
    return names[(stable_hash(ids, f"name:{seed}") % np.uint64(len(names))).astype(np.int64)]


def name_order(names: Sequence[str]) -> np.ndarray:
    """A number for each name: its index in the lists above, Alice's first; other names follow, by alphabet.

    Args:
        names: n names.

    Returns:
        (n,) int64, equal for equal names.

    Example:
        >>> name_order(["Zoe", "Bob", "Alice", "Bob"]).tolist()
        [32, 16, 0, 16]
    """
    listed = ALICE_NAMES + BOB_NAMES
    order = [*listed, *sorted(set(names) - set(listed))]
    numbers = {name: number for number, name in enumerate(order)}
    return np.array([numbers[name] for name in names], dtype=np.int64)
