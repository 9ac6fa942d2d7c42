"""Limits of the server: size, memory, queue, timeouts, and changing files."""

from __future__ import annotations

import base64
import concurrent.futures
import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests import programs
from tests.conftest import GOLDEN, cropped, golden_codec
from tests.server_process import ROOT, running
from tests.serving.test_page import file_of

NAME = "mbt2018-mean"
MEMORY = 64  # MiB for requests in flight.
PNG = file_of(cropped(300, 400))
CONFIG = "model_config_list {{ config {{ name: '{}' base_path: '{}' }} }}"


@pytest.fixture(scope="module")
def base(exported, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models") / "one"
    exported(NAME, folder)
    return folder


@pytest.fixture(scope="module")
def narrow(base):
    """Server that runs one call and queues one."""
    flags = ["--max_batch_size=1", "--max_enqueued_batches=1", "--num_batch_threads=1"]
    flags += [f"--model_base_path={base}", "--max_request_bytes=1000000"]
    flags += [f"--request_memory_mib={MEMORY}"]
    with running(*flags) as process:
        yield process


def bomb() -> bytes:
    """Returns a PNG file whose header states 60,000 × 60,000 pixels."""
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]


def request_of(data: bytes) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data]))
    return request


def test_full_queue(narrow):
    file = {"b64": base64.b64encode(golden_codec(NAME).compress(cropped(300, 400))).decode()}
    body = {"instances": [{"b64": base64.b64encode(PNG).decode()}]}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(narrow.ask, "/v1/models/default:predict", body) for _ in range(32)]
    answers = [one.result() for one in asked]
    assert {status for status, _ in answers} == {200, 429}
    assert all(a == {"predictions": [file]} for status, a in answers if status == 200)
    # Either the queue or the memory is exhausted.
    full = ("queue", "memory")
    assert all(any(w in a["error"] for w in full) for status, a in answers if status == 429)
    with grpc.insecure_channel(narrow.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict.future(request_of(PNG)) for _ in range(16)]
        codes = {call.code() for call in calls}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_limits_over_grpc(narrow):
    with grpc.insecure_channel(narrow.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request_of(bytes(2_000_000)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request_of(PNG), timeout=0.001)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # The expired request may occupy the only place in the queue for a while.
        for _ in range(100):
            try:
                answer = stub.Predict(request_of(PNG), timeout=60)
                break
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                time.sleep(0.1)
        assert answer.model_spec.version.value == 1


def resident(server) -> float:
    """Returns the resident memory in MiB."""
    pages = pathlib.Path(f"/proc/{server.process._process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def answered(server, path: str, body: object) -> None:
    """Waits until the server accepts a request again."""
    for _ in range(200):
        if server.ask(path, body)[0] == 200:
            return
        time.sleep(0.05)
    raise AssertionError("memory is held for ever")


def test_small_files_with_large_images_are_rejected(narrow):
    """Many concurrent requests are decoded only within the memory budget."""
    large = file_of(np.full((2000, 2000, 3), 90, np.uint8))
    body = {"instances": [{"b64": base64.b64encode(large).decode()}]}
    paths = [("/page/picture", large), ("/page/peer?name=jpeg&size=9000", large)]
    paths += [("/page/compress?model=default", large), ("/v1/models/default:predict", body)]
    before = resident(narrow)
    most = [before]
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(narrow.ask, *paths[i % 4]) for i in range(80)]
        while not all(one.done() for one in asked):
            most.append(resident(narrow))
            assert narrow.ask("/v1/models/default")[0] == 200
    answers = [one.result() for one in asked]
    # Requests that all hold their bytes may leave no memory for the image of any.
    assert 429 in {status for status, _ in answers} <= {200, 429}
    assert all("\n" not in a["error"] for status, a in answers if status == 429)
    # Without a budget, these requests need several gigabytes.
    assert max(most) < before + 700


def test_all_interfaces_share_the_memory_budget(narrow):
    """Incomplete requests hold memory."""
    host, port = narrow.rest.removeprefix("http://").split(":")
    head = b"POST /page/picture HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    sockets = []
    body = {"instances": [{"b64": base64.b64encode(PNG).decode()}]}
    ways = {
        "REST": ("/v1/models/default:predict", body),
        "page": ("/page/picture", PNG),
        "page, there and back": ("/page/compress?model=default", PNG),
    }

    try:
        while narrow.ask(*ways["page"])[0] == 200:
            assert 3 * 950_000 * len(sockets) < 2 * MEMORY * 2**20
            sockets.append(socket.create_connection((host, int(port))))
            sockets[-1].sendall(head + bytes(950_000))
            time.sleep(0.05)
        # Invalid images and images over the limits still get their errors.
        for junk, says in ((b"junk", "not an image"), (bomb(), "3,600,000,000 pixels, over")):
            instance = {"b64": base64.b64encode(junk).decode()}
            status, answer = narrow.ask(ways["REST"][0], {"instances": [instance]})
            assert status == 400 and says in answer["error"]
        for path, data in ways.values():
            status, answer = narrow.ask(path, data)
            assert status == 429 and "no memory for another request" in answer["error"]
        with grpc.insecure_channel(narrow.grpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError, match="no memory for another request") as caught:
                stub.Predict(request_of(PNG))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert narrow.ask("/v1/models/default")[0] == 200
    finally:
        for one in sockets:
            one.close()
    for way in ways.values():
        answered(narrow, *way)


def test_unread_response_holds_memory(narrow):
    host, port = narrow.rest.removeprefix("http://").split(":")
    noise = np.random.default_rng(0).integers(0, 256, (1000, 2000, 3), np.uint8)
    body = file_of(noise, "JPEG", quality=15)
    other = file_of(np.full((1000, 1900, 3), 90, np.uint8))  # Does not fit beside a response.
    head = f"POST /page/picture HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        connection.connect((host, int(port)))
        connection.sendall(head.encode() + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        for _ in range(20):
            assert narrow.ask("/page/picture", other)[0] == 429
        answered(narrow, "/page/picture", PNG)  # The response is reserved at its own size.
    answered(narrow, "/page/picture", other)


def test_output_of_c_libraries_is_json(narrow):
    file = bytearray(file_of(cropped(64, 64), "TIFF", compression="tiff_adobe_deflate"))
    file[200:240] = bytes(40)
    status, answer = narrow.ask("/page/picture", bytes(file))
    assert status == 400 and "the image is damaged" in answer["error"]
    narrow.wait_for("ZIPDecode: ")  # Printed by libtiff, a C library.
    assert all(isinstance(json.loads(line), dict) for line in narrow.lines)


def test_compressed_requests(narrow):
    path, packed = "/v1/models/default:predict", {"Content-Encoding": "gzip"}
    body = json.dumps({"instances": [{"b64": base64.b64encode(PNG).decode()}]}).encode()
    plain = narrow.ask(path, body)

    def ask(data: bytes, headers: dict[str, str] = packed) -> tuple[int, dict]:
        request = urllib.request.Request(narrow.rest + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    assert plain[0] == 200 and ask(gzip.compress(body)) == plain
    # A gzip file with several members.
    assert ask(gzip.compress(body[:50]) + gzip.compress(body[50:])) == plain
    assert ask(body, {"Content-Encoding": "identity"}) == plain
    # 100 kB that decompress to 100 MB, data that are not gzip, and truncated data.
    status, answer = ask(gzip.compress(bytes(10**8)))
    assert status == 413 and "larger than the server's limit of 1000000 bytes" in answer["error"]
    for data in (b"", b"x", body, gzip.compress(body)[:-1], gzip.compress(body) + b"x"):
        status, answer = ask(data)
        assert (status, answer["error"]) == (
            400,
            "the request's gzip data are damaged or truncated",
        )
    status, answer = ask(body, {"Content-Encoding": "br"})
    assert status == 415 and "Content-Encoding br is not supported" in answer["error"]


def test_disconnected_client_cancels_its_request(base):
    """A queued request of a disconnected client is not run."""
    flags = [f"--model_base_path={base}", "--max_batch_size=2", "--batch_timeout_micros=4000000"]
    with running(*flags) as server:
        host, port = server.rest.removeprefix("http://").split(":")
        body = b'{"instances": [{"b64": "%s"}]}' % base64.b64encode(PNG)
        head = f"POST /v1/models/default:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            time.sleep(0.5)
        server.wait_for(r'"status": "CANCELLED".*the client has disconnected', 3)
        time.sleep(4)
        with urllib.request.urlopen(f"{server.rest}/monitoring/prometheus/metrics") as answer:
            assert "batch_size_count" not in answer.read().decode()


@pytest.fixture(scope="module")
def polling(base, tmp_path_factory):
    """Server that polls its configuration, and the path of the configuration."""
    path = tmp_path_factory.mktemp("polling") / "config"
    path.write_text(CONFIG.format("first", base))
    flags = [f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=0.2"]
    with running(*flags, "--file_system_poll_wait_seconds=0.1") as server:
        yield server, path


def test_configuration_file_changes(base, polling):
    server, path = polling
    assert server.ask("/v1/models/first")[0] == 200
    path.write_text("model_config_list { config { name: ")  # Incomplete or invalid.
    server.wait_for('"level": "ERROR"')
    assert server.ask("/v1/models/first")[0] == 200
    path.write_text("")  # Parses as a configuration without models.
    server.wait_for("the configuration has no model_config_list")
    assert server.ask("/v1/models/first")[0] == 200
    path.write_text(CONFIG.format("second", base))
    server.wait_for("second version 1 is available")
    end = time.monotonic() + 20
    while server.ask("/v1/models/first")[0] == 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert server.ask("/v1/models/first")[0] == 404
    assert server.ask("/v1/models/second")[0] == 200


def test_killed_export_leaves_no_version(base, polling, tmp_path):
    """The server and the next export ignore its leftovers."""
    folder = tmp_path / "models"
    arguments = ["-m", "serving.export", f"--model={GOLDEN / NAME}.npz", f"--base_path={folder}"]
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(folder.glob("writing-*/*")) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert not left.name.isdecimal()
    shutil.copytree(base / "1", folder / "1")
    server, path = polling
    path.write_text(CONFIG.format("beside", folder))
    server.wait_for("beside version 1 is available")
    assert left.is_dir() and server.ask("/v1/models/beside")[0] == 200
    assert programs.run(*arguments).returncode == 0
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def conversation(server, *pieces: bytes) -> bytes:
    """Returns the output of a server on one connection until it closes or is silent."""
    host, port = server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.settimeout(3)
        said = b""
        try:
            while part := connection.recv(65536):
                said += part
        except TimeoutError:
            said += b"(open)"
    return said


def test_unusual_http_requests(narrow):
    head = b"HEAD /v1/models/default HTTP/1.1\r\nHost: a\r\n\r\n"
    assert conversation(narrow, head, head).count(b"HTTP/1.1 200") == 2
    for path in (b"/", b"/monitoring/prometheus/metrics", b"/page/main.js"):
        request = b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n" % path
        assert b"HTTP/1.1 200" in conversation(narrow, request)
    said = conversation(narrow, b"TRACE /v1/models/default HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"405" in said and b'{"error":"Malformed request: TRACE /v1/models/default"}' in said
    post = b"POST /v1/models/default:predict HTTP/1.1\r\nHost: a\r\n"
    said = conversation(
        narrow, post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert b"HTTP/1.1 400" in said and not said.endswith(b"(open)")
    # The rest of a body that is too large is read: its client reads no response before sending it.
    request = post + b"Content-Length: 2000000\r\n\r\n" + bytes(2_000_000)
    assert conversation(narrow, request, head).count(b"HTTP/1.1 413") == 1
    assert conversation(narrow, request, head).count(b"HTTP/1.1 200") == 1


def test_numbers_in_json(narrow):
    image = cropped(100, 80).tolist()
    path = "/v1/models/default:predict"
    request = {"signature_name": "compress_tensor", "inputs": image}
    data = base64.b64decode(narrow.ask(path, request)[1]["outputs"]["b64"])
    assert data == golden_codec(NAME).compress(cropped(100, 80))
    for value, says in (
        (256, "out of the range"),
        (1.5, "type float"),
        ("1", "type str"),
        (None, "NoneType"),
    ):
        odd = cropped(100, 80).tolist()
        odd[50][40][1] = value
        status, answer = narrow.ask(path, {**request, "inputs": odd})
        assert status == 400 and says in answer["error"]


def test_model_folder_is_replaced(exported, base, polling, tmp_path):
    other = tmp_path / "other"
    exported("bls2017", other)
    server, path = polling
    path.write_text(CONFIG.format("m", base))
    server.wait_for("m version 1 is available")
    path.write_text(CONFIG.format("m", tmp_path / "nowhere"))
    server.wait_for("m: there is no folder .*nowhere")
    assert server.ask("/v1/models/m")[0] == 200
    path.write_text(CONFIG.format("m", other))
    server.wait_for('"m version 1 is unloaded')
    body = {"instances": [{"b64": base64.b64encode(PNG).decode()}]}
    data = server.ask("/v1/models/m:predict", body)[1]["predictions"][0]["b64"]
    assert base64.b64decode(data) == golden_codec("bls2017").compress(cropped(300, 400))


def test_client_command_converts_images(narrow, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "phone.jpg"
    photo.write_bytes(file_of(cropped(40, 90), "JPEG", exif=exif))
    image = tmp_path / "picture.webp"
    image.write_bytes(file_of(cropped(40, 90), "WEBP", lossless=True))
    command = ["-m", "serving.client", f"--server={narrow.rest}", "compress"]
    assert programs.run(*command, str(photo), str(image)).returncode == 0
    codec = golden_codec(NAME)
    assert codec.decompress((tmp_path / "phone.tfcm").read_bytes()).shape == (90, 40, 3)
    assert (tmp_path / "picture.tfcm").read_bytes() == codec.compress(cropped(40, 90))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = programs.run(*command, str(tmp_path / "broken.png"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "not an image" in done.stderr
