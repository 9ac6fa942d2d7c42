"""Encoder effort in exports, the server, its client and bulk work."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import cropped, golden_codec
from tests.quick_codec import SearchingCodec
from tests.server_process import running
from tfc_models.codec import tuning
from tfc_models.serving import bulk_work, memory, rest_json
from tfc_models.serving import client as clients
from tfc_models.serving.batching import MAX_BATCH_PIXELS
from tfc_models.serving.errors import ServingError
from tfc_models.serving.exporting import export, warmup_requests
from tfc_models.serving.request_size import cost_of, searches
from tfc_models.serving.servable import Servable

MODEL = "gained-stem4"
RGB_IMAGE = cropped(64, 80)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    export(golden_codec(MODEL), path / "m", max_effort=2)
    return path / "m"


@pytest.fixture(scope="module")
def servable(folder):
    found = Servable("m", 1, folder / "1")
    yield found
    found.close()


def cost(file: bytes, quality: int) -> float:
    codec = golden_codec(MODEL)
    decoded = codec.decompress(file).astype(float)
    weight = float(tuning.squared_error_weight(codec.model, tf.constant(float(quality))))
    bits = 8.0 * len(file) / (RGB_IMAGE.shape[0] * RGB_IMAGE.shape[1])
    return bits + weight * float(np.mean((decoded - RGB_IMAGE) ** 2))


def called(servable: Servable, signature: str, **inputs: object) -> list[bytes]:
    arrays = {k: np.asarray(v) for k, v in inputs.items()}
    checked = servable.checked_inputs(signature, arrays)
    return list(servable.call(signature, checked)["bitstream_bytes"])


@pytest.mark.exhaustive
def test_signature_with_effort_and_quality(servable):
    files = np.array([png(RGB_IMAGE)] * 2, object)
    given = {"effort": np.array([0, 1], np.int32), "quality": np.array([30, 30], np.int32)}
    plain, searched = called(servable, "compress_at_effort", image_bytes=files, **given)
    quality = given["quality"]
    assert called(servable, "compress_at_quality", image_bytes=files, quality=quality)[0] == plain
    assert cost(searched, 30) <= cost(plain, 30) and searched != plain
    given["effort"] += 2
    with pytest.raises(ServingError, match="effort is a whole number from 0 to 2; got 3"):
        called(servable, "compress_at_effort", image_bytes=files, **given)


def test_rest_bodies_and_batches(servable):
    assert servable.supports_batching("compress_at_effort") and servable.takes_images(
        "compress_at_effort"
    )
    file = {"b64": "AAAA"}
    rows = [{"image_bytes": file, "effort": 1, "quality": 40}]
    body = json.dumps({"signature_name": "compress_at_effort", "instances": rows}).encode()
    inputs = rest_json.parse(body, servable)[2]
    assert inputs["effort"].dtype == inputs["quality"].dtype == np.int32
    assert set(servable.checked_inputs("compress_at_effort", inputs)) == set(rows[0])


def test_warm_up_searches_only_the_smallest_image():
    requests = warmup_requests(golden_codec(MODEL), 4096, searches=True)
    (inputs,) = (inputs for signature, inputs in requests if signature == "compress_at_effort")
    assert Image.open(io.BytesIO(inputs["image_bytes"][0])).size == (64, 64)
    np.testing.assert_array_equal(inputs["effort"], [1])
    assert "compress_at_effort" not in dict(warmup_requests(golden_codec(MODEL), 64))


def test_search_costs_more_time_and_memory():
    pixels = np.zeros([600, 400, 3], np.uint8)
    inputs = {"image": pixels, "effort": np.array([0], np.int32)}
    assert not searches(inputs) and cost_of(inputs) == 240_000
    inputs["effort"] = np.array([0, 2], np.int32)
    assert searches(inputs) and cost_of(inputs) > MAX_BATCH_PIXELS
    held = memory.SEARCH_WINDOW_BYTES_PER_PIXEL + memory.SEARCH_IMAGE_BYTES_PER_PIXEL
    budget = memory.Budget(1000 * held)
    with budget.reserve() as reservation:
        reservation.take_search(1000)
        with budget.reserve() as other, pytest.raises(ServingError, match="memory"):
            other.take(1)
    with budget.reserve() as reservation:
        reservation.take_search(10**8)  # Over the budget, but the only request.
        assert reservation._size < 10**8 * held  # The search processes one window at a time.


@pytest.mark.slow
def test_client_effort_over_rest_and_grpc(folder):
    codec = golden_codec(MODEL)
    with running("--model_name=m", f"--model_base_path={folder}") as server:
        files = []
        for address in (server.rest, server.grpc):
            with clients.Client(address, "m") as client:
                assert client.compress(png(RGB_IMAGE), 30, effort=0) == codec.compress(
                    RGB_IMAGE, 30
                )
                files.append(client.compress(png(RGB_IMAGE), 30, effort=1))
                with pytest.raises(clients.ServerError, match=r"(?i)missing.*quality"):
                    client.compress(png(RGB_IMAGE), effort=1)
                with pytest.raises(clients.ServerError, match="from 0 to 2; got 9"):
                    client.compress(png(RGB_IMAGE), 30, effort=9)
    assert files[0] == files[1] and cost(files[0], 30) <= cost(codec.compress(RGB_IMAGE, 30), 30)


class Searching(SearchingCodec):
    """Searching codec with the attributes that `Job.check` uses."""

    def __init__(self) -> None:
        super().__init__()
        self.model = golden_codec(MODEL).model

    def rate_setting(self, quality: int | None) -> int:
        return 50


def test_bulk_effort(tmp_path, monkeypatch):
    codec = Searching()
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: codec)
    monkeypatch.delenv("TFC_MODELS_PIM", raising=False)
    path = tmp_path / "a.png"
    path.write_bytes(png(RGB_IMAGE))

    def job(command: str = "compress", **search: object) -> bulk_work.Job:
        out = str(tmp_path / "out")
        return bulk_work.Job(command, str(tmp_path), out, "m", None, 10**6, **search)

    for search in ({}, {"effort": 1}, {"effort": 2}, {"effort": 2, "tune": "nlpd"}):
        job(**search).check()
        assert job(**search).finished(str(path)) is None
        record = job(**search).do(str(path))
        assert {k: v for k, v in record.items() if k in ("effort", "tune")} == search
        assert job(**search).finished(str(path)) == record
    assert codec.searches == [(1, None), (2, None), (2, "nlpd")]
    assert job("evaluate", effort=1).do(str(path))["effort"] == 1


@pytest.mark.parametrize(
    ("command", "search", "says"),
    [
        ("compress", {"tune": "pim"}, "--tune has an effect with --effort 1 to 9 only"),
        ("compress", {"effort": 1, "tune": "vmaf"}, "tune is one of psnr, "),
        ("compress", {"effort": 1, "tune": "lpips"}, "LPIPS needs its weights"),
        ("decompress", {"effort": 1}, "--effort and --tune are for compress and evaluate"),
    ],
)
def test_bulk_usage_errors(monkeypatch, command, search, says):
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: Searching())
    monkeypatch.delenv("TFC_MODELS_LPIPS", raising=False)
    with pytest.raises(ValueError, match=says):
        bulk_work.Job(command, "in", "out", "m", None, 10**6, **search).check()
