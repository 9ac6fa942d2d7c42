"""A server as its users start it: a process, spoken to over sockets."""

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
    """A started server; `rest` and `grpc` are where it listens."""

    def __init__(self, *flags: str, forked: bool = True, until: str = "ready: ") -> None:
        arguments = ["-m", "serving.server", "--port=0", "--rest_api_port=0", *flags]
        if forked:
            self.process = programs.Program(*arguments)
            self.process.stdout.close()  # It says nothing there.
        else:
            # The most that TensorFlow's C++ can say, which the tests silence elsewhere.
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
        """A line of the log that matches."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in\n" + "".join(self.lines))

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Status and decoded JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.rest + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; returns its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join(10)
        self.process.stderr.close()
        return status


def config_of(folder: pathlib.Path, *names: str) -> str:
    """A configuration file for models of these names in a folder, as a flag."""
    models = "".join(f"config {{ name: '{n}' base_path: '{folder}/{n}' }}" for n in names)
    path = folder / "config"
    path.write_text(f"model_config_list {{ {models} }}")
    return f"--model_config_file={path}"


@contextlib.contextmanager
def running(*flags: str, forked: bool = True, until: str = "ready: ") -> Iterator[ServerProcess]:
    """A server for as long as the block runs; of `tests.programs`, or of its own import.

    The block begins when the log has said `until`.
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
