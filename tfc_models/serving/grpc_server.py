"""TF Serving's gRPC interface: PredictionService, ModelService, and health."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfc_models.serving.errors import ServingError, exhausted, failed, invalid
from tfc_models.serving.memory import Share
from tfc_models.serving.servable import DEFAULT_SIGNATURE, Servable
from tfc_models.serving.service import Service, result_of

THREADS = 64  # at most. They only wait: what runs at a time is the batcher's affair.
OTHERS = 8  # of them, which answer health checks, status and metadata
MESSAGES = 2  # budgets that messages which are received at a time, one a thread, may come to
METADATA = "signature_def"
LONGEST_SECONDS = 3600.0  # that a request waits, whatever its deadline


def metadata_of(servable: Servable) -> get_model_metadata_pb2.SignatureDefMap:
    """The signatures of a servable as its metadata."""
    return get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)


def _wanted(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Name, and the version or the label if one is asked for."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return spec.name, version, label


def _find(service: Service, spec: model_pb2.ModelSpec, share: Share | None = None) -> Servable:
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return service.manager.find(*_wanted(spec), share=share)


def threads_for(budget: int, max_message_bytes: int) -> int:
    """How many requests are received and answered at a time.

    A message is counted when it is there: so many of the largest may not exceed the budget far.
    """
    return min(max(MESSAGES * budget // max_message_bytes, 2 * OTHERS), THREADS)


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service, at_a_time: int) -> None:
        self._service = service
        self._free = threading.Semaphore(at_a_time)

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec, size = request.model_spec, request.ByteSize()
        return _answered(self._service, context, spec.name, size, self._predict, request)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec, size = request.model_spec, request.ByteSize()
        return _answered(self._service, context, spec.name, size, self._metadata, request)

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not self._free.acquire(blocking=False):
            raise exhausted("the server has as many requests under way as it can")
        try:
            with self._service.budget.share() as share:
                _keep_until_sent(share, context)
                share.take(request.ByteSize())
                answer = self._predicted(request, context, share)
                share.keep_answer(answer.ByteSize())
                return answer
        finally:
            self._free.release()

    def _predicted(self, request: Any, context: grpc.ServicerContext, share: Share) -> Any:
        servable = _find(self._service, request.model_spec, share)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature_def = servable.signature_def(signature)
        if signature_def is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature}" not found.',
            )
        wanted = list(request.output_filter) or list(signature_def.outputs)
        for name in wanted:
            if name not in signature_def.outputs:
                raise invalid(f"output tensor alias not found in signature: {name}")
        inputs = {k: _array(k, v) for k, v in request.inputs.items()}
        # Without a deadline gRPC says some centuries, which no clock can wait for.
        left = context.time_remaining()
        timeout = LONGEST_SECONDS if left is None else min(left, LONGEST_SECONDS)
        until = time.monotonic() + timeout
        prepared = self._service.prepare(servable, signature, inputs, share)
        inputs = _waited_for(prepared, context, timeout)
        left = max(until - time.monotonic(), 0.0)
        future = self._service.batcher.submit(servable, signature, inputs, left)
        outputs = _waited_for(share.until(future), context, left)
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name = servable.name
        answer.model_spec.version.value = servable.version
        answer.model_spec.signature_name = signature
        for name in wanted:
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return answer

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != METADATA:
                raise invalid(f"Metadata field {field} is not supported")
        servable = _find(self._service, request.model_spec)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = servable.name
        answer.model_spec.version.value = servable.version
        answer.metadata[METADATA].Pack(metadata_of(servable))
        return answer


def _keep_until_sent(share: Share, context: grpc.ServicerContext) -> None:
    """Keeps a share until the client has its answer, or is gone."""
    ended: concurrent.futures.Future = concurrent.futures.Future()
    share.until(ended)
    if not context.add_callback(lambda: ended.set_result(None)):
        ended.set_result(None)


def _waited_for(
    future: concurrent.futures.Future, context: grpc.ServicerContext, timeout: float
) -> dict[str, np.ndarray]:
    """Waits for a future, and cancels it when the client is gone."""
    if not context.add_callback(future.cancel):
        future.cancel()
    return result_of(future, timeout)


def _array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """A tensor that holds all the values that it says it has.

    TensorFlow lets the last value stand for the rest: a message of a few bytes could ask for
    all the memory there is.
    """
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise invalid(f"tensor parsing error: {name} has no shape")
    try:
        dtype = tf.as_dtype(proto.dtype)
        if proto.tensor_content:
            count = len(proto.tensor_content) // max(dtype.size, 1)
        else:
            count = sum(len(v) for f, v in proto.ListFields() if f.name.endswith("_val"))
        if count != math.prod(sizes):
            raise invalid(f"tensor parsing error: {name} has {count} values for the shape {sizes}")
        return tf.make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise invalid(f"tensor parsing error: {name}: {error}") from None


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec, size = request.model_spec, request.ByteSize()
        return _answered(self._service, context, spec.name, size, self._status, request)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _answered(self._service, context, "", request.ByteSize(), self._reload, request)

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._service.manager.status(*_wanted(request.model_spec))

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid("the configuration has no model_config_list.")
        self._service.manager.reload(request.config)
        answer = model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 0
        return answer


def _answered(
    service: Service,
    context: grpc.ServicerContext,
    model: str,
    size: int,
    handler: Any,
    request: Any,
) -> Any:
    started, error, answer = time.monotonic(), None, None
    try:
        answer = handler(request, context)
    except ServingError as caught:
        error = caught
    except concurrent.futures.CancelledError:
        error = ServingError(grpc.StatusCode.CANCELLED, "the client is gone")
    except Exception as caught:  # A defect of ours is an answer too.
        error = failed(f"{type(caught).__name__}: {caught}")
    out = answer.ByteSize() if answer is not None else 0
    method = handler.__name__.strip("_")
    details = {"method": method, "bytes_in": size, "bytes_out": out}
    service.answered("GRPC", model, started, error, method == "predict", **details)
    if error is not None:
        context.abort(error.code, error.message)
    return answer


class GrpcServer:
    """The gRPC side of a server."""

    def __init__(self, service: Service, address: str, max_message_bytes: int) -> None:
        self._service = service
        threads = threads_for(service.budget.total, max_message_bytes)
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            # As many again may wait for a thread; more are refused at once. A message is received
            # by its thread: until then it is no more than gRPC's window.
            maximum_concurrent_rpcs=2 * threads,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        add = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
        add(_Prediction(service, threads - OTHERS), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(service), self._server)
        self._health = health.HealthServicer()
        self._told: set[str] = set()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(address)

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def update_health(self) -> None:
        """Says of each model, and under "" of all, whether it can be called."""
        ready, names = [], self._service.manager.models()
        for name in self._told - set(names):
            self._set_health(name, False)
        self._told |= set(names)
        for name in names:
            try:
                self._service.manager.find(name)
                ready.append(True)
            except ServingError:
                ready.append(False)
            self._set_health(name, ready[-1])
        self._set_health("", bool(ready) and all(ready))

    def _set_health(self, name: str, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    def stop(self, grace: float) -> None:
        """Takes no more; returns when what was taken is answered, or the grace is over."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
