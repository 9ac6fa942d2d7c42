"""Conversion between arrays and the JSON of TF Serving's REST interface."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.serving.errors import ServingError, internal, invalid
from tfc_models.serving.servable import DEFAULT_SIGNATURE, Arrays, Servable

MAX_DEPTH = 8  # Nesting depth of lists; no signature has so many dimensions.
ROW, COLUMNAR = "instances", "inputs"


def parse(body: bytes, servable: Servable) -> tuple[str, str, Arrays]:
    """Parses a predict request. Returns its signature, format (row or columnar) and inputs."""
    document = _document(body)
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid("'signature_name' key must be a string value.")
    signature_def = servable.signature_def(signature)
    if signature_def is None:
        raise invalid(
            f'Serving signature name: "{signature or DEFAULT_SIGNATURE}" not found in signature def'
        )
    dtypes = {k: tf.as_dtype(v.dtype) for k, v in signature_def.inputs.items()}
    if ROW in document and COLUMNAR in document:
        raise _format_error(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    required = set(dtypes) - set(signature_def.defaults)
    if ROW in document:
        return signature, ROW, _rows(document[ROW], dtypes, required)
    if COLUMNAR in document:
        return signature, COLUMNAR, _columns(document[COLUMNAR], dtypes, required)
    raise invalid("Missing 'inputs' or 'instances' key")


def answer(outputs: Arrays, kind: str) -> dict[str, Any]:
    """Returns the response body for the outputs of a signature."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    lists = {k: _listed(v, is_bytes=k.endswith("_bytes")) for k, v in outputs.items()}
    if kind == COLUMNAR:
        return {"outputs": lists if len(lists) > 1 else next(iter(lists.values()))}
    sizes = {v.shape[0] if v.ndim else None for v in outputs.values()}
    if None in sizes:
        name = next(k for k, v in outputs.items() if not v.ndim)
        raise invalid(f"Tensor name: {name} has no shape information: ask in columnar format")
    if len(sizes) > 1:
        raise invalid("Tensors have different batch sizes: ask in columnar format")
    if len(lists) == 1:
        return {"predictions": next(iter(lists.values()))}
    rows = zip(*lists.values())
    return {"predictions": [dict(zip(lists, row)) for row in rows]}


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        offset = getattr(error, "pos", 0)
        reason = getattr(error, "msg", str(error))
        raise invalid(f"JSON Parse error: {reason} at offset: {offset}") from None
    if not isinstance(document, dict):
        raise _format_error("Is not object")
    return document


def _format_error(message: str) -> ServingError:
    return invalid(f"JSON request: {message.strip()}")


def _rows(instances: Any, dtypes: dict[str, tf.DType], required: set[str]) -> Arrays:
    if not isinstance(instances, list):
        raise _format_error("Excepting 'instances' to be an list/array")
    if not instances:
        raise _format_error("No values in 'instances' array")
    named = _is_object(instances[0])
    if not named and len(required) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    # An input with a default is in all objects or in none.
    first = instances[0] if named else required or dtypes
    columns: dict[str, list[Any]] = {k: [] for k in dtypes if k in required or k in first}
    for i, item in enumerate(instances):
        if _is_object(item) != named:
            expected, actual = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {actual} at item {i} of input list")
        values = item if named else {next(iter(columns)): item}
        if set(values) != set(columns):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. "
                f"JSON object: must only have keys: {','.join(sorted(columns))}"
            )
        for name, value in values.items():
            columns[name].append(value)
    try:
        return {k: _array(v, dtypes[k], k) for k, v in columns.items()}
    except ServingError as error:
        raise invalid(f"Failed to process 'instances' list. Error: {error.message}") from None


def _columns(inputs: Any, dtypes: dict[str, tf.DType], required: set[str]) -> Arrays:
    if not _is_object(inputs):
        if len(required) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        inputs = {next(iter(required or dtypes)): inputs}
    for name in dtypes:
        if name not in inputs and name in required:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {k: _array(inputs[k], dtype, k) for k, dtype in dtypes.items() if k in inputs}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _array(value: Any, dtype: tf.DType, name: str) -> np.ndarray:
    """Converts nested lists to an array. Raises ServingError for ragged lists or wrong values."""
    shape = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        if not level:
            break
        if len(shape) > MAX_DEPTH:
            raise invalid(f"Encountered list at unexpected level: {len(shape)}")
        level = level[0]
    if shape and dtype != tf.string:
        array = _numbers(value, shape, dtype)
        if array is not None:
            return array
    flat: list[Any] = []
    _flatten(value, shape, 0, flat)
    kind = object if dtype == tf.string else dtype.as_numpy_dtype
    array = np.empty(len(flat), kind)
    for i, one in enumerate(flat):
        array[i] = _scalar(one, dtype, name)
    return array.reshape(shape)


def _numbers(value: list[Any], shape: list[int], dtype: tf.DType) -> np.ndarray | None:
    """Converts lists of valid numbers quickly. Returns None for others; `_array` reports why."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    wanted = "b" if dtype.is_bool else "iu" if dtype.is_integer else "iuf"
    if list(array.shape) != shape or not array.size or array.dtype.kind not in wanted:
        return None
    if dtype.is_integer and not dtype.min <= array.min() <= array.max() <= dtype.max:
        return None
    return array.astype(dtype.as_numpy_dtype)


def _flatten(value: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(value)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _flatten(item, shape, level + 1, flat)


def _scalar(value: Any, dtype: tf.DType, name: str) -> Any:
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if _is_base64(value):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, ValueError):
                raise invalid("Unable to base64 decode") from None
    elif dtype.is_bool:
        if isinstance(value, bool):
            return value
    elif dtype.is_integer:
        if isinstance(value, int) and not isinstance(value, bool):
            if dtype.min <= value <= dtype.max:
                return value
            raise invalid(f"Value {value} of {name!r} is out of the range of {dtype.name}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise invalid(f"A value of {name!r} is out of the range of {dtype.name}") from None
    kind = "object" if isinstance(value, dict) else type(value).__name__
    raise invalid(f"JSON Value of type {kind} of {name!r} is not of expected type: {dtype.name}")


def _listed(array: np.ndarray, is_bytes: bool) -> Any:
    """Converts an output to JSON values; binary strings become {"b64": …}."""
    if array.dtype.kind not in "OSU":
        return array.tolist()

    def one(value: bytes) -> Any:
        if is_bytes:
            return {"b64": base64.b64encode(value).decode("ascii")}
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise internal("an output is not text, and its name does not end in _bytes") from None

    if array.ndim == 0:
        return one(array.item())
    flat = [one(v) for v in array.ravel()]
    for size in array.shape[:0:-1]:
        flat = [flat[i : i + size] for i in range(0, len(flat), size)] if size else flat
    return flat


def dumps(value: Any) -> bytes:
    """Encodes JSON; numbers that are not finite become NaN and Infinity, as in TF Serving."""
    return json.dumps(value, allow_nan=True).encode("utf-8")
