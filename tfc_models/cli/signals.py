"""Handling of Ctrl-C and SIGTERM: the process ends promptly and leaves no partial files.

Python runs signal handlers between two of its own instructions, and a large image may spend
minutes in one TensorFlow call. Therefore a thread watches for signals too. If the main thread has
not finished after a grace period, the thread ends the process as soon as no file is being written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from tfc_models.cli import output_files

GRACE_SECONDS = 1.0
SHOW_CURSOR = "\x1b[?25h"


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM and SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """Returns the exit code of a process that a signal has ended, as shells report it."""
    return 128 + number


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Makes signals end the block with an exception, KeyboardInterrupt or Terminated."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows only the main thread to handle signals.
        return
    handlers = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that is ignored already, as by nohup, stays ignored.
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
        # Python writes the number of a signal to the pipe immediately, even while the main thread
        # is inside a C call. The end of the block closes the pipe.
        while number := os.read(reader, 1):
            if number[0] in numbers and not ended.wait(GRACE_SECONDS):
                with output_files.WRITE_LOCK:
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
