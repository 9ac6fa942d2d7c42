"""Runs the server at saturation for minutes, checks all answers, and monitors its memory.

python -m benchmarks.soak --minutes 10

Seven requests in ten are good, half of them by REST and half by gRPC, and are compared bit for
bit with a direct call of the same SavedModel in this process. The others are junk: malformed, no
picture, a header that claims 3.6 gigapixels or has half a million parts, a large file with a
wrong fingerprint, gzip data of many empty members, a body over the limit, a client that leaves in
the middle of its request or before its answer. Ends with an error if a good request got anything
else than its right answer, if junk got anything else than a client's error, or if memory after
the first part strays by more than 5 %.

Then comes a burst (`--minutes 0`: alone): 40 clients at once post a PNG file of 58 kB and
4096×4096 pixels to /page/picture, 12 to /page/compress, and 12 to each of REST and gRPC. Its
bounds are the server's memory, and the time that status requests take meanwhile.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import collections
import gzip
import http.client
import io
import json
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.serving import CONCURRENCY, PREDICT, Server, photos, png, predict
from tfc_models.codec import container

PARTS = 10
REFUSED = "refused for now"  # A valid answer to a good request for which there is no capacity.
BURSTS = {"/page/picture": 40, "/page/compress?model=default": 12, PREDICT: 12, "gRPC": 12}
LARGEST_MEMORY = 3.5e9 / 2**20  # MiB
LONGEST_STATUS = 2.0  # seconds
INPUTS = {"compress": "image_bytes", "decompress": "bitstream_bytes"}


def bomb() -> bytes:
    """Returns a PNG file whose header claims 60,000 × 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    check = struct.pack(">I", binascii.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header) - 4) + header + check


def many_chunks() -> bytes:
    """Returns a PNG file with 500,000 empty chunks before its pixels."""
    chunk = struct.pack(">I", 0) + b"prVt" + struct.pack(">I", binascii.crc32(b"prVt"))
    return bomb() + chunk * 500_000


def large_file() -> bytes:
    """Returns a bitstream of 6 MB with a wrong fingerprint."""
    start = container.MAGIC + b"\1" + container.pack_name("a") + bytes(4)
    return start + container.varint(8) * 2 + bytes(6_000_000)


JUNK = {
    "empty": b"",
    "cut": b"{",
    "no picture": b'{"instances": ["not a picture"]}',
    "no base64": b'{"instances": [{"b64": "!"}]}',
    "no bitstream": b'{"signature_name": "decompress", "instances": ["not a file"]}',
    "no signature": b'{"signature_name": "none", "instances": ["x"]}',
    "bomb": predict("compress", bomb()),
    "many chunks": predict("compress", many_chunks()),
    "numbers": json.dumps(
        {"signature_name": "compress_tensor", "inputs": [[[255, 0, 256]] * 400] * 400}
    ).encode(),
}
# Requests to other addresses than predict's: path, body and headers.
PAGE_JUNK = {
    "large file": ("/page/decompress", large_file(), {}),
    "gzip members": ("/page/picture", gzip.compress(b"") * 300_000, {"Content-Encoding": "gzip"}),
}


class Client:
    """One thread's connections to the server."""

    def __init__(self, server: Server, good: list[tuple[str, bytes, bytes]], seed: int) -> None:
        self._address = server.address
        self._good, self._rng = good, random.Random(seed)
        self._rest = http.client.HTTPConnection(server.address, timeout=120)
        self._channel = grpc.insecure_channel(
            server.grpc, [("grpc.max_receive_message_length", -1)]
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def send(self) -> tuple[str, str]:
        """Sends a random request; returns its type and the error in its answer, if any."""
        draw = self._rng.random()
        if draw < 0.7:
            kind, ask = (
                ("good, REST", self._rest_good) if draw < 0.35 else ("good, gRPC", self._grpc_good)
            )
            problem = ask()
            return ("refused for now", "") if problem == REFUSED else (kind, problem)
        if draw < 0.9:
            name = self._rng.choice([*JUNK, *PAGE_JUNK])
            path, body, headers = PAGE_JUNK.get(name) or (PREDICT, JUNK[name], {})
            status, text = self._posted(body, path, headers)
            # Large requests may exceed the capacity, and a connection may be closed early.
            wanted = (0, 400, 429) if len(body) > 10**6 else (400,)
            return f"junk, {name}", "" if status in wanted else f"{status} {text[:100]!r}"
        jobs: list[Callable[[], tuple[str, str]]] = [self._grpc_junk, self._too_large, self._gone]
        return self._rng.choice(jobs)()

    def predicted(self, signature: str, data: bytes) -> bytes:
        """Returns the answer by gRPC."""
        answer = self._stub.Predict(self._request(signature, data), timeout=120)
        (found,) = next(iter(answer.outputs.values())).string_val
        return found

    def close(self) -> None:
        """Closes the connections."""
        self._rest.close()
        self._channel.close()

    def _posted(
        self, body: bytes, path: str = PREDICT, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        try:
            self._rest.request("POST", path, body, headers or {})
            answer = self._rest.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._rest.close()
            return 0, str(error).encode()

    def _rest_good(self) -> str:
        signature, data, expected = self._rng.choice(self._good)
        status, text = self._posted(predict(signature, data))
        if status == 429:
            return REFUSED
        if status != 200:
            return f"{status} {text[:100]!r}"
        found = base64.b64decode(json.loads(text)["predictions"][0]["b64"])
        return "" if found == expected else "other bytes than the direct call's"

    def _grpc_good(self) -> str:
        signature, data, expected = self._rng.choice(self._good)
        try:
            found = self.predicted(signature, data)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return REFUSED
            return f"{error.code()} {error.details()}"
        return "" if found == expected else "other bytes than the direct call's"

    def _request(self, signature: str, data: bytes) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "default", signature
        request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto([data]))
        return request

    def _grpc_junk(self) -> tuple[str, str]:
        request = self._request("compress", self._rng.choice([b"not a picture", bomb()]))
        try:
            self._stub.Predict(request, timeout=120)
        except grpc.RpcError as error:
            wanted = grpc.StatusCode.INVALID_ARGUMENT
            return "junk, gRPC", "" if error.code() is wanted else str(error)
        return "junk, gRPC", "answered"

    def _too_large(self) -> tuple[str, str]:
        with self._connected() as connection:
            connection.sendall(self._head(10**9))
            status = connection.recv(64).split(b" ")[1]
        return "junk, over the limit", "" if status == b"413" else str(status)

    def _gone(self) -> tuple[str, str]:
        """Sends half a request, or a whole one without reading the answer."""
        signature, data, _ = self._rng.choice(self._good)
        body = predict(signature, data)
        with self._connected() as connection:
            connection.sendall(
                self._head(len(body)) + body[: self._rng.choice([1, 2]) * len(body) // 2]
            )
        return "client gone", ""

    def _connected(self) -> socket.socket:
        host, port = self._address.split(":")
        return socket.create_connection((host, int(port)), 120)

    def _head(self, length: int) -> bytes:
        lines = f"POST {PREDICT} HTTP/1.1\r\nHost: server\r\nContent-Length: {length}\r\n\r\n"
        return lines.encode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="minutes of saturation; 0 for none"
    )
    minutes = parser.parse_args().minutes

    import tfc_models
    from tfc_models.serving.exporting import export

    codec = tfc_models.load("default")
    pictures = photos()
    # One image has the size of a phone's photos.
    pictures.append(np.asarray(Image.fromarray(pictures[0]).resize((3072, 2048))))
    files = [png(p) for p in pictures]
    streams = [codec.compress(p) for p in pictures]
    with tempfile.TemporaryDirectory() as folder:
        path = export(codec, folder, bfloat16="auto")
        signatures = tf.saved_model.load(str(path)).signatures
        good = []
        for name, inputs in (("compress", files), ("decompress", streams)):
            for data in inputs:
                outputs = signatures[name](**{INPUTS[name]: tf.constant([data])})
                good.append((name, data, next(iter(outputs.values())).numpy()[0]))
        if [expected for name, _, expected in good if name == "compress"] != streams:
            sys.exit("the export's bits are not the codec's")
        # On busy machines, accepted requests must still be completed.
        server = Server(folder, "--rest_api_timeout_in_ms=120000")
        try:
            if minutes:
                soak(server, good, minutes)
            burst(server)
        finally:
            server.stop()


def soak(server: Server, good: list[tuple[str, bytes, bytes]], minutes: float) -> None:
    """Sends requests in parts, the first for warm-up, and checks the memory after each."""
    kinds: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    memory: list[float] = []
    for part in range(PARTS + 1):
        until = time.monotonic() + minutes * 60.0 / PARTS

        def work(seed: int, until: float = until) -> None:
            client = Client(server, good, seed)
            while time.monotonic() < until:
                kind, problem = client.send()
                kinds[kind] += 1
                if problem:
                    wrong.append(f"{kind}: {problem}")
            client.close()

        threads = [
            threading.Thread(target=work, args=(part * CONCURRENCY + i,))
            for i in range(CONCURRENCY)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.append(server.memory())
        name = "warm-up" if part == 0 else f"{part / PARTS:.0%}"
        done = sum(count for kind, count in kinds.items() if kind.startswith("good"))
        print(f"{name}: {done} good so far, {len(wrong)} wrong, {memory[-1]:.0f} MiB", flush=True)
    middle = (max(memory[1:]) + min(memory[1:])) / 2.0
    stray = max(memory[1:]) / middle - 1.0
    for kind, count in sorted(kinds.items()):
        print(f"  {kind}: {count}")
    print(f"{len(wrong)} wrong; memory {middle:.0f} MiB ± {stray:.1%}")
    if wrong:
        sys.exit(wrong[0])
    if stray > 0.05:
        sys.exit("the memory is not flat")


class Watch:
    """Polls a server's memory and status."""

    def __init__(self, server: Server) -> None:
        self.memory, self.seconds, self.wrong = 0.0, 0.0, 0
        self._server, self._end = server, threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(look, pause))
            for look, pause in ((self._weigh, 0.02), (self._ask, 0.1))
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, look: Callable[[], None], pause: float) -> None:
        while not self._end.wait(pause):
            look()

    def _weigh(self) -> None:
        self.memory = max(self.memory, self._server.memory())

    def _ask(self) -> None:
        start = time.monotonic()
        connection = http.client.HTTPConnection(self._server.address, timeout=120)
        connection.request("GET", "/v1/models/default")
        answer = connection.getresponse()
        self.wrong += answer.status != 200 or b"AVAILABLE" not in answer.read()
        connection.close()
        self.seconds = max(self.seconds, time.monotonic() - start)


def burst(server: Server) -> None:
    """Sends many small files with large images at once, by all protocols."""
    file = io.BytesIO()
    Image.new("RGB", (4096, 4096), (90, 140, 200)).save(file, "PNG")
    picture = file.getvalue()
    before = server.memory()
    print(f"burst of files of {len(picture):,} bytes; {before:.0f} MiB before", flush=True)
    for path, count in BURSTS.items():
        answers: collections.Counter[str] = collections.Counter()

        def ask(path: str = path, answers: collections.Counter[str] = answers) -> None:
            if path == "gRPC":
                answers[_grpc_code(server, picture)] += 1
                return
            body = predict("compress", picture) if path == PREDICT else picture
            connection = http.client.HTTPConnection(server.address, timeout=120)
            connection.request("POST", path, body)
            answers[str(connection.getresponse().status)] += 1
            connection.close()

        start = time.monotonic()
        with Watch(server) as watch:
            threads = [threading.Thread(target=ask) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        seconds = time.monotonic() - start
        time.sleep(3.0)  # Memory is released a second after the last answer.
        print(
            f"  {count} × {path}: {dict(sorted(answers.items()))} in "
            f"{seconds:.1f} s; at most {watch.memory:.0f} MiB, status after "
            f"{watch.seconds:.2f} s at most; {server.memory():.0f} MiB after",
            flush=True,
        )
        done = answers.pop("200", 0) + answers.pop("OK", 0)
        if not done or set(answers) - {"429", "RESOURCE_EXHAUSTED"} or watch.wrong:
            sys.exit("a burst gets results and refusals, and the status is told throughout")
        if watch.memory > LARGEST_MEMORY or watch.seconds > LONGEST_STATUS:
            sys.exit(f"over {LARGEST_MEMORY:.0f} MiB or {LONGEST_STATUS} s")


def _grpc_code(server: Server, picture: bytes) -> str:
    client = Client(server, [], 0)
    try:
        client.predicted("compress", picture)
    except grpc.RpcError as error:
        return error.code().name
    finally:
        client.close()
    return "OK"


if __name__ == "__main__":
    main()
