"""Ctrl-C and SIGTERM: an end without half files, and without a long wait.

Python runs its signal handlers between two of its own steps; a large picture may be minutes in
one step of TensorFlow. So a thread watches for signals as well. If the main thread has not
come to its end after a moment of grace, the thread ends the process, as soon as no file is
being written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from tfc_models.cli import writing

GRACE_SECONDS = 1.0
SHOW_CURSOR = "\x1b[?25h"


class Terminated(BaseException):
    """SIGTERM or SIGHUP came: clean up and end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """Of a process that a signal has ended, as shells have it."""
    return 128 + number


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Signals end the block by an exception, KeyboardInterrupt or Terminated."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals.
        return
    handlers = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup has a program ignore SIGHUP: so be it.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            handlers[number] = signal.signal(number, _terminate)
    try:
        with _watched({signal.SIGINT, *handlers}):
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: Any) -> NoReturn:
    raise Terminated(number)


@contextlib.contextmanager
def _watched(numbers: set[int]) -> Iterator[None]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    ended = threading.Event()

    def watch() -> None:
        # Python writes a signal's number at once, whatever the main thread is doing; the end
        # of the block closes the pipe.
        while number := os.read(reader, 1):
            if number[0] in numbers and not ended.wait(GRACE_SECONDS):
                with writing.UNDERWAY:
                    _end(number[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


def _end(number: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{SHOW_CURSOR}")
        if number == signal.SIGINT:
            sys.stderr.write("tfc-models: interrupted.\n")
        sys.stderr.flush()
    os._exit(exit_code(number))
