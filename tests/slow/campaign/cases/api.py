"""Arrays, labels and numbers that Python users hand to scores and statistics."""

from campaign.steps import computed


def _x(n=60, d=5, seed=0):
    import numpy as np

    return np.random.default_rng(seed).normal(size=(n, d))


def _fits(make):
    """A score fitted on what `make` returns scores as one fitted on the plain array."""

    def call():
        import numpy as np

        from madkit.scores import Mahalanobis

        x = _x()
        given, plain = make(x)
        new = _x(7, x.shape[1], 1)[:, : plain.shape[1]]
        got, want = Mahalanobis().fit(given)(new), Mahalanobis().fit(plain)(new)
        if not np.allclose(np.asarray(got), np.asarray(want), rtol=1e-6):
            return f"scores {got.tolist()[:2]}, and of the plain array {want.tolist()[:2]}"
        return None

    return call


def _auroc(make):
    """The area of what `make` returns is scikit-learn's of the plain array."""

    def call():
        import numpy as np
        from sklearn.metrics import roc_auc_score

        from madkit.statistics import auroc

        s = np.round(np.random.default_rng(2).normal(size=80), 1)
        y = np.arange(80) % 4 == 0
        scores, labels = make(s, y)
        got = auroc(scores, labels).value
        return None if abs(got - roc_auc_score(y, s)) < 1e-6 else f"auroc {got}, scikit-learn's {roc_auc_score(y, s)}"

    return call


def _object(x):
    return x.astype(object), x


def _frame(x):
    import pandas as pd

    return pd.DataFrame(x, index=range(5, 5 + len(x))), x


def _torch(change):
    def make(x):
        import torch

        return change(torch.tensor(x)), x

    return make


def _sparse(x):
    import scipy.sparse

    return scipy.sparse.csr_matrix(x), x


def _masked(some):
    def make(x):
        import numpy as np

        mask = np.zeros_like(x, dtype=bool)
        mask[3, 2] = some
        return np.ma.masked_array(x, mask), x

    return make


def _structured(x):
    import numpy as np

    return np.array([tuple(r) for r in x], dtype=[(f"c{i}", float) for i in range(x.shape[1])]), x


def _nullable(some):
    def make(x):
        import pandas as pd

        frame = pd.DataFrame(x).astype("Float64")
        if some:
            frame.iloc[3, 2] = pd.NA
        return frame, x

    return make


def _arrow(x):
    import pyarrow as pa

    return pa.table({str(i): x[:, i] for i in range(x.shape[1])}).to_pandas(), x


def _hole(value):
    def make(x):
        x = x.copy()
        x[3, 2] = value
        return x, x

    return make


def _score(name, rows, new=None, **options):
    """Fit a score and score rows with it."""

    def call():
        from madkit import scores

        fitted = getattr(scores, name)(**options).fit(rows())
        fitted(new() if new is not None else rows())

    return call


def _lof_of_duplicates(name, **options):
    """A score whose densities are infinite says so."""

    def call():
        import warnings

        import torch

        from madkit import scores

        rows = torch.cat([torch.full((30, 1), 0.1), torch.linspace(0.1, 0.2, 30)[:, None]]).double()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fitted = getattr(scores, name)(**options).fit(rows)
            fitted(torch.tensor([[0.1001], [50.0]]).double())
        return (
            None if any("duplicate" in str(w.message) or "equal" in str(w.message) for w in said) else "nothing is said"
        )

    return call


def _statistic(name, *arguments, module="madkit.statistics", **options):
    def call():
        import importlib

        getattr(importlib.import_module(module), name)(*[a() if callable(a) else a for a in arguments], **options)

    return call


def _shrinkage():
    """The likelihood ratio of isotropic samples has finite scores for every seed."""
    import numpy as np
    import torch

    from madkit.scores import LikelihoodRatio

    for seed in range(40):
        x = torch.tensor(np.random.default_rng(seed).normal(size=(200, 2)))
        try:
            values = LikelihoodRatio().fit(x, x + 1)(x)
        except Exception as error:
            return f"seed {seed}: {error}"
        if not bool(torch.isfinite(values).all()):
            return f"seed {seed}: scores that are not finite"
    return None


def _one_dimension():
    import numpy as np
    import torch

    from madkit.scores import LikelihoodRatio

    x = torch.tensor(np.random.default_rng(0).normal(size=(300, 1)))
    values = LikelihoodRatio().fit(x, x + 1)(x)
    return None if bool(torch.isfinite(values).all()) else "scores that are not finite"


def _clustered():
    """A clustered interval is wider than a plain one where whole statements repeat."""
    import numpy as np

    from madkit.statistics import auroc

    rng = np.random.default_rng(0)
    s = np.repeat(rng.normal(size=(40, 2)), 10, axis=0)
    scores, labels = np.r_[s[:, 0], s[:, 1] + 1], np.r_[np.zeros(400), np.ones(400)]
    groups = np.tile(np.repeat(np.arange(40), 10), 2)
    plain, wide = auroc(scores, labels), auroc(scores, labels, clusters=groups)
    if abs(plain.value - wide.value) > 1e-12:
        return "clusters change the value"
    return None if wide.high - wide.low > 1.5 * (plain.high - plain.low) else "a clustered interval is as narrow"


def _coverage():
    """Intervals of correlated prompts hold the truth in 90 to 99 of 100 repetitions."""
    import numpy as np
    from scipy.stats import norm

    from madkit.statistics import auroc

    rng, d, hits = np.random.default_rng(0), 1.2, 0
    groups = np.tile(np.repeat(np.arange(70), 8), 2)
    for _ in range(200):
        s = np.repeat(rng.normal(size=(70, 2)), 8, axis=0) * 0.6**0.5 + rng.normal(size=(560, 2)) * 0.4**0.5
        found = auroc(np.r_[s[:, 0], s[:, 1] + d], np.r_[np.zeros(560), np.ones(560)], clusters=groups)
        hits += found.low <= norm.cdf(d / 2**0.5) <= found.high
    return None if 0.9 <= hits / 200 <= 0.99 else f"coverage {hits / 200}"


def _r_squared():
    """The interval of R^2 can hold 0."""
    import numpy as np

    from madkit.statistics import r_squared

    rng = np.random.default_rng(0)
    holds = sum(r_squared(rng.normal(size=18), rng.normal(size=18)).low <= 0 for _ in range(40))
    return None if holds >= 34 else f"0 is in {holds} of 40 intervals of independent columns"


def _save_and(change):
    """A saved score that was changed on disk is refused when it is loaded."""

    def call():
        import tempfile
        from pathlib import Path

        from madkit.scores import Mahalanobis, load_score

        folder = Path(tempfile.mkdtemp()) / "detector"
        Mahalanobis().fit(_x()).save(folder)
        change(folder)
        load_score(folder)

    return call


def _edit(name, old, new):
    def do(folder):
        path = folder / name
        text = path.read_text()
        assert old in text, text
        path.write_text(text.replace(old, new))

    return do


def _bytes(name, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def _config(**values):
    def do(folder):
        import json

        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return do


def _hole_object(x, value):
    x = x.astype(object)
    x[3, 2] = value
    return x


def _bfloat(x):
    import torch

    return torch.tensor(x).bfloat16()


CASES = [
    computed("a reversed view", _fits(lambda x: (x[::-1], x))),
    computed("a view with steps", _fits(lambda x: (x[:, ::-2], x[:, ::-2].copy()))),
    computed("Fortran order", _fits(lambda x: (x.T.copy().T, x))),
    computed("big endian", _fits(lambda x: (x.astype(">f8"), x))),
    computed("big endian of 32 bits", _fits(lambda x: (x.astype(">f4"), x.astype("f4")))),
    computed("long double", _fits(lambda x: (x.astype("longdouble"), x))),
    computed("half precision", _fits(lambda x: (x.astype("f2"), x.astype("f2").astype("f8")))),
    computed("integers", _fits(lambda x: ((x * 100).astype("i8"), (x * 100).astype("i8").astype("f8")))),
    computed("unsigned integers of 16 bits", _fits(lambda x: ((x * 100 + 900).astype("u2"), (x * 100 + 900).astype("u2").astype("f8")))),
    computed("booleans", _fits(lambda x: (x > 0, (x > 0).astype("f8")))),
    computed("lists", _fits(lambda x: (x.tolist(), x))),
    computed("a read-only array", _fits(lambda x: (x[:].view() if x.setflags(write=False) is None else x, x))),
    computed("a data frame", _fits(_frame)),
    computed("a frame from Arrow", _fits(_arrow)),
    computed("a nullable frame without holes", _fits(_nullable(False))),
    computed("a nullable frame with a hole", _fits(_nullable(True)), "NaN|missing|null|NA"),
    computed("an object array of numbers", _fits(_object)),
    computed("an object array with a word", _fits(lambda x: (_hole_object(x, "word"), x)), "word|object|number|str"),
    computed("an object array with None", _fits(lambda x: (_hole_object(x, None), x)), "None|NaN|object|number"),
    computed("strings", _fits(lambda x: (x.astype(str), x)), "string|str|number|<U"),
    computed("complex numbers", _fits(lambda x: (x + 1j, x)), "complex"),
    computed("times", _fits(lambda x: ((x * 1e6).astype("i8").astype("M8[s]"), x)), "datetime|number|type"),
    computed("a structured array", _fits(_structured), "field|structured|dtype|number"),
    computed("a masked array without masks", _fits(_masked(False))),
    computed("a masked array", _fits(_masked(True)), "mask"),
    computed("a sparse matrix of scipy", _fits(_sparse), "sparse|dense", or_right=True),
    computed("bfloat16", _fits(lambda x: (_bfloat(x), _bfloat(x).double()))),
    computed("a tensor that requires a gradient", _fits(_torch(lambda x: x.requires_grad_()))),
    computed("a tensor that is a view", _fits(_torch(lambda x: x.T.contiguous().T))),
    computed("a conjugated view", _fits(_torch(lambda x: x.to(dtype=__import__("torch").complex128).conj())), "complex"),
    computed("NaN", _fits(_hole(float("nan"))), "NaN"),
    computed("infinity", _fits(_hole(float("inf"))), "inf"),
    computed("beyond single precision", _fits(lambda x: (x * 1e200, x * 1e200)), "large|overflow|finite|inf", or_right=True),
    computed("one dimension", _score("Mahalanobis", lambda: _x()[:, 0]), r"\(60,\)|shape|two|dimension"),
    computed("three dimensions", _score("Mahalanobis", lambda: _x(60, 6).reshape(60, 2, 3)), "shape|dimension"),
    computed("no rows", _score("Mahalanobis", lambda: _x(0, 5)), "0|empty|rows"),
    computed("no columns", _score("Mahalanobis", lambda: _x(60, 5)[:, :0]), "0|empty|column|shape"),
    computed("one row", _score("Mahalanobis", lambda: _x(1, 5)), "1|rows"),
    computed("a row of another width", _score("Mahalanobis", _x, lambda: _x(3, 4)), "4", "5"),
    computed("ragged rows", _score("Mahalanobis", lambda: [[1.0, 2.0], [1.0], [2.0, 3.0]]), "length|shape|ragged|same"),
    computed("a path in place of rows", _score("Mahalanobis", lambda: "rows.npy"), "rows.npy|str|text"),
    computed("nothing in place of rows", _score("Mahalanobis", lambda: None), "None"),
    computed("a dictionary in place of rows", _score("Mahalanobis", lambda: {"a": [1, 2]}), "dict"),
    computed("k larger than the rows", _score("KNearestNeighbours", _x, k=100), "k=100", "60"),
    computed("k of 0", _score("KNearestNeighbours", _x, k=0), "k=0"),
    computed("k of a half", _score("LocalOutlierFactor", _x, k=1.5), r"1\.5"),
    computed("more components than rows", _score("GaussianMixture", lambda: _x(4), components=9), "components|9"),
    computed("LOF of duplicates", _lof_of_duplicates("LocalOutlierFactor", k=20)),
    computed("kNN of duplicates", _lof_of_duplicates("KNearestNeighbours", k=20)),
    computed("a likelihood ratio in two dimensions", _shrinkage),
    computed("a likelihood ratio in one dimension", _one_dimension),
    computed("auroc of lists", _auroc(lambda s, y: (s.tolist(), y.tolist()))),
    computed("auroc of a reversed view", _auroc(lambda s, y: (s[::-1], y[::-1]))),
    computed("auroc of big endian", _auroc(lambda s, y: (s.astype(">f8"), y.astype(">i4")))),
    computed("auroc of a tensor with a gradient", _auroc(lambda s, y: (__import__("torch").tensor(s, requires_grad=True), y))),
    computed("auroc of a series with another index", _auroc(lambda s, y: (__import__("pandas").Series(s, index=range(80, 0, -1)), __import__("pandas").Series(y)))),
    computed("auroc of objects", _auroc(lambda s, y: (s.astype(object), y.astype(object)))),
    computed("auroc of nullable columns", _auroc(lambda s, y: (__import__("pandas").array(s, dtype="Float64"), __import__("pandas").array(y, dtype="boolean")))),
    computed("auroc of complex scores", _auroc(lambda s, y: (s + 1j, y)), "complex"),
    computed("auroc of labels of words", _auroc(lambda s, y: (s, __import__("numpy").where(y, "bob", "alice"))), "alice|bob|labels"),
    computed("auroc of labels -1 and 1", _auroc(lambda s, y: (s, y * 2 - 1)), "labels", "-1|0"),
    computed("auroc of labels 1 and 2", _auroc(lambda s, y: (s, y + 1)), "labels", "2|0"),
    computed("auroc of probabilities as labels", _auroc(lambda s, y: (s, y * 0.9)), "labels", r"0\.9|0 "),
    computed("auroc of labels with NaN", _auroc(lambda s, y: (s, __import__("numpy").where(y, 1.0, float("nan")))), "labels", "nan"),
    computed("auroc of one class", _statistic("auroc", [1.0, 2.0], [1, 1]), "label|class|normal"),
    computed("auroc of nothing", _statistic("auroc", [], []), "label|class|empty|normal|0"),
    computed("auroc of other lengths", _statistic("auroc", [1.0, 2.0, 3.0], [0, 1]), "3", "2"),
    computed("auroc of two columns", _statistic("auroc", [[1.0, 2.0], [3.0, 4.0]], [0, 1]), "shape|2"),
    computed("auroc of NaN", _statistic("auroc", [1.0, float("nan")], [0, 1]), "NaN"),
    computed("auroc with clusters of another length", _statistic("auroc", [1.0, 2.0, 3.0], [0, 1, 0], clusters=[1, 2]), "clusters", "2|3"),
    computed("auroc with a cluster that is missing", _statistic("auroc", [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], clusters=["a", None, "b", "c"]), "clusters", "None|missing|null|NaN|lacks"),
    computed("intervals of repeated statements", _clustered),
    computed("coverage of repeated statements", _coverage),
    computed("R^2 of independent columns", _r_squared),
    computed("low FPR of 2", _statistic("tpr_at_fpr", [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], fpr=2), "fpr", "2"),
    computed("low FPR of 0", _statistic("partial_auroc", [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], max_fpr=0), "fpr", "0"),
    computed("low FPR of NaN", _statistic("partial_auroc", [1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], max_fpr=float("nan")), "fpr", "nan"),
    computed("a comparison of other lengths", _statistic("compare", [1.0, 2.0, 3.0], [1.0, 2.0], [0, 1, 0]), "3", "2"),
    computed("Holm of a p above 1", _statistic("holm", [0.1, 1.5]), r"1\.5"),
    computed("Holm of NaN", _statistic("holm", [0.1, float("nan")]), "nan"),
    computed("an aggregation that does not exist", _statistic("aggregate", "median", [[1.0, 2.0]]), "median", "mean"),
    computed("a correlation of two points", _statistic("pearson", [1.0, 2.0], [1.0, 2.0]), "2|points|pairs"),
    computed("a correlation of a constant", _statistic("pearson", [1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]), "constant|same|vary|equal|variance"),
    computed("a saved score with an option changed", _save_and(_edit("config.json", '"normalize": false', '"normalize": true')), "config.json|checksum|changed|damaged"),
    computed("a saved score of another width", _save_and(_edit("config.json", '"d": 5', '"d": 6')), "config.json|checksum|changed|damaged"),
    computed("a saved score with bits flipped", _save_and(_bytes("state.safetensors", lambda b: b[:-5] + bytes([b[-5] ^ 1]) + b[-4:])), "state.safetensors|checksum|damaged"),
    computed("half a saved score", _save_and(_bytes("state.safetensors", lambda b: b[: len(b) // 2])), "state.safetensors|damaged"),
    computed("a saved score without its config", _save_and(lambda f: (f / "config.json").unlink()), "config.json|no saved|score"),
    computed("a saved score with half a config", _save_and(_bytes("config.json", lambda b: b[:20])), "config.json|damaged|folder"),
    computed("a saved score with a list as config", _save_and(_bytes("config.json", lambda b: b"[]")), "config.json|damaged|folder"),
    computed("a saved score that claims to be os.system", _save_and(_config(**{"class": "os.system"})), "os.system|config.json"),
    computed("a saved score that claims to be a process", _save_and(_config(**{"class": "subprocess.Popen"})), "Popen|config.json"),
    computed("a saved score of a class that madkit lacks", _save_and(_config(**{"class": "Mahalonobis"})), "Mahalonobis|config.json"),
]  # fmt: skip
