"""Programs of the project, each in a process of its own that begins with TensorFlow imported.

To import it takes seconds, and the tests run a hundred programs. So a process that has imported
it, and done nothing with it, is forked for each of them (multiprocessing's "forkserver"). What
depends on the state of the importing, such as oneDNN's settings, needs a real new process, and so
do the tests of how a training, a server, an export and the command line begin.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection

ROOT = pathlib.Path(__file__).parents[1]
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tensorflow_compression", "scipy.optimize"])
LONGEST = 300.0  # seconds; what takes longer hangs, and is killed
# At their end tests wait for every process that they have begun: none may be left.
_begun: weakref.WeakSet[Program] = weakref.WeakSet()
atexit.register(lambda: [program.kill() for program in list(_begun)])


class Program:
    """What `subprocess.Popen` is to `python ARGUMENTS`: -m MODULE …, or -c CODE …."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._ends = [_forkserver.Pipe(duplex=False) for _ in range(2)]
        theirs = [end for _, end in self._ends]
        environment = dict(os.environ if environment is None else environment)
        self._process = _forkserver.Process(
            target=_run, args=(list(map(str, arguments)), environment, *theirs)
        )
        self._process.start()
        _begun.add(self)
        for end in theirs:
            end.close()
        self.stdout, self.stderr = (
            os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end, _ in self._ends
        )
        for end, _ in self._ends:
            end.close()

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.exitcode

    returncode = property(poll)

    def wait(self, seconds: float | None = None) -> int:
        """The exit status, once it has ended."""
        self._process.join(seconds)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, seconds)
        return status

    def send_signal(self, number: int) -> None:
        """Only to what still runs."""
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()

    def communicate(self) -> tuple[str, str]:
        """All that it says, to its end, which comes in time or by force."""
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
    """What `subprocess.run` of `python ARGUMENTS` gives, with what it said."""
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
