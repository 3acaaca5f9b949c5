"""Names are those of the published models, drawn evenly by seed and id."""

from collections import Counter

from madkit.data.prompts.characters import ALICE_NAMES, BOB_NAMES, draw_names


def test_names_are_two_lists_of_sixteen():
    assert len(set(ALICE_NAMES)) == len(set(BOB_NAMES)) == 16
    assert not set(ALICE_NAMES) & set(BOB_NAMES)
    assert (ALICE_NAMES[0], BOB_NAMES[0]) == ("Alice", "Bob")


def test_names_are_drawn_evenly_by_seed_and_id():
    ids = [str(i) for i in range(8000)]
    kinds = ["Alice", "Bob"] * 4000
    names = draw_names(ids, kinds, seed=1)
    counts = Counter(names)
    assert set(counts) == {*ALICE_NAMES, *BOB_NAMES}
    assert all(170 < n < 330 for n in counts.values())
    assert all(n in (ALICE_NAMES if kind == "Alice" else BOB_NAMES) for n, kind in zip(names, kinds, strict=True))
    assert draw_names(ids[::-1], kinds[::-1], seed=1)[::-1].tolist() == names.tolist()
    assert (draw_names(ids, kinds, seed=2) != names).mean() > 0.8
