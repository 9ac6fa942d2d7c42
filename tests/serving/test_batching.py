"""Request batching: composition of batches, order, and rejected requests."""

from __future__ import annotations

import dataclasses
import io
import threading
import types

import grpc
import numpy as np
import pytest
from PIL import Image

from tests.conftest import cropped, golden_codec
from tfc_models.serving import batching
from tfc_models.serving.batching import Batcher, Parameters
from tfc_models.serving.errors import ServingError, invalid
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.request_size import pixels_of


class Doubler:
    """Servable that records the sizes of its calls, and blocks until the test lets it run."""

    name = "doubler"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.leave = threading.Event()
        self.begun = threading.Semaphore(0)

    def acquire(self):
        pass

    release = acquire

    def checked_inputs(self, signature, inputs):
        return dict(inputs)

    def supports_batching(self, signature):
        return signature != "whole"

    def call(self, signature, inputs):
        self.begun.release()
        assert self.leave.wait(30)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        if (inputs["x"] > 99).any():
            raise RuntimeError("a defect")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def setup():
    """Batcher with one worker, which is inside a call."""
    servable = Doubler()
    batcher = Batcher(Parameters(4, 0, 2, 1), Metrics())
    first = batcher.submit(servable, "", {"x": np.array([0])})
    assert servable.begun.acquire(timeout=30)
    yield types.SimpleNamespace(
        servable=servable,
        submit=lambda *x, signature="", timeout=None: batcher.submit(
            servable, signature, {"x": np.array(x)}, timeout
        ),
        batcher=batcher,
        first=first,
    )
    servable.leave.set()
    batcher.close()


def test_queued_requests_form_a_batch_up_to_the_maximum(setup):
    futures = [setup.submit(i, i + 10) for i in range(4)]
    setup.servable.leave.set()
    for i, future in enumerate(futures):
        assert future.result(30)["y"].tolist() == [2 * i, 2 * i + 20]
    assert setup.servable.sizes == [1, 4, 4]


def test_batches_do_not_mix_signatures(setup):
    futures = [setup.submit(1), setup.submit(2, signature="b"), setup.submit(3)]
    futures += [setup.submit(4, signature="whole"), setup.submit(5, signature="whole")]
    setup.servable.leave.set()
    assert [f.result(30)["y"].tolist() for f in futures] == [[2], [4], [6], [8], [10]]
    assert setup.servable.sizes == [1, 2, 1, 1, 1]


def test_invalid_request_fails_alone(setup):
    futures = [setup.submit(1), setup.submit(-1), setup.submit(3)]
    setup.servable.leave.set()
    assert futures[0].result(30)["y"].tolist() == [2]
    assert futures[2].result(30)["y"].tolist() == [6]
    with pytest.raises(ServingError, match="negative"):
        futures[1].result(30)


def test_worker_survives_an_unexpected_error(setup):
    future = setup.submit(100)
    setup.servable.leave.set()
    with pytest.raises(ServingError, match="a defect") as caught:
        future.result(30)
    assert caught.value.http_status == 500
    assert setup.submit(1).result(30)["y"].tolist() == [2]


def test_full_queue_rejects_requests_until_it_empties(setup):
    futures = [setup.submit(*range(4)), setup.submit(*range(4))]
    with pytest.raises(
        ServingError, match="queue to which this task was submitted is full"
    ) as full:
        setup.submit(1)
    assert (full.value.code, full.value.http_status) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
    setup.servable.leave.set()
    for future in futures:
        future.result(30)
    assert setup.submit(1).result(30)["y"].tolist() == [2]


def test_too_large_and_empty_requests_are_rejected(setup):
    with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4"):
        setup.submit(*range(5))
    with pytest.raises(ServingError, match="at least one example"):
        setup.submit()


def test_expired_and_cancelled_requests_are_not_called(setup):
    # Two examples each, so that comparing tasks would compare arrays and fail.
    late, gone, good = setup.submit(1, 1, timeout=0.0), setup.submit(2), setup.submit(3)
    gone.cancel()
    setup.servable.leave.set()
    assert good.result(30)["y"].tolist() == [6]
    with pytest.raises(ServingError) as caught:
        late.result(30)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert setup.servable.sizes == [1, 1]


def test_close_answers_accepted_requests_only(setup):
    futures = [setup.submit(i) for i in range(6)]
    closing = threading.Thread(target=setup.batcher.close)
    closing.start()
    setup.servable.leave.set()
    closing.join(30)
    assert not closing.is_alive()
    assert all(f.done() for f in [setup.first, *futures])
    with pytest.raises(ServingError, match="shutting down") as caught:
        setup.submit(1)
    assert caught.value.http_status == 503


def test_batch_timeout():
    servable = Doubler()
    servable.leave.set()
    batcher = Batcher(Parameters(4, 10_000_000, 2, 2), Metrics())
    futures = [batcher.submit(servable, "", {"x": np.array([i, i])}) for i in range(2)]
    assert [f.result(5)["y"].tolist() for f in futures] == [[0, 0], [2, 2]]
    assert servable.sizes == [4]
    batcher.close()


def test_large_image_is_not_batched(setup, monkeypatch):
    weights = {1: 3e6, 2: 10.0, 3: 10.0, 4: 2e6}
    monkeypatch.setattr(batching, "cost_of", lambda arrays: weights[int(arrays["x"][0])])
    futures = [setup.submit(i) for i in weights]
    setup.servable.leave.set()
    for future in futures:
        future.result(30)
    assert setup.servable.sizes[1:] == [1, 3]


def test_large_images_wait_for_each_other_and_small_ones_do_not(monkeypatch):
    weights = {1: 9e6, 2: 9e6, 3: 10.0, 4: 9e6}
    monkeypatch.setattr(batching, "cost_of", lambda arrays: weights[int(arrays["x"][0])])
    servable, batcher = Doubler(), Batcher(Parameters(4, 0, 2, 2), Metrics())
    futures = [batcher.submit(servable, "", {"x": np.array([i])}) for i in weights]
    assert servable.begun.acquire(timeout=30) and servable.begun.acquire(timeout=30)
    assert not servable.begun.acquire(timeout=0.1)
    servable.leave.set()
    assert [f.result(30)["y"].tolist() for f in futures] == [[2], [4], [6], [8]]
    assert batcher.close(30)


def test_very_large_image_is_not_overtaken_by_large_ones(monkeypatch):
    weights = {1: 18e6, 2: 20e6, 3: 3e6, 4: 10.0}
    monkeypatch.setattr(batching, "cost_of", lambda arrays: weights[int(arrays["x"][0])])
    servable, batcher = Doubler(), Batcher(Parameters(4, 0, 2, 3), Metrics())
    futures = [batcher.submit(servable, "", {"x": np.array([i])}) for i in weights]
    assert servable.begun.acquire(timeout=30) and servable.begun.acquire(timeout=30)
    assert not servable.begun.acquire(timeout=0.1)
    assert [f.running() for f in futures] == [True, False, False, True]
    servable.leave.set()
    assert [f.result(30)["y"].tolist() for f in futures] == [[2], [4], [6], [8]]
    assert batcher.close(30)


def test_pixels_are_read_from_headers():
    image = io.BytesIO()
    Image.new("RGB", (300, 200)).save(image, "JPEG")
    files = np.array([image.getvalue(), b"\xf1TC" + bytes(97)], object)
    assert pixels_of({"image_bytes": files, "quality": np.array([5, 7])}) == 60_000 + 1_600
    bitstream = golden_codec("bls2017").compress(cropped(40, 50))
    assert pixels_of({"bitstream_bytes": np.array([bitstream], object)}) == 2_000
    assert pixels_of({"image": np.zeros((30, 20, 3), np.uint8)}) == 600


def test_inputs_of_a_request_must_have_equal_length():
    batcher = Batcher(Parameters(4, 0, 2, 1), Metrics())
    with pytest.raises(ServingError, match="equal 0th-dimension size"):
        batcher.submit(Doubler(), "", {"x": np.arange(2), "q": np.arange(3)})
    batcher.close()


@pytest.mark.parametrize("name", ["max_batch_size", "max_enqueued_batches", "num_batch_threads"])
def test_invalid_parameters(name):
    with pytest.raises(ValueError, match=f"{name} must not be 0"):
        dataclasses.replace(Parameters(4, 0, 2, 1), **{name: 0})
