"""A version of a model, loaded: its signatures, called with tensors."""

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
    """Signatures of a SavedModel, and how many calls are inside of them."""

    def __init__(self, name: str, version: int, path: pathlib.Path) -> None:
        register_ops()
        self.name, self.version, self.path = name, version, path
        self.signature_defs = _signature_defs(path)
        # A session, because closing it gives the memory back: functions of a model that
        # `tf.saved_model.load` has loaded stay in the process for good.
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
        """Finds the inputs and outputs of a signature; None where there is none of that name."""
        return self.signature_defs.get(name or DEFAULT_SIGNATURE)

    def call(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Calls a signature with inputs that it takes."""
        name = signature or DEFAULT_SIGNATURE
        self.hold()
        try:
            function, order = self._functions[name]
            outputs = function(*(inputs[k] for k in order))
            return dict(zip(self.signature_defs[name].outputs, map(_array, outputs)))
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise from_tensorflow(error) from None
        finally:
            self.let_go()

    def batches(self, signature: str) -> bool:
        """Whether inputs of several requests may be laid one after the other."""
        signature_def = self.signature_def(signature)
        inputs = [v for k, v in signature_def.inputs.items() if k not in signature_def.defaults]
        shapes = [t.tensor_shape for t in (*inputs, *signature_def.outputs.values())]
        return bool(inputs) and all(len(s.dim) == 1 and s.dim[0].size == -1 for s in shapes)

    def takes_images(self, signature: str) -> bool:
        """Whether a signature compresses picture files."""
        signature_def = self.signature_def(signature)
        return IMAGES in signature_def.inputs and set(signature_def.outputs) == {BITSTREAMS}

    def checked(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The inputs as the signature's dtypes, or the line that TF Serving would say.

        What is missing and has a default is filled in. Where requests are laid together, such an
        input is one value for each example; a single one is repeated.
        """
        signature_def = self.signature_def(signature)
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
            found = inputs[name].dtype
            if (found.kind in "OSU") != (dtype == tf.string) or (
                dtype != tf.string and found != dtype.as_numpy_dtype
            ):
                raise invalid(
                    f"input {name!r} is of type {tf.as_dtype(found).name}; "
                    f"the signature takes {dtype.name}."
                )
            _check_shape(name, inputs[name].shape, info.tensor_shape)
        if not defaults or not self.batches(signature):
            return inputs
        count = max(len(array) for name, array in inputs.items() if name not in defaults)
        for name in defaults:
            if inputs[name].ndim > 1 or inputs[name].size not in (1, count):
                raise invalid(f"input {name!r} has one value for each example, or one for all")
            inputs[name] = np.full(count, inputs[name].reshape(-1), inputs[name].dtype)
        return inputs

    def hold(self) -> None:
        """Counts as a call that has begun, until `let_go`: what waits keeps the session open."""
        with self._idle:
            self._calls += 1

    def let_go(self) -> None:
        """The end of `hold`."""
        with self._idle:
            self._calls -= 1
            self._idle.notify_all()

    def close(self) -> None:
        """Frees the memory, when all calls are back."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0)
        self._functions = {}
        self._session.close()
        self._session = None
        gc.collect()  # A graph is full of circles.
        trim()

    def _callable(self, signature: meta_graph_pb2.SignatureDef) -> tuple[Any, list[str]]:
        order = list(signature.inputs)
        function = self._session.make_callable(
            [info.name for info in signature.outputs.values()],
            [signature.inputs[name].name for name in order],
        )
        return function, order

    def _warm_up(self) -> None:
        """Replays the requests that the export holds: the first real one is not the slow one."""
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
    # A scalar string comes as bytes, which NumPy would cut at trailing zeros.
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _check_shape(name: str, shape: tuple[int, ...], wanted: tf.TensorShape) -> None:
    expected = tf.TensorShape(wanted)
    if not expected.is_compatible_with(shape):
        raise invalid(f"input {name!r} is of shape {list(shape)}; the signature takes {expected}.")


def _signature_defs(path: pathlib.Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Reads signatures from the file itself: metadata is to be as it was exported."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            kept = {k: v for k, v in graph.signature_def.items() if v.method_name == PREDICT}
            return kept
    raise invalid(f"{path} has no graph that is tagged 'serve'.")
