"""The budget of memory that requests in flight share."""

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


def test_bytes_and_pixels_come_out_of_one_budget():
    budget = Budget(BYTE_COST * 100 + PIXEL_COST * 10)
    with budget.share() as first:
        first.take(100)
        with budget.share() as second:
            second.take(pixels=10)
            with (
                budget.share() as third,
                pytest.raises(ServingError, match="as it has memory") as e,
            ):
                third.take(1)
            assert (e.value.code, e.value.http_status) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
        with budget.share() as third:
            third.take(pixels=10)


def test_what_is_larger_than_all_of_it_runs_alone():
    budget = Budget(1000)
    with budget.share() as large:
        large.take(10)
        large.take(pixels=10**6)
        with budget.share() as other, pytest.raises(ServingError):
            other.take(1)
    with budget.share() as small:
        small.take(1)
        with budget.share() as large, pytest.raises(ServingError):
            large.take(pixels=10**6)


def test_a_share_is_held_until_its_work_has_ended():
    budget, work = Budget(30), concurrent.futures.Future()
    with budget.share() as share:
        share.take(10)
        assert share.until(work) is work
    with budget.share() as other, pytest.raises(ServingError):
        other.take(1)  # The request has its answer, and its work goes on.
    work.set_result(None)
    with budget.share() as other:
        other.take(10)


def test_an_answer_is_held_at_its_own_size():
    budget = Budget(BYTE_COST * 100)
    with budget.share() as share:
        share.take(100)
        share.keep_answer(10)
        with budget.share() as other, pytest.raises(ServingError):
            other.take(91)
        with budget.share() as other:
            other.take(90)
        share.keep_answer(10**6)  # It is there, however large.
    with budget.share() as other:
        other.take(100)


class Context:
    """Stands in for the context of a gRPC call."""

    def __init__(self, active: bool) -> None:
        self.active, self.callbacks = active, []

    def add_callback(self, callback) -> bool:
        self.callbacks.append(callback)
        return self.active


@pytest.mark.parametrize("active", [True, False])
def test_a_grpc_answer_is_held_until_it_is_sent(monkeypatch, active):
    budget = Budget(BYTE_COST * 100)
    servicer = grpc_server._Prediction(types.SimpleNamespace(budget=budget), 1)
    answer = predict_pb2.PredictResponse()
    answer.model_spec.name = "a" * 60
    monkeypatch.setattr(servicer, "_predicted", lambda *_: answer)
    context = Context(active)
    assert servicer._predict(predict_pb2.PredictRequest(), context) is answer
    with budget.share() as other:
        other.take(100 - answer.ByteSize())
        if active:
            with pytest.raises(ServingError):
                other.take(1)
            for callback in context.callbacks:
                callback()
        other.take(answer.ByteSize())


def test_grpc_messages_that_are_received_at_a_time_are_within_the_budget_s_order():
    assert grpc_server.threads_for(1536 * 2**20, 64 * 2**20) == 48
    assert grpc_server.threads_for(1536 * 2**20, 2**20) == 64
    assert grpc_server.threads_for(2**20, 64 * 2**20) == 16  # Some for health checks, always.


def test_an_answer_is_not_sent_for_ever(monkeypatch):
    monkeypatch.setattr(web, "LONGEST_SEND_SECONDS", 0.0)
    answer = web.Answer()
    answer.content = b"1"

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(30)

    asyncio.run(answer.response()({}, None, send))
    assert answer.sent.done()


def test_memory_is_returned_after_large_requests(monkeypatch):
    trimmed = threading.Event()
    monkeypatch.setattr(memory, "trim", trimmed.set)
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.0)
    budget = Budget(2**40)
    with budget.share() as share:
        share.take(1000)
    assert not trimmed.is_set()
    with budget.share() as share:
        share.take(pixels=memory.TRIM_BYTES / PIXEL_COST)
    assert trimmed.wait(30)


class Echo:
    """A servable that takes what it is given."""

    def checked(self, signature, inputs):
        return dict(inputs)

    def batches(self, signature):
        return signature == "decompress"

    def takes_images(self, signature):
        return False


@pytest.fixture
def prepare():
    """Prepares inputs for a call, in a service of small limits; returns what they cost."""
    batcher, budget = Batcher(Parameters(4, 0, 2, 1), Metrics()), Budget(2**30)
    service = Service(None, batcher, Metrics(), budget, Limits(max_pixels=5000, max_side=100))

    def cost(name: str, array: np.ndarray) -> int:
        signature = "decompress" if name == "bitstream_bytes" else "compress_tensor"
        with budget.share() as share:
            service.prepare(Echo(), signature, {name: array}, share).result(30)
            return share._size

    yield cost
    batcher.close()


def stream(width: int, height: int) -> bytes:
    """The header of a bitstream."""
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


def test_bitstreams_and_pixels_cost_what_they_claim(prepare):
    files = [stream(100, 50), stream(60, 80)]
    assert prepare("bitstream_bytes", np.array(files, object)) == PIXEL_COST * (5000 + 4800)
    assert prepare("image", np.zeros((50, 100, 3), np.uint8)) == PIXEL_COST * 5000
    assert prepare("image", np.zeros((50, 100, 1), np.uint8)) == PIXEL_COST * 5000
    assert prepare("others", np.zeros((7, 50, 100, 3), np.uint8)) == PIXEL_COST * 35000


def test_workers_take_no_more_than_may_wait():
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
    """Bytes that can be referred to weakly."""


@pytest.mark.parametrize("json", [False, True])
def test_a_cancelled_job_lets_go_of_its_arguments(json):
    """Also while it waits in the queue behind jobs that go on."""
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
