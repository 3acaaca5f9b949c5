"""What every score promises: streaming, merging, processes, precision, freezing, saving."""

import copy
import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from forked import in_copy, in_two, peak_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch import nn

from madkit import scores
from madkit.analysis.state_separation import separation
from madkit.errors import ConfigError, DataError, NotFittedError, StoreError
from madkit.scores import FixedScore, Score, ScoreCollection, load_score
from madkit.scores.common.neighbours import NeighbourIndex
from madkit.streaming import Moments, Pool, Variances
from madkit.streaming.validation import sparse_rows

MAKERS = {
    "mahalanobis": scores.Mahalanobis,
    "mahalanobis_relative": lambda: scores.Mahalanobis(relative=True),
    "mahalanobis_ledoit-wolf": lambda: scores.Mahalanobis(shrinkage="ledoit-wolf"),
    "mahalanobis_residual1.0": lambda: scores.Mahalanobis(residual=1.0),
    "mahalanobis_normalize": lambda: scores.Mahalanobis(normalize=True),
    "answer_mahalanobis": scores.AnswerMahalanobis,
    "answer_mahalanobis_nearest_relative": lambda: scores.AnswerMahalanobis("nearest", relative=True),
    "conditional_t": scores.ConditionalT,
    "conditional_t_penalty0.1": lambda: scores.ConditionalT(penalty=0.1),
    "diagonal_mahalanobis": scores.DiagonalMahalanobis,
    "diagonal_mahalanobis_ridge0.1": lambda: scores.DiagonalMahalanobis(ridge=0.1),
    "lof_k5": lambda: scores.LocalOutlierFactor(k=5),
    "lof_k5_simplified": lambda: scores.LocalOutlierFactor(k=5, variant="simplified"),
    "isolation_forest_trees7": lambda: scores.IsolationForest(trees=7),
    "laplace_nll": scores.LaplaceNLL,
    "low_value": scores.LowValue,
    "novel_latents": scores.NovelLatents,
    "quantum_entropy": scores.QuantumEntropy,
    "quantum_entropy_trusted": lambda: scores.QuantumEntropy(about="trusted"),
    "likelihood_ratio": scores.LikelihoodRatio,
    "knn_k5": lambda: scores.KNearestNeighbours(k=5),
    "knn_k5_mean": lambda: scores.KNearestNeighbours(k=5, reduce="mean"),
    "knn_k5_cosine": lambda: scores.KNearestNeighbours(k=5, metric="cosine"),
    "principal_residual": scores.PrincipalResidual,
    "principal_residual_keep2": lambda: scores.PrincipalResidual(keep=2),
    "gaussian_mixture_components2": lambda: scores.GaussianMixture(components=2),
    "gaussian_mixture_dims3_seed1": lambda: scores.GaussianMixture(dims=3, seed=1),
    "max_softmax": scores.MaxSoftmax,
    "energy": scores.Energy,
    "energy_temperature2.0": lambda: scores.Energy(temperature=2.0),
    "sklearn_one_class_svm_nu0.1_seed1": lambda: scores.SklearnEstimator(
        "sklearn.svm.OneClassSVM", {"nu": 0.1}, seed=1
    ),
    "sklearn_local_outlier_factor_n_neighbors5_novelty": lambda: scores.SklearnEstimator(
        "sklearn.neighbors.LocalOutlierFactor", {"novelty": True, "n_neighbors": 5}
    ),
    "trusted_range": scores.TrustedRange,
    "pyod_ecod": lambda: scores.SklearnEstimator("pyod.models.ecod.ECOD"),
    "pyod_knn_mean_n_neighbors5": lambda: scores.SklearnEstimator(
        "pyod.models.knn.KNN", {"n_neighbors": 5, "method": "mean"}
    ),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:pyod_ecod scores a row by its batch too"),
    # PyOD asks SciPy for the skewness of a constant feature.
    pytest.mark.filterwarnings("ignore:Precision loss occurred in moment calculation"),
]
every = pytest.mark.parametrize("name", MAKERS)


def rows(n=60, d=6, seed=0):
    """Rows with a constant feature, one that is mostly zero, one of both signs, and a mean far from the origin."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 50
    x[:, 0] = 0.1
    x[:, 1] *= rng.random(n) < 0.3
    x[:, -1] -= 50
    return torch.tensor(x)


def fitted(name, trusted=None, untrusted=None):
    trusted = rows() if trusted is None else trusted
    return MAKERS[name]().fit(trusted, rows(40, seed=1) if untrusted is None else untrusted)


def close(a, b, rtol=1e-9):
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


@every
def test_names_are_distinct_and_say_the_options(name):
    assert MAKERS[name]().name == name


@every
@settings(max_examples=8)
@given(data=st.data())
def test_batches_order_and_merging_do_not_matter(name, data):
    splits = {"trusted": rows(), "untrusted": rows(40, seed=1)}
    parts = [MAKERS[name](), MAKERS[name]()]
    for split, x in splits.items():
        order = torch.tensor(data.draw(st.permutations(range(len(x)))))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=6)))
        for batch in x[order].tensor_split(cuts):
            part = parts[data.draw(st.integers(0, 1))]
            part.update(batch, untrusted=split == "untrusted")
    parts[0].merge(parts[1])
    parts[0].finalize()
    close(parts[0](rows(20, seed=2)), fitted(name)(rows(20, seed=2)))


@every
def test_one_row_at_a_time_is_the_same(name):
    score = MAKERS[name]()
    for row in rows():
        score.update(row[None])
    for row in rows(40, seed=1):
        score.update(row[None], untrusted=True)
    score.finalize()
    close(score(rows(20, seed=2)), fitted(name)(rows(20, seed=2)))


@every
def test_a_row_is_scored_by_itself(name):
    score, test = fitted(name), rows(20, seed=2)
    together = score(test)
    assert together.shape == (20,)
    assert together.dtype == torch.float64
    close(torch.cat([score(row[None]) for row in test]), together)
    close(score(test.flip(0)).flip(0), together)
    assert score(test[:0]).shape == (0,)
    # Among others than before.
    close(score(torch.cat([test[:10], test[10:] * 3 - 70]))[:10], together[:10])


@every
def test_small_chunks_give_the_same(name, monkeypatch):
    expected = fitted(name)(rows(20, seed=2))
    monkeypatch.setattr("madkit.streaming.validation.CHUNK", 20)
    close(fitted(name)(rows(20, seed=2)), expected)


def collect(names):
    return ScoreCollection({name: MAKERS[name]() for name in names})


@pytest.mark.parametrize("convert", [torch.Tensor.clone, torch.Tensor.to_sparse_coo])
def test_a_collection_gives_what_its_scores_give_alone(convert, monkeypatch):
    monkeypatch.setattr("madkit.streaming.validation.CHUNK", 50)
    trusted, untrusted, test = rows(), rows(40, seed=1), rows(20, seed=2)
    together = collect(MAKERS)
    for split, x in ((False, trusted), (True, untrusted)):
        for batch in x.split(7):
            together.update(convert(batch), untrusted=split)
    together.finalize()
    found = together(convert(test))
    assert list(found) == list(MAKERS)
    for name, values in found.items():
        close(values, fitted(name)(test))
    assert all(values.shape == (0,) for values in together(convert(test[:0])).values())


def test_a_collection_remembers_once_and_computes_once(monkeypatch):
    calls = []
    whole = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda x: calls.append(len(x)) or whole(x))
    search = NeighbourIndex.search
    monkeypatch.setattr(NeighbourIndex, "search", lambda *args: calls.append("search") or search(*args))
    updates = []
    for cls in (Moments, Pool):

        def update(self, x, update=cls.update):
            updates.append(type(self))
            update(self, x)

        monkeypatch.setattr(cls, "update", update)
    names = ["mahalanobis", "mahalanobis_relative", "mahalanobis_ledoit-wolf", "principal_residual"]
    names += ["lof_k5", "lof_k5_simplified", "knn_k5", "knn_k5_mean"]
    together = collect(names)
    together.update(rows())
    assert updates == [Moments, Pool]
    together.finalize()
    together(rows(20, seed=2))
    # One eigendecomposition; one search among the trusted rows and one for the test rows.
    assert sorted(map(str, calls)) == ["6", "search", "search"]


def test_a_collection_is_checked():
    with pytest.raises(ConfigError, match="each with another name"):
        ScoreCollection([scores.Mahalanobis(), scores.Mahalanobis()])
    with pytest.raises(ConfigError, match="at least one"):
        ScoreCollection([])
    with pytest.raises(ConfigError, match="fitted already"):
        ScoreCollection([fitted("mahalanobis")])
    together = collect(["mahalanobis", "lof_k5"])
    with pytest.raises(NotFittedError, match="not fitted"):
        together(rows())
    with pytest.raises(DataError, match="no trusted rows"):
        together.finalize()
    together.fit(rows())
    with pytest.raises(NotFittedError, match="frozen"):
        together.update(rows())
    with pytest.raises(DataError, match="d=7"):
        together(rows(d=7))
    with pytest.raises(DataError, match="no untrusted rows"):
        collect(["mahalanobis", "quantum_entropy"]).fit(rows())


def test_sparse_latents_stay_sparse(tmp_path):
    """131,072 latents of 4,000 prompts: 4 GB dense, and a tenth of that would be seen."""
    names = ["novel_latents", "diagonal_mahalanobis", "diagonal_mahalanobis_ridge0.1"]
    random = torch.Generator().manual_seed(0)

    def draw(n):
        indices = torch.randint(131072, (n, 64), generator=random).square() // 131072
        return sparse_rows(indices, torch.rand(n, 64, generator=random), 131072)

    def work():
        for name in names:
            MAKERS[name]().fit(draw(10))(draw(10))
        before = peak_memory()
        for name in names:
            score = MAKERS[name]()
            for _ in range(4):
                score.update(draw(1000))
            score.finalize()
            assert score(draw(4000)).isfinite().all()
            print(name, peak_memory() - before)

    said = in_copy(work, tmp_path)
    highest = {line.split()[0]: float(line.split()[1]) for line in said.splitlines()}  # of it and those before
    assert len(highest) == 3 and max(highest.values()) < 100, highest


def test_a_sparse_row_far_from_zero_loses_no_digits():
    """Features that nearly all rows use, with a mean a million times their spread."""
    x = rows(200, d=5)
    x[:, 2:4] = x[:, 2:4] * 1e-6 + 1000
    dense, sparse = (scores.DiagonalMahalanobis().fit(convert(x)) for convert in (torch.clone, torch.Tensor.to_sparse))
    close(sparse(x[:20].to_sparse()), dense(x[:20]), rtol=1e-6)
    close(dense(x[:20].to_sparse()), dense(x[:20]), rtol=1e-12)


@every
@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_is_dense(name, layout, monkeypatch):
    monkeypatch.setattr("madkit.streaming.validation.CHUNK", 50)
    convert = torch.Tensor.to_sparse_coo if layout == "coo" else torch.Tensor.to_sparse_csr
    test = rows(20, seed=2)
    if MAKERS[name]().prepare is None:
        test[3] = 0
    score = fitted(name, convert(rows()), convert(rows(40, seed=1)))
    close(score(convert(test)), fitted(name)(test))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_upcast_first(name, dtype):
    trusted, untrusted, test = rows().to(dtype), rows(40, seed=1).to(dtype), rows(20, seed=2).to(dtype)
    expected = fitted(name, trusted.double(), untrusted.double())(test.double())
    close(fitted(name, trusted, untrusted)(test), expected)


@every
def test_module_conversion_keeps_float64(name):
    score, expected = MAKERS[name]().to(torch.bfloat16), fitted(name)(rows(20, seed=2))
    score.update(rows()[:30])
    score.half().update(rows()[30:])
    score.to(torch.bfloat16).update(rows(40, seed=1), untrusted=True)
    score.finalize()
    holder = nn.ModuleList([score]).to(torch.bfloat16)
    close(holder[0](rows(20, seed=2)), expected)


@every
def test_inference_mode_and_later_changes_of_the_input_do_not_matter(name):
    score, batch = MAKERS[name](), rows()
    with torch.inference_mode():
        score.update(batch[:30])
        score.update(rows(40, seed=1), untrusted=True)
    score.update(batch[30:])
    batch.zero_()
    copied = copy.deepcopy(score)
    copied.finalize()
    score.finalize()
    close(score(rows(20, seed=2)), fitted(name)(rows(20, seed=2)))
    close(copied(rows(20, seed=2)), score(rows(20, seed=2)), rtol=0)


@every
def test_order_of_calls_is_enforced(name):
    score = MAKERS[name]()
    with pytest.raises(NotFittedError, match="call fit"):
        score(rows())
    with pytest.raises(NotFittedError, match="before save"):
        score.save("unused")
    with pytest.raises(DataError, match="no trusted rows"):
        score.finalize()
    score.update(rows())
    if score.offline:
        with pytest.raises(DataError, match="no untrusted rows"):
            score.finalize()
        score.update(rows(40, seed=1), untrusted=True)
    score.finalize()
    score.finalize()
    for late in (lambda: score.update(rows()), lambda: score.merge(MAKERS[name]())):
        with pytest.raises(NotFittedError, match="after finalize"):
            late()


@every
def test_an_online_score_ignores_untrusted_rows(name):
    score = MAKERS[name]()
    if score.offline:
        assert not torch.allclose(
            fitted(name)(rows(20, seed=2)), fitted(name, None, rows(40, seed=5))(rows(20, seed=2))
        )
    else:
        assert torch.equal(score.fit(rows())(rows(20, seed=2)), fitted(name)(rows(20, seed=2)))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_numbers_are_counted_and_located(bad, sparse):
    x = rows()
    x[[3, 3, 7], [2, 4, 2]] = bad
    x = x.to_sparse() if sparse else x
    with pytest.raises(DataError, match=r"in 2 of 60 rows, at 2 of 6 coordinates \(2, 4\)"):
        scores.Mahalanobis().update(x)
    with pytest.raises(DataError, match="in 2 of 60 rows"):
        fitted("lof_k5")(x)


def test_shapes_are_checked():
    score = scores.Mahalanobis()
    for x in (torch.zeros(3), torch.zeros(2, 0), torch.zeros(1, 2, 3)):
        with pytest.raises(DataError, match="give \\(n, d\\)"):
            score.update(x)
    score.update(rows())
    with pytest.raises(DataError, match="d=5 features, earlier rows had 6"):
        score.update(rows(d=5))
    other = scores.Mahalanobis()
    other.update(rows(d=5))
    with pytest.raises(DataError, match="d=5 features, this score 6"):
        score.merge(other)
    with pytest.raises(ConfigError, match="mahalanobis_relative"):
        score.merge(scores.Mahalanobis(relative=True))
    score.finalize()
    with pytest.raises(DataError, match="d=7"):
        score(rows(d=7))


def test_overflow_is_an_error():
    with pytest.raises(DataError, match="not finite"):
        scores.DiagonalMahalanobis().fit(rows() * 1e200)


@every
def test_saving_is_bit_identical(name, tmp_path):
    score, test = fitted(name), rows(20, seed=2)
    score.save(tmp_path / "score")
    assert sorted(path.name for path in (tmp_path / "score").iterdir()) == [
        "config.json",
        "state.safetensors",
    ]
    loaded = load_score(tmp_path / "score")
    assert type(loaded) is type(score)
    assert (loaded.name, loaded.config, loaded.d) == (score.name, score.config, score.d)
    for key, buffer in score.named_buffers():
        assert torch.equal(buffer, loaded.get_buffer(key))
    assert torch.equal(loaded(test), score(test))
    loaded.save(tmp_path / "again")
    for file in ("config.json", "state.safetensors"):
        assert (tmp_path / "score" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no complete saved score"):
        load_score(tmp_path / "absent")
    score = fitted("mahalanobis")
    score.save(tmp_path)
    assert isinstance(scores.Mahalanobis.load(tmp_path), scores.Mahalanobis)
    with pytest.raises(StoreError, match="holds a Mahalanobis, not a LaplaceNLL"):
        scores.LaplaceNLL.load(tmp_path)
    whole = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(whole[:-8])
    with pytest.raises(StoreError, match="does not match"):
        load_score(tmp_path)
    (tmp_path / "state.safetensors").write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "init": {"speed": 3}}))
    with pytest.raises(StoreError, match="speed"):
        load_score(tmp_path)
    for changes in ({"d": config["d"] + 1}, {"init": {**config["init"], "relative": True}}):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(StoreError, match="does not match its checksum"):
            load_score(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StoreError):
        load_score(tmp_path)


def test_a_class_named_by_a_file_is_never_imported(tmp_path):
    (tmp_path / "intruder.py").write_text("raise SystemExit('imported')")
    fitted("laplace_nll").save(tmp_path / "score")
    path = tmp_path / "score" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class": "intruder.Score"}))
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(StoreError, match=r"intruder\.Score"):
            load_score(tmp_path / "score")
    finally:
        sys.path.remove(str(tmp_path))


class NearestMean(Score):
    """A score somebody else wrote."""

    accumulator = Variances

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def estimate(self, trusted, untrusted):
        return {"mean": trusted.mean}

    def score(self, x):
        return (x - self.mean).norm(dim=1) ** self.power


class Largest(FixedScore):
    """A score without a fit."""

    def score(self, x):
        return x.amax(1)


def test_a_fixed_score_needs_its_formula_only(tmp_path):
    score = Largest().fit(torch.zeros(2, 3))
    assert score(torch.tensor([[1.0, 3.0, 2.0]])).tolist() == [3.0]
    score.save(tmp_path)
    assert load_score(tmp_path).d == 3
    with pytest.raises(DataError, match="d=2 features"):
        score(torch.zeros(1, 2))
    with pytest.raises(DataError, match="has seen no trusted rows"):
        Largest().finalize()


class Forgetful(NearestMean):
    """It does not keep its argument."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__()


def test_a_users_class_needs_nothing_else(tmp_path):
    score = NearestMean(power=2.0).fit(rows())
    assert score.name == "nearest_mean_power2.0"
    score.save(tmp_path)
    assert torch.equal(load_score(tmp_path)(rows(5, seed=2)), score(rows(5, seed=2)))
    with pytest.raises(ConfigError, match=r"set self\.speed"):
        Forgetful().fit(rows()).save(tmp_path)


@every
def test_recipes_can_name_it(name):
    made = MAKERS[name]()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--score", type=Score)
    config = parser.parse_object({"score": {"class_path": type(made).__name__, "init_args": made.config}})
    built = parser.instantiate_classes(config).score
    assert type(built) is type(made)
    assert built.name == name


def work(folder):
    """What each of two processes does in the test below."""
    import torch.distributed as dist

    from madkit.analysis.streaming_separation import StreamingSeparation

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    results = {}
    for cut in (0, 23):
        mine = slice(0, cut) if rank == 0 else slice(cut, None)
        for name, make in MAKERS.items():
            score = make()
            x, untrusted = rows()[mine], rows(40, seed=1)[mine]
            # Nothing at all, not even an empty batch, where a process has no rows.
            for split, part in ((False, x), (True, untrusted)):
                for batch in part.split(7) if len(part) else ():
                    score.update(batch, untrusted=split)
            score.finalize()
            results[f"{cut}/{name}"] = score(rows(20, seed=2))
        together = ScoreCollection({name: make() for name, make in MAKERS.items()})
        for split, part in ((False, rows()[mine]), (True, rows(40, seed=1)[mine])):
            for batch in part.split(7) if len(part) else ():
                together.update(batch, untrusted=split)
        together.finalize()
        assert all(score.d == 6 for score in together)
        for name, values in together(rows(20, seed=2)).items():
            results[f"{cut}/{name}/together"] = values
        apart = StreamingSeparation()
        if len(rows()[mine]):
            apart.update(rows()[mine], (torch.arange(60) % 3 == 0)[mine])
        results[f"{cut}/separation"] = torch.tensor(apart.compute(), dtype=torch.float64)
    torch.save(results, folder / f"{rank}.pt")
    wrong = scores.Mahalanobis()
    wrong.update(rows(d=6 + rank))
    try:
        wrong.finalize()
    except DataError as error:
        assert "[6, 7] features on different processes" in str(error)
    else:
        raise SystemExit("different widths were merged")
    dist.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path):
    in_two(partial(work, tmp_path), tmp_path)
    apart = torch.tensor(separation(rows().numpy(), np.arange(60) % 3 == 0), dtype=torch.float64)
    expected = {name: fitted(name)(rows(20, seed=2)) for name in MAKERS} | {"separation": apart}
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(results) == 2 * (len(expected) + len(MAKERS))
        for key, values in results.items():
            close(values, expected[key.split("/")[1]])
