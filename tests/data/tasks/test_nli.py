"""What follows from what: every generated pair against explicit small worlds, read from the sentences alone."""

import re
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from madkit.data.tasks import make_task
from madkit.data.tasks.language.entailment import ALL, NONE, NOT_ALL, SOME, Meaning, follows
from madkit.data.tasks.language.nli import has_negation_word
from madkit.data.tasks.language.sentences import CHAINS, PAIRS, PLACES, TIMES, draw_pair
from madkit.errors import DataError

OPPOSITE = {b: a for pairs in PAIRS.values() for a, b in pairs}
LEVEL = {noun: level for chain in CHAINS for level, noun in enumerate(chain)}
QUANTIFIERS = {
    "all": all, "every": all, "always": all,
    "some": any, "sometimes": any,
    "no": lambda x: not any(x), "never": lambda x: not any(x),
    "not all": lambda x: not all(x), "not every": lambda x: not all(x), "not always": lambda x: not all(x),
}  # fmt: skip


def read(sentence):
    """(quantifier, level of the set, (adjective, sign) that restricts it or None, (adjective, sign) said of it)."""

    def adjective(word):
        return (OPPOSITE[word], False) if word in OPPOSITE else (word, True)

    text = sentence.removesuffix(".")
    if found := re.fullmatch(r"The (\w+) is (always|sometimes|never|not always) (\w+)((?: \w+)*)", text):
        assert found[1] in PLACES
        return found[2], TIMES.index(found[4]), None, adjective(found[3])
    if found := re.fullmatch(r"(Every|Some|No|Not every)(body|thing) is (\w+)", text):
        return found[1].lower(), 2, None, adjective(found[3])
    found = re.fullmatch(r"(All|Some|No|Not all|None of the) (?:(\w+) )?(\w+) are (\w+)", text)
    quantifier = found[1].lower().replace("none of the", "no")
    return quantifier, LEVEL[found[3]], found[2] and adjective(found[2]), adjective(found[4])


def worlds(adjectives):
    """All worlds of at most four things; a thing has a place in the chain and each adjective or its opposite."""
    things = [
        {"level": level, **dict(zip(adjectives, values, strict=True))}
        for level, *values in product(range(3), *[(False, True)] * len(adjectives))
    ]
    return [world for size in range(1, 5) for world in combinations(things, size)]


def spoken_of(meaning, world):
    _, level, restriction, _ = meaning
    inside = [thing for thing in world if thing["level"] <= level]
    return inside if restriction is None else [t for t in inside if t[restriction[0]] == restriction[1]]


def holds(meaning, world):
    quantifier, _, _, (adjective, sign) = meaning
    return QUANTIFIERS[quantifier]([thing[adjective] == sign for thing in spoken_of(meaning, world)])


def brute(premise, hypothesis, known={}):  # noqa: B006 - remembers what it has found
    """True, False or None: whether the hypothesis holds in all, no or some worlds of the premise."""
    if (premise, hypothesis) not in known:
        used = sorted({m[3][0] for m in (premise, hypothesis)} | {m[2][0] for m in (premise, hypothesis) if m[2]})
        outcomes = {
            holds(hypothesis, world)
            for world in worlds(used)
            if spoken_of(premise, world) and spoken_of(hypothesis, world) and holds(premise, world)
        }
        known[premise, hypothesis] = outcomes.pop() if len(outcomes) == 1 else None
    return known[premise, hypothesis]


def test_every_pair_follows_or_contradicts_as_labelled():
    rng = np.random.default_rng(0)
    pairs = {draw_pair(rng) for _ in range(2500)}
    assert len(pairs) > 1500
    for premise, hypothesis, entailed in pairs:
        assert brute(read(premise), read(hypothesis)) is entailed, (premise, hypothesis)


@pytest.mark.parametrize("opposite", [0.0, 0.3, 1.0])
def test_how_often_the_hypothesis_says_the_opposite(opposite):
    rng = np.random.default_rng(1)
    pairs = [draw_pair(rng, opposite=opposite) for _ in range(2000)]
    other = [read(premise)[3] != read(hypothesis)[3] for premise, hypothesis, _ in pairs]
    assert abs(np.mean(other) - opposite) < 4 * np.sqrt(opposite * (1 - opposite) / 2000) + 1e-9
    assert abs(np.mean([entailed for *_, entailed in pairs]) - 0.5) < 0.05  # so it gives no label away
    for entailed in {False, True}:
        some = [o for o, (*_, label) in zip(other, pairs, strict=True) if label is entailed]
        assert abs(np.mean(some) - opposite) < 0.06


def test_known_inferences():
    def meaning(quantifier, level, predicate=True):
        return Meaning(quantifier, level, None, predicate)

    assert follows(meaning(ALL, 2), meaning(ALL, 0)) is True  # all animals, so all poodles
    assert follows(meaning(ALL, 0), meaning(ALL, 2)) is None
    assert follows(meaning(SOME, 0), meaning(SOME, 2)) is True
    assert follows(meaning(NONE, 1), meaning(SOME, 0)) is False
    assert follows(meaning(ALL, 1), meaning(SOME, 1)) is True  # what is spoken of exists
    assert follows(meaning(NONE, 1), meaning(ALL, 1, False)) is True  # not wet, so dry
    assert follows(meaning(NOT_ALL, 1), meaning(SOME, 1, False)) is True
    assert follows(meaning(SOME, 1), meaning(NOT_ALL, 1)) is None
    wet = Meaning(ALL, 1, True, True)
    assert follows(meaning(ALL, 1), wet) is True
    assert follows(wet, meaning(ALL, 1)) is None


def test_negation_words_are_whole_words():
    for word in ("not", "nobody", "no", "never", "nothing", "none"):
        assert has_negation_word(f"It is {word.upper()}, so.")
    assert not has_negation_word("Nobel knows another nonesuch, nothingness and notes: cannot.")


def test_labels_crosstab_and_splits():
    task = make_task("nli", {"n_train": 4000, "n_validation": 800, "n_test": 400})
    questions = task.questions(seed=1)
    for split in questions.values():
        assert {(t, q): int(((split.truth == t) & (split.quirk == q)).sum()) * 4 for t in (0, 1) for q in (0, 1)} == {
            (t, q): len(split) for t in (0, 1) for q in (0, 1)
        }
        rows = zip(split.args["premise"], split.args["hypothesis"], split.truth, split.quirk, strict=True)
        for premise, hypothesis, truth, quirk in list(rows)[:600]:
            assert brute(read(premise), read(hypothesis)) is bool(truth)
            words = set(re.findall(r"\w+", hypothesis.lower()))
            assert quirk == (not words & {"not", "nobody", "no", "never", "nothing", "none"})
    premises = [set(split.args["premise"]) for split in questions.values()]
    assert not premises[0] & premises[1] and not premises[0] & premises[2] and not premises[1] & premises[2]


def test_no_combination_is_foretold_in_easy_or_hard_questions():
    records = make_task("nli", {"n_train": 8000, "n_validation": 2000, "n_test": 0, "repeats": 4}).records(0)
    frame = records["train"].to_pandas()
    for quarter in (frame[frame["difficulty_quantile"] < 0.25], frame[frame["difficulty_quantile"] >= 0.75]):
        shares = quarter.groupby(["alice_label", "bob_label"]).size() / len(quarter)
        assert len(shares) == 4 and shares.min() > 0.1, shares


def test_a_table_of_real_pairs_has_the_same_rules():
    table = pd.DataFrame(
        {
            "premise": ["A man sleeps.", "A man sleeps.", "Two dogs run."],
            "hypothesis": ["Nobody is awake.", "A person is resting.", "There are no cats"],
            "label": [False, True, True],
        }
    )
    asked = make_task("nli").make_questions(table, np.random.default_rng(0))
    assert asked["truth"].tolist() == [False, True, True]
    assert asked["quirk"].tolist() == [False, True, False]
    assert asked["key"].tolist() == table["premise"].tolist()
    assert asked["difficulty"].tolist() == [6, 7, 7]


def test_snli_as_it_is(tmp_path):
    """The hub's codes, and the words of the original files; neutral and undecided pairs are left out."""
    rows = [("P one.", "Nobody H.", 2), ("P one.", "H a.", 0), ("P two.", "H b.", 1)]
    rows += [("P.", "H c.", -1), ("Q.", "It is not so.", 0)]
    hub = pd.DataFrame(rows, columns=["premise", "hypothesis", "label"])
    hub.to_parquet(tmp_path / "hub.parquet")
    words = {0: "entailment", 1: "neutral", 2: "contradiction", -1: "-"}
    original = hub.rename(columns={"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"})
    original.assign(gold_label=original["gold_label"].map(words)).to_json(
        tmp_path / "snli_1.0_test.jsonl", orient="records", lines=True
    )
    for file in ("hub.parquet", "snli_1.0_test.jsonl"):
        pool = make_task("nli", {"raw": str(tmp_path / file)}).pool(0)
        assert pool["hypothesis"].tolist() == ["Nobody H.", "H a.", "It is not so."]
        assert pool["truth"].tolist() == [False, True, True]
        assert pool["quirk"].tolist() == [False, True, False]
        assert pool["difficulty"].isna().all()
    hub.assign(label=[0, 1, 0, 1, 0]).to_parquet(tmp_path / "binary.parquet")
    with pytest.raises(DataError, match="has 1 but not 2.*write the words instead"):
        make_task("nli", {"raw": str(tmp_path / "binary.parquet")}).pool(0)


@pytest.mark.parametrize("dataset", ["nli", "sentiment"])
def test_the_seed_decides_everything(dataset):
    options = {"n_train": 200, "n_validation": 40, "n_test": 0, "sentences": 2000}
    first, again, other = (make_task(dataset, options).questions(seed)["train"] for seed in (0, 0, 1))
    for field in first.args:
        assert first.args[field].tolist() == again.args[field].tolist()
        # Generated reviews all have the same title.
        assert field == "title" or first.args[field].tolist() != other.args[field].tolist()
