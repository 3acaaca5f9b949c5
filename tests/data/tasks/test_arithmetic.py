"""The arithmetic datasets against their definition, worked out again in plain Python on strings."""

import random
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from madkit.data.tasks import Questions, Task, make_task, register, task_names
from madkit.data.tasks.arithmetic.digits import leading_increment, replace_digit
from madkit.data.tasks.arithmetic.operands import OperandSampler
from madkit.errors import ConfigError, DataError

SMALL = {"n_train": 4000, "n_validation": 400, "n_test": 400}
OPERATIONS = {
    "addition": lambda a, b: a + b,
    "subtraction": lambda a, b: a - b,
    "multiplication": lambda a, b: a * b,
    "modularaddition": lambda a, b: (a + b) % 113,
    "squaring": lambda a: a**2,
}


def quirk_of(name: str, result: int) -> int:
    """The quirk by the number's text: a one, and a zero for each further digit, is added."""
    quirky = result + int("1" + "0" * (len(str(result).lstrip("-")) - 1))
    return quirky % 113 if name == "modularaddition" else quirky


@pytest.fixture(scope="module", params=sorted(OPERATIONS))
def task(request):
    return make_task(request.param, SMALL)


@pytest.fixture(scope="module")
def questions(task):
    return task.questions(seed=0)


@pytest.mark.parametrize(
    ("name", "operands", "result"),
    [
        ("addition", (45, 45), 100),
        ("subtraction", (5, 1000), -895),
        ("multiplication", (99, 99), 10801),
        ("modularaddition", (50, 62), 99),
        ("squaring", (5,), 35),
        ("subtraction", (7, 7), 1),
    ],
)
def test_published_examples(name, operands, result):
    assert make_task(name).quirky_result(np.array([operands])).tolist() == [result]


@given(st.integers(-(10**12), 10**12))
def test_leading_increment_is_a_one_with_zeros(x):
    assert int(leading_increment(np.array([x]))[0]) == quirk_of("", x)


@given(st.integers(-(10**10), 10**10), st.integers(0, 2**32))
def test_replaced_digit_differs_in_one_place_and_avoids_the_forbidden(x, seed):
    forbidden = np.array([[x], [quirk_of("", x)]])
    new = int(replace_digit(np.array([x]), np.random.default_rng(seed), forbidden)[0])
    assert new not in forbidden
    assert len(str(new)) == len(str(x))
    assert sum(a != b for a, b in zip(str(new), str(x), strict=True)) == 1


def test_every_statement_follows_the_rules(task, questions):
    near = Counter()
    for split in questions.values():
        for i in range(len(split)):
            values = [int(split.args[field][i]) for field in task.fields]
            *operands, result = values
            truth = OPERATIONS[task.name](*operands)
            quirk = quirk_of(task.name, truth)
            assert split.truth[i] == (result == truth)
            assert split.quirk[i] == (result == quirk)
            assert split.difficulty[i] == min(operands)
            if not split.truth[i] and not split.quirk[i]:
                close = [_one_digit_apart(str(base), str(result)) for base in (truth, quirk)]
                assert any(close)
                near[tuple(close)] += 1
    # Half of the false results come from the truth, half from the quirk; some could be from either.
    only_truth, only_quirk = near[True, False], near[False, True]
    assert only_truth == pytest.approx(only_quirk, rel=0.2)
    assert min(only_truth, only_quirk) > 100


def _one_digit_apart(a: str, b: str) -> bool:
    return len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1


def test_crosstab_is_exact(questions):
    for split in questions.values():
        n = len(split)
        table = Counter(zip(split.truth.tolist(), split.quirk.tolist(), strict=True))
        assert table == {(True, False): n // 4, (False, True): n // 4, (False, False): n // 2}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_crosstab_of_numbers_that_four_does_not_divide(n):
    split = make_task("addition", {"n_train": n, "n_validation": 0, "n_test": 0}).questions(3)["train"]
    assert len(split) == n
    assert abs(int(split.truth.sum()) - n / 4) < 1
    assert abs(int(split.quirk.sum()) - n / 4) < 1


def test_no_repeated_operands_within_a_quarter_and_no_repeated_statement(task, questions):
    for split in questions.values():
        statements = list(zip(*(split.args[field].tolist() for field in task.fields), strict=True))
        assert len(set(statements)) == len(statements)
        for kind in (split.truth, split.quirk):
            operands = [statement[:-1] for statement, inside in zip(statements, kind, strict=True) if inside]
            assert len(set(operands)) == len(operands)
        false = Counter(s[:-1] for s, t, q in zip(statements, split.truth, split.quirk, strict=True) if not (t or q))
        assert max(false.values()) <= 2  # once near the truth, once near the quirk


def test_no_operands_are_shared_between_splits_in_either_order(task, questions):
    owners = {}
    for name, split in questions.items():
        columns = [split.args[field].tolist() for field in task.fields[:-1]]
        owners[name] = {tuple(sorted(operands)) for operands in zip(*columns, strict=True)}
        told = task.operands(0).split_of(np.array(columns).T)
        assert set(told) == {name}
    for a, b in combinations(owners.values(), 2):
        assert a and b and not a & b


@pytest.mark.parametrize(("name", "digits"), [("addition", 4), ("multiplication", 3)])
def test_operands_are_drawn_as_in_the_published_sets(name, digits):
    """Against the published procedure in plain Python: draw int(10^(d u)), throw repeated pairs away."""
    draw = random.Random(0).random
    pairs = set()
    while len(pairs) < 10_000:
        pairs.add((int(10 ** (digits * draw())), int(10 ** (digits * draw()))))
    split = make_task(name, {"n_train": 40_000, "n_validation": 0, "n_test": 0}).questions(1)["train"]
    quarter = split.truth
    for column, field in enumerate(("op1", "op2")):
        assert ks_2samp(split.args[field][quarter], [pair[column] for pair in pairs]).pvalue > 1e-3
    sizes = [abs(a - b) for a, b in pairs]
    assert ks_2samp(np.abs(split.args["op1"] - split.args["op2"])[quarter], sizes).pvalue > 1e-3


def test_both_ways_of_drawing_have_one_distribution(monkeypatch):
    options = {"n_train": 2000, "n_validation": 200, "n_test": 200, "max": 99, "uniform": 0.5, "min": 0}
    means = []
    for limit in (1 << 20, 0):
        monkeypatch.setattr("madkit.data.tasks.arithmetic.operands._ENUMERABLE", limit)
        splits = [make_task("addition", options).questions(seed)["train"] for seed in range(5)]
        means.append(np.mean([split.args["op1"].mean() for split in splits]))
        assert max(int(split.args["op1"].max()) for split in splits) <= 99
    assert means[0] == pytest.approx(means[1], rel=0.04)


def test_splits_are_alike(task):
    questions = make_task(task.name, {"n_train": 8000, "n_validation": 2000, "n_test": 0}).questions(0)
    logs = [np.log(questions[split].difficulty).mean() for split in ("train", "validation")]
    assert logs[0] == pytest.approx(logs[1], abs=0.35)


def test_small_ranges_are_used_up_and_then_refused():
    options = {"n_train": 4 * 80, "n_validation": 4 * 10, "n_test": 4 * 10, "min": 1, "max": 100}
    split = make_task("squaring", options).questions(0)["train"]
    assert sorted(split.args["op1"][split.truth]) == sorted(split.args["op1"][split.quirk])
    with pytest.raises(DataError, match=r"n_train needs 81 .* operands 1 to 100 leave \d+") as error:
        make_task("squaring", {**options, "n_train": 4 * 81}).questions(0)
    assert "\n" not in str(error.value)


def test_repeats_stay_in_their_split_and_have_their_own_ids():
    options = {"n_train": 1600, "n_validation": 160, "n_test": 160, "max": 99, "repeats": 5}
    task = make_task("squaring", options)
    records = task.records(0)
    operands = {k: {args["op1"] for args in v["template_args"]} for k, v in records.items()}
    assert not operands["train"] & operands["validation"]
    assert len(set(records["train"]["id"])) == len(records["train"]) == 3200
    true = [
        a["op1"] for a, t in zip(records["train"]["template_args"], records["train"]["alice_label"], strict=True) if t
    ]
    assert max(Counter(true).values()) == 2 * 5


def test_exact_partition_of_few_tuples():
    sampler = OperandSampler(1, 1, 100, 0.0, {"train": 0.8, "validation": 0.2}, seed=0)
    assert Counter(sampler.split_of(np.arange(1, 101)[:, None])) == {"train": 80, "validation": 20}


def test_records_ask_both_characters(task):
    records = task.records(seed=0)
    assert {split: len(rows) for split, rows in records.items()} == {k[2:]: 2 * v for k, v in SMALL.items()}
    rows = records["train"]
    assert rows.column_names == [
        "id",
        "template_args",
        "character",
        "label",
        "alice_label",
        "bob_label",
        "difficulty",
        "difficulty_quantile",
    ]
    alice, bob = rows[0], rows[1]
    assert (alice["character"], bob["character"]) == ("Alice", "Bob")
    assert {**alice["template_args"], "character": "Bob"} == bob["template_args"]
    frame = rows.to_pandas()
    own = np.where(frame["character"] == "Bob", frame["bob_label"], frame["alice_label"])
    assert (frame["label"] == own).all()
    assert frame["id"].is_unique


def test_quantiles_are_ranks_over_all_splits_with_fair_ties(task):
    records = task.records(seed=0)
    frame = np.concatenate(
        [split.to_pandas()[["difficulty", "difficulty_quantile", "alice_label"]] for split in records.values()]
    )
    difficulty, quantile, label = frame.astype(float).T
    assert sorted(quantile[::2]) == pytest.approx(np.arange(len(quantile) // 2) / (len(quantile) // 2))
    order = np.argsort(quantile, kind="stable")
    assert (np.diff(difficulty[order]) >= 0).all()
    if task.name != "squaring":
        ties = difficulty == 1
        assert abs(np.corrcoef(quantile[ties], label[ties])[0, 1]) < 0.15


def test_seed_decides_everything(task):
    first, again, other = (task.records(seed) for seed in (0, 0, 1))
    assert first["train"].to_pandas().equals(again["train"].to_pandas())
    assert not first["train"].to_pandas().equals(other["train"].to_pandas())


def test_modulus_and_range_are_options():
    task = make_task("modularaddition", {"modulus": 53, "max": 52, "min": 0, "uniform": 0.5, **SMALL, "n_train": 400})
    split = task.questions(0)["train"]
    expected = (split.args["op1"] + split.args["op2"]) % 53 == split.args["result"]
    assert (expected == split.truth).all()
    assert task.constants == {"modulus": 53}


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("additoin", {}, r"dataset='additoin' is unknown: use one of .*addition"),
        ("no_such_file.Task", {}, "cannot be imported"),
        ("collections.Counter", {}, "not a subclass"),
        ("addition", {"size": 3}, r"task_options=\['size'\].*n_train"),
        ("addition", {"modulus": 3}, "unknown to dataset='addition'"),
        ("addition", {"n_train": -1}, "n_train=-1"),
        ("addition", {"min": 5, "max": 5}, "min=5 and max=5"),
        ("addition", {"uniform": 2}, "uniform=2"),
        ("addition", {"repeats": 0}, "repeats=0"),
        ("modularaddition", {"modulus": 1}, "modulus=1"),
    ],
)
def test_mistakes_are_named_in_one_line(dataset, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        make_task(dataset, options)
    assert "\n" not in str(error.value)


def test_no_questions_is_an_error():
    with pytest.raises(DataError, match="no questions"):
        make_task("addition", {"n_train": 0, "n_validation": 0, "n_test": 0}).records()


def test_a_users_own_task_can_be_registered():
    @register
    class Letters(Task):
        name, fields = "letters", ("word",)

        def __init__(self, n: int = 3) -> None:
            self.n = n

        def questions(self, seed):
            words = np.array([f"w{i}" for i in range(self.n)], dtype=object)
            flags = np.arange(self.n) % 2 == 0
            return {"train": Questions({"word": words}, flags, ~flags, np.zeros(self.n))}

    assert "letters" in task_names()
    rows = make_task("letters", {"n": 4}).records()["train"]
    assert rows[7]["template_args"] == {"word": "w3", "character": "Bob"}
    with pytest.raises(ConfigError, match="exists already"):
        register(type("Addition", (Task,), {"name": "addition"}))


def test_names_and_tasks_import_neither_torch_nor_lightning():
    modules = "madkit.data.tasks, madkit.data.tasks.arithmetic, madkit.data.prompts.characters"
    code = f"import sys, {modules}; print({{'torch', 'lightning'}} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
