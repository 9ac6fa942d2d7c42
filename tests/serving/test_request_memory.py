"""The budget of memory shared by requests in flight."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import types
import weakref

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from tfc_models.codec import container
from tfc_models.serving import grpc_server, memory, rest, web
from tfc_models.serving.batching import Batcher, Parameters
from tfc_models.serving.errors import ServingError
from tfc_models.serving.memory import BYTE_COST, PIXEL_COST, Budget, Workers
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.service import Limits, Service


def test_bytes_and_pixels_share_one_budget():
    budget = Budget(BYTE_COST * 100 + PIXEL_COST * 10)
    with budget.reserve() as first:
        first.take(100)
        with budget.reserve() as second:
            second.take(pixels=10)
            with (
                budget.reserve() as third,
                pytest.raises(ServingError, match="no memory for another request") as e,
            ):
                third.take(1)
            assert (e.value.code, e.value.http_status) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
        with budget.reserve() as third:
            third.take(pixels=10)


def test_request_over_the_budget_runs_alone():
    budget = Budget(1000)
    with budget.reserve() as large:
        large.take(10)
        large.take(pixels=10**6)
        with budget.reserve() as other, pytest.raises(ServingError):
            other.take(1)
    with budget.reserve() as small:
        small.take(1)
        with budget.reserve() as large, pytest.raises(ServingError):
            large.take(pixels=10**6)


def test_reservation_is_held_until_work_ends():
    budget, work = Budget(30), concurrent.futures.Future()
    with budget.reserve() as reservation:
        reservation.take(10)
        assert reservation.hold_until(work) is work
    with budget.reserve() as other, pytest.raises(ServingError):
        other.take(1)  # The request has ended, but its work has not.
    work.set_result(None)
    with budget.reserve() as other:
        other.take(10)


def test_response_reduces_the_reservation():
    budget = Budget(BYTE_COST * 100)
    with budget.reserve() as reservation:
        reservation.take(100)
        reservation.shrink_to_response(10)
        with budget.reserve() as other, pytest.raises(ServingError):
            other.take(91)
        with budget.reserve() as other:
            other.take(90)
        reservation.shrink_to_response(10**6)  # It never fails, however large the response.
    with budget.reserve() as other:
        other.take(100)


class Context:
    """Fake context of a gRPC call."""

    def __init__(self, active: bool) -> None:
        self.active, self.callbacks = active, []

    def add_callback(self, callback) -> bool:
        self.callbacks.append(callback)
        return self.active


@pytest.mark.parametrize("active", [True, False])
def test_grpc_response_is_reserved_until_sent(monkeypatch, active):
    budget = Budget(BYTE_COST * 100)
    servicer = grpc_server._Prediction(types.SimpleNamespace(budget=budget), 1)
    answer = predict_pb2.PredictResponse()
    answer.model_spec.name = "a" * 60
    monkeypatch.setattr(servicer, "_predicted", lambda *_: answer)
    context = Context(active)
    assert servicer._predict(predict_pb2.PredictRequest(), context) is answer
    with budget.reserve() as other:
        other.take(100 - answer.ByteSize())
        if active:
            with pytest.raises(ServingError):
                other.take(1)
            for callback in context.callbacks:
                callback()
        other.take(answer.ByteSize())


def test_grpc_threads_depend_on_the_budget():
    assert grpc_server.threads_for(1536 * 2**20, 64 * 2**20) == 48
    assert grpc_server.threads_for(1536 * 2**20, 2**20) == 64
    assert grpc_server.threads_for(2**20, 64 * 2**20) == 16  # Includes threads for health checks.


def test_sending_a_response_has_a_timeout(monkeypatch):
    monkeypatch.setattr(web, "MAX_SEND_SECONDS", 0.0)
    answer = web.ResponseBuilder()
    answer.content = b"1"

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(30)

    asyncio.run(answer.response()({}, None, send))
    assert answer.sent.done()


def test_memory_is_trimmed_after_large_requests(monkeypatch):
    trimmed = threading.Event()
    monkeypatch.setattr(memory, "trim", trimmed.set)
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.0)
    budget = Budget(2**40)
    with budget.reserve() as reservation:
        reservation.take(1000)
    assert not trimmed.is_set()
    with budget.reserve() as reservation:
        reservation.take(pixels=memory.TRIM_BYTES / PIXEL_COST)
    assert trimmed.wait(30)


class Echo:
    """Servable that accepts any inputs."""

    def checked_inputs(self, signature, inputs):
        return dict(inputs)

    def supports_batching(self, signature):
        return signature == "decompress"

    def takes_images(self, signature):
        return False


@pytest.fixture
def prepare():
    """Returns a function that prepares inputs with small limits and returns their cost."""
    batcher, budget = Batcher(Parameters(4, 0, 2, 1), Metrics()), Budget(2**30)
    service = Service(None, batcher, Metrics(), budget, Limits(max_pixels=5000, max_side=100))

    def cost(name: str, array: np.ndarray) -> int:
        signature = "decompress" if name == "bitstream_bytes" else "compress_tensor"
        with budget.reserve() as reservation:
            service.prepare(Echo(), signature, {name: array}, reservation).result(30)
            return reservation._size

    yield cost
    batcher.close()


def stream(width: int, height: int) -> bytes:
    """Returns the header of a bitstream."""
    sizes = container.varint(height) + container.varint(width)
    return container.MAGIC + b"\1" + container.pack_name("a") + bytes(4) + sizes + bytes(9)


def test_limits_hold_for_bitstreams_and_pixels(prepare):
    for width, height, says in (
        (80, 70, "80×70 is 5,600 pixels, over the limit of 5,000"),
        (101, 2, "101×2 has a side over the limit of 100"),
    ):
        several = np.array([stream(8, 8), stream(width, height)], object)
        for name, array in (
            ("bitstream_bytes", several),
            ("image", np.zeros((height, width, 3), np.uint8)),
        ):
            with pytest.raises(ServingError, match=says) as caught:
                prepare(name, array)
            assert caught.value.http_status == 400


def test_bitstreams_and_pixels_reserve_memory(prepare):
    files = [stream(100, 50), stream(60, 80)]
    assert prepare("bitstream_bytes", np.array(files, object)) == PIXEL_COST * (5000 + 4800)
    assert prepare("image", np.zeros((50, 100, 3), np.uint8)) == PIXEL_COST * 5000
    assert prepare("image", np.zeros((50, 100, 1), np.uint8)) == PIXEL_COST * 5000
    assert prepare("others", np.zeros((7, 50, 100, 3), np.uint8)) == PIXEL_COST * 35000


def test_workers_have_a_bounded_queue():
    leave = threading.Event()
    workers = Workers("test", 1, 2, "too many wait")
    jobs = [workers.submit(leave.wait, 30) for _ in range(3)]
    with pytest.raises(ServingError, match="too many wait"):
        workers.submit(leave.wait)
    jobs[2].cancel()
    jobs[2] = workers.submit(leave.wait, 30)
    leave.set()
    assert all(job.result(30) for job in jobs)


class Body(bytearray):
    """Bytes that support weak references."""


@pytest.mark.parametrize("json", [False, True])
def test_cancelled_job_frees_its_arguments(json):
    """This also holds while it is in the queue behind running jobs."""
    leave = threading.Event()
    workers = rest._converting if json else Workers("test", 2, 2, "too many wait")
    running = [workers.submit(leave.wait, 30) for _ in range(2)]
    body = Body(1000)
    known = weakref.ref(body)
    job = workers.submit(len, body)
    del body
    assert job.cancel()
    del job
    gc.collect()
    assert known() is None
    leave.set()
    assert all(one.result(30) for one in running)
