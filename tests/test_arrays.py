"""Whatever holds numbers is read as what it holds, by scores and statistics alike, or refused in one line."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch

from madkit.analysis.quirkiness import accuracy
from madkit.analysis.state_separation import separation
from madkit.arrays import bool_array, float_array
from madkit.errors import DataError
from madkit.scores import KNearestNeighbours, Mahalanobis
from madkit.statistics import aggregate, auroc, compare, low_fpr, pearson

VALUES = np.array([[0.5, 2.0], [-1.0, 3.0], [4.0, 0.0], [0.0, 0.25]])
X = np.repeat(VALUES, 3, axis=0) + np.arange(12)[:, None] % 5 / 8

READ = {
    "reversed": lambda x: x[::-1].copy()[::-1],
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "read-only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    "big endian": lambda x: x.astype(">f8"),
    "big endian, half": lambda x: x.astype(">f2"),
    "long double": lambda x: x.astype(np.longdouble),
    "objects": lambda x: x.astype(object),
    "list": lambda x: x.tolist(),
    "list of rows": list,
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "list of tensors that require gradients": lambda x: list(torch.from_numpy(x).requires_grad_()),
    "frame": lambda x: pd.DataFrame(x, index=range(100, 100 + len(x))),
    "frame, nullable": lambda x: pd.DataFrame(x).convert_dtypes(dtype_backend="numpy_nullable"),
    "frame of Arrow": lambda x: pd.DataFrame(x).astype("float64[pyarrow]"),
    "table of Arrow": lambda x: pa.Table.from_pandas(pd.DataFrame(x), preserve_index=False),
    "requires gradients": lambda x: torch.from_numpy(x.copy()).requires_grad_(),
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "half": lambda x: torch.from_numpy(x).half(),
    "expanded": lambda x: torch.from_numpy(x)[None].expand(2, -1, -1)[1],
    "sparse COO": lambda x: torch.from_numpy(x).to_sparse(),
    "sparse CSR": lambda x: torch.from_numpy(x).to_sparse_csr(),
    "scipy CSR": scipy.sparse.csr_matrix,
    "scipy COO array": scipy.sparse.coo_array,
    "scipy DOK": scipy.sparse.dok_array,
    "masked, nothing hidden": lambda x: np.ma.masked_greater(x, 1e9),
    "matrix": np.asmatrix,
    "imaginary part": lambda x: torch.from_numpy(x * -1j).conj().imag,
}
REFUSED = {
    "complex": (lambda x: x + 0j, "complex"),
    "complex tensor": (lambda x: torch.from_numpy(x) + 0j, "complex"),
    "complex objects": (lambda x: (x + 0j).astype(object), "complex"),
    "text": (lambda x: x.astype(str), "text"),
    "objects of text": (lambda x: x.astype(str).astype(object), "number in each place"),
    "dates": (lambda x: x.astype("datetime64[s]"), "dates"),
    "masked": (lambda x: np.ma.masked_greater(x, 3), "masked"),
    "nullable with NA": (lambda x: pd.DataFrame(x).astype("Float64").mask(pd.DataFrame(x) > 3), "misses|NaN|finite"),
    "Arrow with nulls": (lambda x: pa.table({"a": [1.0, None] * 6, "b": [1.0, 2.0] * 6}), "misses|NaN|finite"),
    "frame with a name": (lambda x: pd.DataFrame(x).assign(name="a"), "holds, such as 'a'"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "one length"),
    "ragged tensors": (lambda x: [torch.ones(1), torch.ones(2)], "one shape"),
    "nested": (lambda x: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested|cannot be read"),
    "a dictionary": (lambda x: {"a": 1}, "dict"),
    "nothing": (lambda x: None, "NoneType"),
    "beyond float64": (lambda x: (x * 8).astype(np.int64) + 2**60 + 1, "float64 rounds"),
    "uint64 beyond float64": (lambda x: (abs(x) * 8).astype(np.uint64) + 2**63 + 1, "float64 rounds"),
    "tensor beyond float64": (lambda x: torch.from_numpy((x * 8).astype(np.int64)) + 2**60 + 1, "float64 rounds"),
}


@pytest.mark.parametrize("form", READ)
def test_rows_are_read_in_every_form(form):
    rows = READ[form](X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = Mahalanobis().fit(rows)
        torch.testing.assert_close(fitted(rows), Mahalanobis().fit(X)(X), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(fitted(rows), fitted(torch.from_numpy(X)), rtol=0, atol=0)
        np.testing.assert_array_equal(float_array(rows, "x"), X)


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(form):
    make, message = REFUSED[form]
    fitted = KNearestNeighbours(k=1).fit(X)
    for call in (lambda x: Mahalanobis().fit(x), fitted, lambda x: aggregate("mean", x)):
        with pytest.raises(DataError, match=message) as error:
            call(make(X))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">i4", "uint16", "uint32", "uint64", "int64"])
def test_rows_of_whole_numbers(dtype):
    rows = (np.arange(24).reshape(12, 2) ** 2 % 7).astype(dtype)
    expected = KNearestNeighbours(k=2).fit(rows.astype(float))(rows.astype(float))
    native = rows.astype(rows.dtype.newbyteorder("="))
    for given in (rows, torch.from_numpy(native), scipy.sparse.csr_matrix(native)):
        assert torch.equal(KNearestNeighbours(k=2).fit(given)(given), expected)
        np.testing.assert_array_equal(float_array(given, "x"), rows)


COLUMNS = {
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "requires gradients": lambda x: torch.from_numpy(x).requires_grad_(),
    "list of tensors": lambda x: [torch.tensor(value, requires_grad=True) for value in x],
    "list of NumPy numbers": lambda x: list(np.float32(x)),
    "Series, out of order": lambda x: pd.Series(x, index=range(len(x))[::-1]),
    "Arrow": pa.array,
    "chunked Arrow": lambda x: pa.chunked_array([x[:3], x[3:]]),
    "category": lambda x: pd.Series(x).astype("category"),
    "index": pd.Index,
    "objects": lambda x: np.array([*map(float, x)], dtype=object),
    "big endian": lambda x: x.astype(">f4"),
}
SCORES, LABELS = np.array([0.25, 2.0, 1.0, -3.0, 2.0, 0.5]), np.array([0, 1, 1, 0, 0, 1])


@pytest.mark.parametrize("form", COLUMNS)
def test_statistics_read_columns_in_every_form(form):
    give = COLUMNS[form]
    scores, labels = give(SCORES), give(LABELS.astype(float))
    assert auroc(scores, labels) == auroc(SCORES, LABELS)
    assert compare(scores, give(SCORES[::-1].copy()), labels) == compare(SCORES, SCORES[::-1], LABELS)
    assert low_fpr(scores, labels) == low_fpr(SCORES, LABELS)
    assert pearson(scores, labels) == pearson(SCORES, LABELS)
    bobs = np.where(LABELS, "Bob", "Alice")
    assert accuracy(scores, bobs, labels, labels) == accuracy(SCORES, bobs, LABELS, LABELS)
    assert separation(scores, labels) == separation(SCORES, LABELS)


@pytest.mark.parametrize("labels", [pd.array([0, 1, None, 0, 0, 1], dtype="boolean"), ["no", "yes"] * 3, LABELS * 1j])
def test_labels_that_are_none(labels):
    with pytest.raises(DataError, match="labels (misses|holds)"):
        auroc(SCORES, labels)
    with pytest.raises(DataError, match="is_bob (misses|holds)"):
        separation(SCORES, labels)
    with pytest.raises(DataError):
        bool_array(labels, "labels")
