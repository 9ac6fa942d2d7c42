"""Loaded version of a model, whose signatures are called with arrays."""

from __future__ import annotations

import gc
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfc_models.codec import register_ops
from tfc_models.serving.errors import from_tensorflow, invalid
from tfc_models.serving.memory import trim

DEFAULT_SIGNATURE = "serving_default"
WARMUP = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"
PREDICT = "tensorflow/serving/predict"
IMAGES, BITSTREAMS, PIXELS = "image_bytes", "bitstream_bytes", "image"
EFFORT = "effort"

Arrays = dict[str, np.ndarray]


class Servable:
    """SavedModel in a session. It counts running calls, so that it is closed after the last."""

    def __init__(self, name: str, version: int, path: pathlib.Path) -> None:
        register_ops()
        self.name, self.version, self.path = name, version, path
        self.signature_defs = _signature_defs(path)
        # Closing a session frees its memory; the functions that `tf.saved_model.load` creates stay
        # in the process.
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default():
                tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
            self._functions = {k: self._callable(v) for k, v in self.signature_defs.items()}
        except BaseException:
            self._session.close()
            raise
        self._calls = 0
        self._idle = threading.Condition()
        self._warm_up()

    def signature_def(self, name: str) -> meta_graph_pb2.SignatureDef | None:
        """Returns the definition of a signature; None if there is none of that name."""
        return self.signature_defs.get(name or DEFAULT_SIGNATURE)

    def _known_signature_def(self, name: str) -> meta_graph_pb2.SignatureDef:
        return self.signature_defs[name or DEFAULT_SIGNATURE]

    def call(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Calls a signature with inputs of its types and shapes."""
        name = signature or DEFAULT_SIGNATURE
        self.acquire()
        try:
            function, order = self._functions[name]
            outputs = function(*(inputs[k] for k in order))
            return dict(zip(self.signature_defs[name].outputs, map(_array, outputs)))
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise from_tensorflow(error) from None
        finally:
            self.release()

    def supports_batching(self, signature: str) -> bool:
        """Returns whether the inputs of several requests can be concatenated."""
        signature_def = self._known_signature_def(signature)
        inputs = [v for k, v in signature_def.inputs.items() if k not in signature_def.defaults]
        shapes = [t.tensor_shape for t in (*inputs, *signature_def.outputs.values())]
        return bool(inputs) and all(len(s.dim) == 1 and s.dim[0].size == -1 for s in shapes)

    def takes_images(self, signature: str) -> bool:
        """Returns whether a signature compresses image files."""
        signature_def = self._known_signature_def(signature)
        return IMAGES in signature_def.inputs and set(signature_def.outputs) == {BITSTREAMS}

    def checked_inputs(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Validates inputs and fills in defaults. Error messages are those of TF Serving.

        If requests can be batched, an input with a default has one value per example; a single
        value is repeated.
        """
        signature_def = self._known_signature_def(signature)
        wanted, defaults = signature_def.inputs, signature_def.defaults
        inputs = {**{k: tf.make_ndarray(v) for k, v in defaults.items()}, **inputs}
        if set(wanted) != set(inputs):
            sent, missing = sorted(set(inputs) - set(wanted)), sorted(set(wanted) - set(inputs))
            raise invalid(
                "input size does not match signature: "
                f"{len(inputs)}!={len(wanted)} len({{{','.join(sorted(inputs))}}}) != "
                f"len({{{','.join(sorted(wanted))}}}). Sent extra: {{{','.join(sent)}}}. "
                f"Missing but required: {{{','.join(missing)}}}."
            )
        for name, info in wanted.items():
            dtype = tf.as_dtype(info.dtype)
            actual = inputs[name].dtype
            if (actual.kind in "OSU") != (dtype == tf.string) or (
                dtype != tf.string and actual != dtype.as_numpy_dtype
            ):
                raise invalid(
                    f"input {name!r} is of type {tf.as_dtype(actual).name}; "
                    f"the signature takes {dtype.name}."
                )
            _check_shape(name, inputs[name].shape, info.tensor_shape)
        if not defaults or not self.supports_batching(signature):
            return inputs
        count = max(len(array) for name, array in inputs.items() if name not in defaults)
        for name in defaults:
            if inputs[name].ndim > 1 or inputs[name].size not in (1, count):
                raise invalid(f"input {name!r} needs one value per example, or one for all")
            inputs[name] = np.full(count, inputs[name].reshape(-1), inputs[name].dtype)
        return inputs

    def acquire(self) -> None:
        """Keeps the session open until `release`."""
        with self._idle:
            self._calls += 1

    def release(self) -> None:
        """Ends an `acquire`."""
        with self._idle:
            self._calls -= 1
            self._idle.notify_all()

    def close(self) -> None:
        """Waits for all calls, then frees the memory."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0)
        self._functions = {}
        self._session.close()
        self._session = None
        gc.collect()  # A graph contains reference cycles.
        trim()

    def _callable(self, signature: meta_graph_pb2.SignatureDef) -> tuple[Any, list[str]]:
        order = list(signature.inputs)
        function = self._session.make_callable(
            [info.name for info in signature.outputs.values()],
            [signature.inputs[name].name for name in order],
        )
        return function, order

    def _warm_up(self) -> None:
        """Replays the export's warm-up requests, so that the first real request is not slow."""
        path = self.path / WARMUP
        if not path.exists():
            return
        count = 0
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            arrays = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            self.call(request.model_spec.signature_name, arrays)
            count += 1
        logging.info("%s version %d: %d warm-up requests", self.name, self.version, count)


def _array(value: Any) -> np.ndarray:
    # A scalar string arrives as bytes, from which NumPy would strip trailing zeros.
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _check_shape(name: str, shape: tuple[int, ...], wanted: tf.TensorShape) -> None:
    expected = tf.TensorShape(wanted)
    if not expected.is_compatible_with(shape):
        raise invalid(f"input {name!r} is of shape {list(shape)}; the signature takes {expected}.")


def _signature_defs(path: pathlib.Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Reads signatures from the file, so that metadata is exactly as exported."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            signatures = graph.signature_def.items()
            return {k: v for k, v in signatures if v.method_name == PREDICT}
    raise invalid(f"{path} has no graph with the tag 'serve'.")
