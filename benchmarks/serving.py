"""Compares the server to direct calls of the codec: images per second, and latencies.

python -m benchmarks.serving
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

CONCURRENCY = 8
ROUND_SECONDS = 8.0
PREDICT = "/v1/models/default:predict"


def photos() -> list[np.ndarray]:
    """Returns crops of 768×512 from scikit-image's photos."""
    from skimage import data

    pictures = []
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        picture = Image.fromarray(getattr(data, name)()).resize(
            (768, 512), Image.Resampling.LANCZOS
        )
        pictures.append(np.asarray(picture))
    return pictures


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def predict(signature: str, data: bytes) -> bytes:
    instance = {"b64": base64.b64encode(data).decode("ascii")}
    return json.dumps({"signature_name": signature, "instances": [instance]}).encode("ascii")


class Server:
    """A server process of the zoo's default model."""

    def __init__(self, base_path: str, *flags: str) -> None:
        command = [sys.executable, "-m", "serving.server", f"--model_base_path={base_path}"]
        command += ["--port=0", "--rest_api_port=0", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening" in line:
                self.address, self.grpc = re.findall(r"(?:REST|gRPC) at ([\w.:]+)", line)
            if "ready: " in line:
                break
        else:
            sys.exit("the server did not start")
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        for _ in self.process.stderr:
            pass

    def memory(self) -> float:
        """Resident memory in MiB."""
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Load:
    """Threads that send requests in sequence until a given time."""

    def __init__(self, address: str, choose, seconds: float, threads: int = CONCURRENCY) -> None:
        self.latencies: list[float] = []
        self.wrong: list[str] = []
        self._address, self._choose = address, choose
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        started = time.monotonic()
        workers = [threading.Thread(target=self._work, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.seconds = time.monotonic() - started

    def _work(self, seed: int) -> None:
        rng = random.Random(seed)
        connection = http.client.HTTPConnection(self._address, timeout=120)
        while time.monotonic() < self._until:
            body, expected = self._choose(rng)
            start = time.monotonic()
            try:
                connection.request("POST", PREDICT, body)
                answer = connection.getresponse()
                text, latency = answer.read(), time.monotonic() - start
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.wrong.append(f"no answer: {error}")
                connection.close()
                continue
            with self._lock:
                self.latencies.append(latency)
                if answer.status != 200 or text != expected:
                    self.wrong.append(f"{answer.status} {text[:100]!r}")
        connection.close()

    def line(self, name: str) -> str:
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1e3
        rate = len(self.latencies) / self.seconds
        return f"{name}: {rate:.2f} pictures/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def answers(server: Server, bodies: list[bytes]) -> list[bytes]:
    """Returns the server's answers to single requests."""
    connection = http.client.HTTPConnection(server.address, timeout=120)
    found = []
    for body in bodies:
        connection.request("POST", PREDICT, body)
        found.append(connection.getresponse().read())
    connection.close()
    return found


def main() -> None:
    import tfc_models
    from tfc_models.serving.exporting import export

    codec = tfc_models.load("default")
    files = [png(p) for p in photos()]
    streams = [codec.compress(p) for p in photos()]
    with tempfile.TemporaryDirectory() as folder:
        export(codec, folder, bfloat16="auto")
        server = Server(folder)
        try:
            compare(server, codec, files, streams)
        finally:
            server.stop()


def expected_of(stream: bytes) -> bytes:
    body = {"predictions": [{"b64": base64.b64encode(stream).decode("ascii")}]}
    return json.dumps(body).encode("ascii")


def direct_rate(direct, count: int, threads: int) -> float:
    """Returns the total calls per second of several threads."""
    start = time.monotonic()
    done = []

    def work(first: int) -> None:
        i = first
        while time.monotonic() - start < ROUND_SECONDS:
            direct(i % count)
            done.append(i)
            i += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(done) / (time.monotonic() - start)


def compare(server: Server, codec, files: list[bytes], streams: list[bytes]) -> None:
    """Measures direct calls and requests in alternation."""

    def direct_compress(i: int) -> None:
        codec.compress(np.asarray(Image.open(io.BytesIO(files[i])).convert("RGB")))

    def direct_decompress(i: int) -> None:
        png(codec.decompress(streams[i]))

    back = [predict("decompress", s) for s in streams]
    pictures = answers(server, back)
    jobs = {
        "compress": (direct_compress, [predict("compress", f) for f in files]),
        "decompress": (direct_decompress, back),
    }
    expected = {"compress": [expected_of(s) for s in streams], "decompress": pictures}
    for name, (direct, bodies) in jobs.items():
        direct(0)
        rates = {"direct": [], "at a time": [], "server": []}
        for _ in range(3):
            rates["direct"].append(direct_rate(direct, len(files), 1))
            rates["at a time"].append(direct_rate(direct, len(files), CONCURRENCY))

            def choose(rng: random.Random, bodies=bodies, name=name) -> tuple[bytes, bytes]:
                i = rng.randrange(len(bodies))
                return bodies[i], expected[name][i]

            load = Load(server.address, choose, ROUND_SECONDS)
            rates["server"].append(len(load.latencies) / load.seconds)
            print(load.line(f"{name}, {CONCURRENCY} at a time"), flush=True)
            if load.wrong:
                sys.exit(f"{len(load.wrong)} wrong answers: {load.wrong[0]}")
        for kind, words in (("direct", "one by one"), ("at a time", f"{CONCURRENCY} at a time")):
            shown = ", ".join(f"{r:.2f}" for r in rates[kind])
            ratios = ", ".join(f"{r:.2f}" for r in np.array(rates["server"]) / rates[kind])
            print(f"{name}: direct calls {words} {shown} pictures/s; server / direct {ratios}")


if __name__ == "__main__":
    main()
