"""Server from the view of its clients: official stubs, HTTP, the project's client, signals."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import urllib.request
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tests import programs
from tests.conftest import FEW_PIXELS, GOLDEN, cropped, golden_codec
from tests.server_process import running
from tfc_models.serving import client as clients
from tfc_models.serving import exporting

ONE_RATE, MANY_RATES = "mbt2018-mean", "gained-stem4"
CONFIG = """
model_config_list {{
  config {{ name: 'one' base_path: '{0}/one' model_platform: 'tensorflow'
            model_version_policy {{ specific {{ versions: 3 versions: 5 }} }}
            version_labels {{ key: 'stable' value: 3 }} }}
  config {{ name: 'many' base_path: '{0}/many' }}
}}
"""


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


PHOTO = cropped(70, 101)
PNG = png(PHOTO)


@pytest.fixture(scope="module")
def models(exported, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models")
    for version in (3, 5):
        exported(ONE_RATE, folder / "one", version, max_pixels=FEW_PIXELS)
    exported(MANY_RATES, folder / "many")
    (folder / "config").write_text(CONFIG.format(folder))
    return folder


@pytest.fixture(scope="module")
def server(models):
    flags = f"--model_config_file={models}/config", "--max_request_bytes=1000000"
    with running(*flags, forked=False) as process:
        yield process


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_client_results_equal_the_codec(server, transport):
    codec = golden_codec(MANY_RATES)
    with clients.Client(getattr(server, transport), "many") as client:
        for quality in (None, 10, 90):
            data = client.compress(PNG, quality)
            assert data == codec.compress(PHOTO, quality)
            image = np.asarray(Image.open(io.BytesIO(client.decompress(data))))
            # A separately compiled graph may round float32 sums to the next grey level.
            difference = image.astype(int) - codec.decompress(data)
            assert np.abs(difference).max() <= 1
        assert client.status() == {"1": "AVAILABLE"}
        with pytest.raises(clients.ServerError, match="not a tfc-models file"):
            client.decompress(PNG)
        with pytest.raises(clients.ServerError, match="not an image that can be read"):
            client.compress(b"junk")
        with pytest.raises(clients.ServerError, match="choose a background colour"):
            client.compress(png(np.zeros((5, 5, 4), np.uint8)))
        grey = client.decompress(client.compress(png(PHOTO[..., 0])))
        assert Image.open(io.BytesIO(grey)).mode == "L"


def test_row_and_columnar_formats(server):
    data = golden_codec(ONE_RATE).compress(PHOTO)
    path = "/v1/models/one:predict"
    rows = {"instances": [b64(PNG), {"image_bytes": b64(PNG)}["image_bytes"]]}
    assert server.ask(path, rows) == (200, {"predictions": [b64(data), b64(data)]})
    named = {"instances": [{"image_bytes": b64(PNG)}]}
    assert server.ask(path, named) == (200, {"predictions": [b64(data)]})
    columns = {"inputs": {"image_bytes": [b64(PNG)]}}
    assert server.ask(path, columns) == (200, {"outputs": [b64(data)]})
    assert server.ask("/V1/Models/one/versions/3:Predict", columns)[0] == 200
    assert server.ask("/v1/models/one/labels/stable:predict", columns)[0] == 200
    tensor = {"signature_name": "compress_tensor", "inputs": PHOTO.tolist()}
    assert server.ask(path, tensor) == (200, {"outputs": b64(data)})
    back = {"signature_name": "decompress_tensor", "inputs": b64(data)}
    status, answer = server.ask(path, back)
    assert status == 200 and np.shape(answer["outputs"]) == PHOTO.shape


BAD = {
    "": (400, "JSON Parse error: The document is empty"),
    "{": (400, "JSON Parse error"),
    "[1]": (400, "Is not object"),
    "{}": (400, "Missing 'inputs' or 'instances' key"),
    '{"instances": 3}': (400, "Excepting 'instances' to be an list/array"),
    '{"instances": []}': (400, "No values in 'instances' array"),
    '{"instances": ["x"], "inputs": "x"}': (400, "expecting only one of"),
    '{"instances": [1]}': (400, "is not of expected type: string"),
    '{"instances": [null]}': (400, "is not of expected type: string"),
    '{"instances": [{"b64": "@"}]}': (400, "Unable to base64 decode"),
    '{"instances": ["x", {"image_bytes": "x"}]}': (400, "got object at item 1"),
    '{"instances": [{"x": "x"}]}': (400, "must only have keys: image_bytes"),
    '{"inputs": {"x": "x"}}': (400, "Missing named input: image_bytes"),
    '{"inputs": "x"}': (400, "shape"),
    '{"inputs": [["x"], "y"]}': (400, "incorrect level"),
    '{"inputs": [["x"], ["y", "z"]]}': (400, "unexpected size: 2"),
    '{"instances": ["x"]}': (400, "not an image that can be read"),
    '{"instances": ["x"], "signature_name": "y"}': (
        400,
        'Serving signature name: "y" not found in signature def',
    ),
    '{"instances": ["x"], "signature_name": 1}': (400, "'signature_name'"),
    '{"signature_name": "compress_tensor", "inputs": [[[1, 2, 256]]]}': (400, "out of the range"),
    '{"signature_name": "compress_tensor", "inputs": [[[1.5, 2, 3]]]}': (400, "not of expected"),
    "[" * 100_000: (400, "JSON Parse error"),
    '{"inputs": ' + "[" * 40 + "]" * 40 + "}": (400, "unexpected level"),
    '{"inputs": []}': (400, "at least one example"),
    json.dumps({"instances": ["x"] * 17}): (400, "Task size 17 is larger than maximum input"),
}


@pytest.mark.parametrize("body", BAD, ids=lambda b: b[:40])
def test_invalid_requests_get_one_line(server, body):
    status, message = BAD[body]
    found = server.ask("/v1/models/one:predict", body.encode())
    assert found[0] == status
    assert list(found[1]) == ["error"] and message in found[1]["error"]
    assert "\n" not in found[1]["error"]


@pytest.mark.parametrize(
    ("path", "method", "status", "message"),
    [
        ("/v1/models/none:predict", "POST", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/one/versions/9:predict", "POST", 404, "Specific(one, 9)"),
        ("/v1/models/one/labels/x:predict", "POST", 400, "Unrecognized servable version label: x"),
        ("/v1/models/one:classify", "POST", 400, "classification signature method_name"),
        ("/v1/models/none", "GET", 404, "Could not find any versions of model none"),
        ("/v1/models/one/versions/9", "GET", 404, "Could not find version 9 of model one"),
        ("/v1/models/one:predict", "GET", 400, "Malformed request: GET /v1/models/one:predict"),
        (f"/v1/models/one/versions/{'9' * 5000}", "GET", 400, "Failed to convert version: 999"),
        ("/v1/x", "POST", 400, "Malformed request: POST /v1/x"),
        ("/x", "GET", 404, "there is no /x on this server"),
    ],
)
def test_unknown_paths(server, path, method, status, message):
    body = {"instances": ["x"]} if method == "POST" else None
    found = server.ask(path, body, method)
    assert (found[0], message in found[1]["error"]) == (status, True), found


def test_status_and_metadata_over_rest(server):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    states = [{"version": "5", **available}, {"version": "3", **available}]
    assert server.ask("/v1/models/one") == (200, {"model_version_status": states})
    assert server.ask("/v1/models/one/labels/stable")[1] == {"model_version_status": states[1:]}
    status, answer = server.ask("/v1/models/one/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "one", "signature_name": "", "version": "5"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert server.ask("/v1/models")[1]["models"].keys() == {"one", "many"}


def test_size_limits(server):
    status, answer = server.ask("/v1/models/one:predict", b"x" * 1_000_001)
    assert status == 413 and "larger than the server's limit of 1000000 bytes" in answer["error"]
    # More than socket buffers hold: a client that is still sending gets the response too.
    for _ in range(5):
        assert server.ask("/v1/models/one:predict", b"x" * 1_900_000)[0] == 413
    # A PNG with a large header and no data is rejected before decoding.
    header = b"IHDR" + (50_000).to_bytes(4, "big") * 2 + PNG[24:29]
    bomb = PNG[:12] + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]
    for image in (bomb, png(np.zeros((230, 231, 3), np.uint8))):
        status, answer = server.ask("/v1/models/one:predict", {"instances": [b64(image)]})
        assert status == 400 and "over the limit" in answer["error"]


def test_official_stubs(server, channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest(output_filter=["bitstream_bytes"])
    request.model_spec.name = "one"
    request.model_spec.version_label = "stable"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([PNG, PNG]))
    answer = stub.Predict(request, timeout=60)
    assert answer.model_spec.version.value == 3
    assert answer.model_spec.signature_name == "serving_default"
    data = golden_codec(ONE_RATE).compress(PHOTO)
    assert tf.make_ndarray(answer.outputs["bitstream_bytes"]).tolist() == [data, data]

    def refused(code: grpc.StatusCode, words: str) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=60)
        assert (caught.value.code(), caught.value.details()) == (code, words)

    request.output_filter[:] = ["x"]
    refused(grpc.StatusCode.INVALID_ARGUMENT, "output tensor alias not found in signature: x")
    del request.output_filter[:]
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1, 2]))
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "input 'image_bytes' is of type int32; the signature takes string.",
    )
    # A message of a few bytes whose shape would need all memory.
    huge = tf.make_tensor_proto([PNG])
    huge.tensor_shape.dim[0].size = 2**40
    request.inputs["image_bytes"].CopyFrom(huge)
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"tensor parsing error: image_bytes has 1 values for the shape [{2**40}]",
    )
    request.model_spec.signature_name = "x"
    refused(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "x" not found.')
    request.model_spec.name = "none"
    request.model_spec.ClearField("version_label")
    refused(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(none)")


def test_metadata_status_and_health_over_grpc(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "many"
    answer = stub.GetModelMetadata(request, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert "compress_at_quality" in signatures.signature_def
    request.metadata_field[:] = ["weights"]
    with pytest.raises(grpc.RpcError, match="Metadata field weights is not supported"):
        stub.GetModelMetadata(request, timeout=60)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "one"
    states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, timeout=60)
    assert [v.version for v in states.model_version_status] == [5, 3]
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "one", "many"):
        found = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError):
        health.Check(health_pb2.HealthCheckRequest(service="none"), timeout=60)


def test_invalid_file_in_a_batch_fails_alone(server):
    data = golden_codec(ONE_RATE).compress(PHOTO)
    bodies = [{"instances": [b64(PNG)]}, {"instances": [b64(b"junk")]}] * 12
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda b: server.ask("/v1/models/one:predict", b), bodies))
    assert answers[::2] == [(200, {"predictions": [b64(data)]})] * 12
    assert {status for status, _ in answers[1::2]} == {400}


def metrics(server) -> str:
    with urllib.request.urlopen(f"{server.rest}/monitoring/prometheus/metrics") as answer:
        return answer.read().decode()


def test_metrics_and_log(server):
    server.ask("/v1/models/one:predict", {"instances": [b64(PNG)]})
    server.ask("/v1/models/../secret:predict", {"instances": ["x"]})
    text = metrics(server)
    ok = ':tensorflow:serving:request_count{model_name="one",status="OK"} '
    count = next(line for line in text.splitlines() if line.startswith(ok))
    assert float(count.removeprefix(ok)) >= 1
    assert ":tensorflow:serving:request_latency_bucket" in text
    assert "secret" not in text
    names = {line.partition("{")[0] for line in text.splitlines() if 'status="OK"' in line}
    assert names == {":tensorflow:serving:request_count"}
    # JSON from the first line: the process imports TensorFlow itself.
    lines = [json.loads(line) for line in server.lines]
    assert any("tensorflow/" in line.get("message", "") for line in lines[:9])
    requests = [line for line in lines if line.get("method") == "POST" and "bytes_in" in line]
    assert {"time", "model", "status", "ms", "bytes_out"} <= requests[-1].keys()


def test_version_and_configuration_changes(models, tmp_path):
    base = tmp_path / "swap"
    shutil.copytree(models / "one" / "3", base / "1")
    flags = (f"--model_base_path={base}", "--model_name=m", "--file_system_poll_wait_seconds=0.1")
    loading = running(*flags, until="listening")
    with loading as server, grpc.insecure_channel(server.grpc) as channel:
        # The first version is still loading.
        status, answer = server.ask("/v1/models/m")
        assert (status, answer["model_version_status"][0]["state"]) == (200, "LOADING")
        status, answer = server.ask("/v1/models/m:predict", {"instances": [b64(PNG)]})
        assert status == 503 and answer["error"] == "m is loading; try again later"
        server.wait_for("ready: 1 of 1 models are loaded")
        failures, stop = [], threading.Event()
        files = [golden_codec(name).compress(PHOTO) for name in (ONE_RATE, MANY_RATES)]
        right = [{"predictions": [b64(file)]} for file in files]

        def ask() -> None:
            while not stop.wait(0.05):
                status, answer = server.ask("/v1/models/m:predict", {"instances": [b64(PNG)]})
                if status != 200 or answer not in right:
                    failures.append(answer)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        (base / "2").mkdir()
        (base / "2" / "saved_model.pb").write_bytes(b"not a model")
        server.wait_for(r"m version 2: ")
        assert server.ask("/v1/models/m")[1]["model_version_status"][0]["state"] == "END"
        scratch = shutil.copytree(models / "many" / "1", base / "writing-copy")
        assert exporting._move(scratch, base, None).name == "3"
        server.wait_for("m version 1 is unloaded")
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        with clients.Client(server.rest, "m") as client:
            assert client.compress(PNG) == golden_codec(MANY_RATES).compress(PHOTO)

        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        config = model_server_config_pb2.ModelServerConfig()
        # An invalid configuration changes nothing.
        request.config.model_config_list.config.add(name="m", base_path="/no/such/folder")
        with pytest.raises(grpc.RpcError, match="m: there is no folder /no/such/folder") as caught:
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert server.ask("/v1/models/m:predict", {"instances": [b64(PNG)]}) == (200, right[1])
        one = config.model_config_list.config.add(name="n", base_path=str(models / "one"))
        one.version_labels["canary"] = 9
        request.config.CopyFrom(config)
        with pytest.raises(grpc.RpcError, match="assign label canary to version 9") as caught:
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        request.config.model_config_list.config[0].version_labels["canary"] = 5
        stub.HandleReloadConfigRequest(request, timeout=60)
        answer = server.ask("/v1/models/n/labels/canary:predict", {"instances": [b64(PNG)]})
        assert answer[0] == 200
        assert server.ask("/v1/models/m:predict", {"instances": ["x"]})[0] == 404

        # Accepted requests are answered after the signal to stop.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            large = {"instances": [b64(png(cropped(190, 200)))] * 10}
            waiting = [pool.submit(server.ask, "/v1/models/n:predict", large) for _ in range(4)]
            while ":batching_session:queued 0.0" in metrics(server):
                assert not any(future.done() for future in waiting)
            assert server.stop() == 0
            assert [future.result()[0] for future in waiting] == [200] * 4
        server.wait_for("stopped")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_base_path=/no/such/folder"], "there is no folder /no/such/folder"),
        ([], "give --model_config_file, or"),
        (["--model_config_file=/no/such/file"], "No such file"),
        (["--model_config_file=setup.py"], "setup.py: "),
    ],
)
def test_start_up_errors(flags, message):
    run = programs.run("-m", "serving.server", *flags)
    assert run.returncode == 1
    line = json.loads(run.stderr.strip().splitlines()[-1])
    assert message in line["message"]


def test_port_in_use(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = (f"--model_base_path={models}/many", f"--rest_api_port={port}", "--port=0")
        run = programs.run("-m", "serving.server", *flags)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "in use" in run.stderr


def test_export_and_client_commands(server, tmp_path):
    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return programs.run("-m", *map(str, command))

    weights = GOLDEN / f"{ONE_RATE}.npz"
    first = run("serving.export", f"--model={weights}", f"--base_path={tmp_path}/m")
    assert (first.returncode, first.stdout.strip()) == (0, f"{tmp_path}/m/1"), first.stderr
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1"]
    again = run("serving.export", f"--model={weights}", f"--base_path={tmp_path}/m", "--version=1")
    assert again.returncode == 1 and "versions cannot be overwritten" in again.stderr
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1"]
    (tmp_path / "a.png").write_bytes(PNG)
    flags = (f"--server={server.grpc}", "--model=many")
    done = run("serving.client", "compress", tmp_path / "a.png", "--quality=20", *flags)
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "a.tfcm").read_bytes()
    assert data == golden_codec(MANY_RATES).compress(PHOTO, 20)
    over = run("serving.client", "decompress", tmp_path / "a.tfcm", *flags)
    assert over.returncode == 1 and "exists; --force" in over.stderr
