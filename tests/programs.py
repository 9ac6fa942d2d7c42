"""Runs programs of the project in forked processes that have TensorFlow imported.

Importing TensorFlow takes seconds, and the tests run a hundred programs. Each program therefore
runs in a fork of a process that has only imported it (multiprocessing's "forkserver"). Tests of
settings that are read at import, such as oneDNN's, and of the start of training, servers, exports
and the command line, use a new process.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection

ROOT = pathlib.Path(__file__).parents[1]
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tensorflow_compression", "scipy.optimize"])
LONGEST = 300.0  # seconds, after which a program is considered hung and killed
# Tests wait for all processes that they started.
_begun: weakref.WeakSet[Program] = weakref.WeakSet()
atexit.register(lambda: [program.kill() for program in list(_begun)])


class Program:
    """Equivalent of `subprocess.Popen` for `python -m MODULE …` and `python -c CODE …`."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._ends = [_forkserver.Pipe(duplex=False) for _ in range(2)]
        write_ends = [end for _, end in self._ends]
        environment = dict(os.environ if environment is None else environment)
        self._process = _forkserver.Process(
            target=_run, args=(list(map(str, arguments)), environment, *write_ends)
        )
        self._process.start()
        _begun.add(self)
        for end in write_ends:
            end.close()
        self.stdout, self.stderr = (
            os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end, _ in self._ends
        )
        for end, _ in self._ends:
            end.close()

    def poll(self) -> int | None:
        """Returns the exit status, or None while the program runs."""
        return self._process.exitcode

    returncode = property(poll)

    def wait(self, seconds: float | None = None) -> int:
        """Waits for the end and returns the exit status."""
        self._process.join(seconds)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, seconds)
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal if the program still runs."""
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kills the program, as `kill -9` does."""
        self._process.kill()

    def communicate(self) -> tuple[str, str]:
        """Waits for the end, or kills the program at the timeout, and returns its output."""
        late = threading.Timer(LONGEST, self.kill)
        late.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                errors = pool.submit(self.stderr.read)
                return self.stdout.read(), errors.result()
        finally:
            late.cancel()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0]:
            self.kill()
        self.stdout.close()
        self.stderr.close()
        self.wait(LONGEST)


def run(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Equivalent of `subprocess.run` for `python ARGUMENTS`, with captured output."""
    with Program(*arguments, environment=environment) as program:
        said = program.communicate()
        return subprocess.CompletedProcess(arguments, program.wait(), *said)


def _run(
    arguments: list[str], environment: dict[str, str], stdout: Connection, stderr: Connection
) -> None:
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    stdout.close()
    stderr.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)
    kind, what, *sys.argv[1:] = arguments
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.exit(f"a program begins with -m or -c; got {kind}.")


def interrupt(code: str, photo: pathlib.Path, ready: bytes, name: str) -> tuple[int, bytes]:
    """Sends a signal to Python code after it printed a line. Returns its status and errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT), str(photo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == ready
        process.send_signal(getattr(signal, name))
        try:
            return process.wait(60), process.stderr.read()
        finally:
            process.kill()
