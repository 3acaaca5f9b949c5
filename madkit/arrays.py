"""Numbers as users have them become plain NumPy arrays, or are refused in one line: the entrance of all statistics."""

from __future__ import annotations

import sys
from numbers import Number, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madkit.errors import DataError

# Integers up to here are float64 numbers, each of its own.
_EXACT = 2**53


def float_array(values: Any, name: str) -> NDArray[np.float64]:
    """What a user gives as numbers, in float64.

    Args:
        values: as for `plain_array`.
        name: what to call it in messages.

    Raises:
        DataError: as for `plain_array`; or integers are so large that float64 would round them.

    Example:
        >>> float_array(np.arange(3, dtype=">i2")[::-1], "scores").tolist()
        [2.0, 1.0, 0.0]
    """
    array = plain_array(values, name)
    if array.dtype.kind in "iu":
        check_exact(array, name)
    with np.errstate(over="ignore"):  # long double: infinite in float64, as callers will say
        return np.asarray(array, dtype=np.float64)


def plain_array(values: Any, name: str) -> NDArray[Any]:
    """What a user gives as numbers, as an array of booleans, integers or floats in the machine's byte order.

    Args:
        values: numbers in a sequence, an array of any layout, a tensor on any device and with or without gradients, a
            frame, a column of pandas or Arrow, a sparse matrix.
        name: what to call it in messages.

    Returns:
        The same shape; strides may be negative, and the memory may be the caller's.

    Raises:
        DataError: it holds something else than real numbers, misses values, or is no array at all.

    Example:
        >>> plain_array([np.float32(1), 2], "x").dtype
        dtype('float64')
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return _of_tensor(values, name)
    if np.ma.isMaskedArray(values):
        if hidden := int(np.ma.count_masked(values)):
            raise DataError(f"{name} has {hidden} masked values: drop their rows, or fill them")
        return plain_array(values.data, name)
    if isinstance(values, list | tuple) and any(
        hasattr(item, "__array__") and not isinstance(item, np.generic) for item in values
    ):
        return _stacked(values, name)
    if hasattr(values, "toarray") and hasattr(values, "nnz"):  # of scipy
        values = values.toarray()
    elif hasattr(values, "to_numpy") and hasattr(values, "dtypes"):  # of pandas: nullable columns, mixed frames
        values = values.to_numpy()
    try:
        array = np.asarray(values)
    except Exception as error:  # whatever a sequence or a foreign array raises
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name} is no array of numbers ({reason}): give one, all rows of one length") from None
    if array.dtype == object:
        array = _of_objects(array, name)
    if array.dtype.kind not in "biuf":
        what = {"c": "complex numbers", "U": "text", "S": "bytes", "M": "dates", "m": "times"}.get(
            array.dtype.kind, str(array.dtype)
        )
        way_out = "give real ones, such as real and imaginary parts" if array.dtype.kind == "c" else "give numbers"
        raise DataError(f"{name} holds {what}: {way_out}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def bool_array(values: Any, name: str) -> NDArray[np.bool_]:
    """Booleans, or numbers that are all 0 or 1, as booleans.

    Raises:
        DataError: as for `plain_array`; or another number.

    Example:
        >>> bool_array([1, 0.0, True], "labels").tolist()
        [True, False, True]
    """
    array = plain_array(values, name)
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"{name} holds {np.unique(array)[:5].tolist()}: give booleans, or 0 and 1")
    return array.astype(bool)


def check_exact(array: NDArray[Any], name: str) -> None:
    """Refuse integers that float64 would round, so that different ones would become equal.

    Raises:
        DataError: there is one.

    Example:
        >>> check_exact(np.array([2**60]), "x")
    """
    for value in array[(array > _EXACT) | (array < -_EXACT)].ravel().tolist():
        if int(float(value)) != value:
            raise DataError(f"{name} holds {value}, which float64 rounds: subtract a constant or give smaller numbers")


def _of_tensor(tensor: Any, name: str) -> NDArray[Any]:
    torch = sys.modules["torch"]
    if tensor.is_complex():
        raise DataError(f"{name} holds complex numbers: give real ones, such as real and imaginary parts")
    try:
        tensor = tensor.detach()
        tensor = tensor.dequantize() if tensor.is_quantized else tensor
        tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
        # NumPy has neither bfloat16 nor the eight-bit floats.
        tensor = tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
        return tensor.cpu().resolve_neg().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise DataError(f"{name} is a tensor that cannot be read ({reason}): give a dense one") from None


def _stacked(values: list[Any] | tuple[Any, ...], name: str) -> NDArray[Any]:
    """A list of arrays, tensors or columns, each of which is read as if it were given alone."""
    parts = [plain_array(part, name) for part in values]
    if len(shapes := {part.shape for part in parts}) > 1:
        raise DataError(f"{name} is a list of arrays of the shapes {sorted(shapes)[:3]}: give one shape")
    return np.stack(parts)


def _of_objects(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """An array of Python objects, if each of them is a number."""
    if array.ndim == 0:
        raise DataError(f"{name} is of type {type(array.item()).__name__}: give an array of numbers")
    for value in array.ravel().tolist():
        if isinstance(value, complex | np.complexfloating) and not isinstance(value, Real):
            raise DataError(f"{name} holds complex numbers, such as {value}: give real ones")
        if not isinstance(value, Number | np.bool_):
            kind = "misses values" if value is None or type(value).__name__ in ("NAType", "NaTType") else "holds"
            raise DataError(f"{name} {kind}, such as {str(value)[:40]!r}: give a number in each place")
        if isinstance(value, int) and abs(value) > _EXACT:
            check_exact(np.array([value], dtype=object), name)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} holds what is no number in float64 ({error}): give numbers") from None
