"""TF Serving's gRPC interface: PredictionService, ModelService and health checks."""

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

from tfc_models.serving.errors import ServingError, internal, invalid, overloaded
from tfc_models.serving.memory import Reservation
from tfc_models.serving.servable import DEFAULT_SIGNATURE, Servable
from tfc_models.serving.service import Service, wait_for_result

MAX_THREADS = 64  # They mostly wait; the batcher limits concurrent model calls.
RESERVED_THREADS = 8  # For health checks, status and metadata.
# Largest total size of messages that are received at once, in memory budgets.
MAX_RECEIVE_BUDGETS = 2
METADATA = "signature_def"
MAX_WAIT_SECONDS = 3600.0  # Upper limit of a request's deadline.


def metadata_of(servable: Servable) -> get_model_metadata_pb2.SignatureDefMap:
    """Returns the signatures of a servable as metadata."""
    return get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)


def _version_choice(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Returns the model name, and the requested version or label, if any."""
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return spec.name, version, label


def _find(
    service: Service, spec: model_pb2.ModelSpec, reservation: Reservation | None = None
) -> Servable:
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return service.manager.find(*_version_choice(spec), reservation=reservation)


def threads_for(budget: int, max_message_bytes: int) -> int:
    """Returns the number of requests that are received and answered concurrently.

    The budget counts a message only after it has been received. The number of threads limits the
    memory of messages that are being received.
    """
    threads = max(MAX_RECEIVE_BUDGETS * budget // max_message_bytes, 2 * RESERVED_THREADS)
    return min(threads, MAX_THREADS)


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service, at_a_time: int) -> None:
        self._service = service
        self._free = threading.Semaphore(at_a_time)

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec, size = request.model_spec, request.ByteSize()
        return _handle(self._service, context, spec.name, size, self._predict, request)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec, size = request.model_spec, request.ByteSize()
        return _handle(self._service, context, spec.name, size, self._metadata, request)

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not self._free.acquire(blocking=False):
            raise overloaded("the server is processing its maximum number of requests")
        try:
            with self._service.budget.reserve() as reservation:
                _keep_until_sent(reservation, context)
                reservation.take(request.ByteSize())
                answer = self._predicted(request, context, reservation)
                reservation.shrink_to_response(answer.ByteSize())
                return answer
        finally:
            self._free.release()

    def _predicted(
        self, request: Any, context: grpc.ServicerContext, reservation: Reservation
    ) -> Any:
        servable = _find(self._service, request.model_spec, reservation)
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
        # Without a deadline, gRPC reports centuries, which exceed the range of timeouts.
        left = context.time_remaining()
        timeout = MAX_WAIT_SECONDS if left is None else min(left, MAX_WAIT_SECONDS)
        until = time.monotonic() + timeout
        prepared = self._service.prepare(servable, signature, inputs, reservation)
        inputs = _wait(prepared, context, timeout)
        left = max(until - time.monotonic(), 0.0)
        future = self._service.batcher.submit(servable, signature, inputs, left)
        outputs = _wait(reservation.hold_until(future), context, left)
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


def _keep_until_sent(reservation: Reservation, context: grpc.ServicerContext) -> None:
    """Keeps a reservation until the client has received the response or has disconnected."""
    ended: concurrent.futures.Future = concurrent.futures.Future()
    reservation.hold_until(ended)
    if not context.add_callback(lambda: ended.set_result(None)):
        ended.set_result(None)


def _wait(
    future: concurrent.futures.Future, context: grpc.ServicerContext, timeout: float
) -> dict[str, np.ndarray]:
    """Waits for a future. Cancels it when the client disconnects."""
    if not context.add_callback(future.cancel):
        future.cancel()
    return wait_for_result(future, timeout)


def _array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Converts a tensor. Rejects it if the number of its values does not match its shape.

    `make_ndarray` repeats the last value to fill the shape: a small message could exhaust memory.
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
        return _handle(self._service, context, spec.name, size, self._status, request)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _handle(self._service, context, "", request.ByteSize(), self._reload, request)

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._service.manager.status(*_version_choice(request.model_spec))

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid("the configuration has no model_config_list.")
        self._service.manager.reload(request.config)
        answer = model_management_pb2.ReloadConfigResponse()
        answer.status.error_code = 0
        return answer


def _handle(
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
        error = ServingError(grpc.StatusCode.CANCELLED, "the client has disconnected")
    except Exception as caught:  # An unexpected error is reported to the client too.
        error = internal(f"{type(caught).__name__}: {caught}")
    out = answer.ByteSize() if answer is not None else 0
    method = handler.__name__.strip("_")
    details = {"method": method, "bytes_in": size, "bytes_out": out}
    service.record("GRPC", model, started, error, method == "predict", **details)
    if error is not None:
        context.abort(error.code, error.message)
    return answer


class GrpcServer:
    """gRPC interface of a server."""

    def __init__(self, service: Service, address: str, max_message_bytes: int) -> None:
        self._service = service
        threads = threads_for(service.budget.total, max_message_bytes)
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            # The same number of requests may wait for a thread; others are rejected immediately.
            # A waiting request occupies no more memory than HTTP/2's flow-control window.
            maximum_concurrent_rpcs=2 * threads,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        add = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
        add(_Prediction(service, threads - RESERVED_THREADS), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(service), self._server)
        self._health = health.HealthServicer()
        self._reported_names: set[str] = set()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(address)

    def start(self) -> None:
        """Starts to accept requests."""
        self._server.start()

    def update_health(self) -> None:
        """Updates the health of each model; "" stands for all models."""
        ready, names = [], self._service.manager.models()
        for name in self._reported_names - set(names):
            self._set_health(name, False)
        self._reported_names |= set(names)
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
        """Rejects new requests and waits for the accepted ones, at most `grace` seconds."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
