"""Server processes for tests, accessed over sockets."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests import programs

ROOT = pathlib.Path(__file__).parents[1]


class ServerProcess:
    """Started server; `rest` and `grpc` are its addresses."""

    def __init__(self, *flags: str, forked: bool = True, until: str = "ready: ") -> None:
        arguments = ["-m", "serving.server", "--port=0", "--rest_api_port=0", *flags]
        if forked:
            self.process = programs.Program(*arguments)
            self.process.stdout.close()  # It writes nothing to stdout.
        else:
            # Full logging of TensorFlow's C++ code, which other tests silence.
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            found = self.wait_for(r"listening: REST at (\S+), gRPC at ([^\s\"]+)")
            self.wait_for(until)
        except AssertionError:
            self.process.kill()
            raise
        self.rest, self.grpc = f"http://{found[1]}", found[2]

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, pattern: str, seconds: float = 120.0) -> re.Match[str]:
        """Waits for a line of the log that matches and returns it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if result := re.search(pattern, line):
                    return result
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in\n" + "".join(self.lines))

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Returns the status and the decoded JSON of an answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.rest + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops the server and returns its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join(10)
        self.process.stderr.close()
        return status


def config_of(folder: pathlib.Path, *names: str) -> str:
    """Returns a flag with a configuration file for models in a folder."""
    models = "".join(f"config {{ name: '{n}' base_path: '{folder}/{n}' }}" for n in names)
    path = folder / "config"
    path.write_text(f"model_config_list {{ {models} }}")
    return f"--model_config_file={path}"


@contextlib.contextmanager
def running(*flags: str, forked: bool = True, until: str = "ready: ") -> Iterator[ServerProcess]:
    """Runs a server during the block, forked by `tests.programs` or as a new process.

    The block starts once the log contains `until`.
    """
    server = ServerProcess(*flags, forked=forked, until=until)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(60)
        if not server.process.stderr.closed:
            server._reader.join(10)
            server.process.stderr.close()
