"""Memory for requests in flight: one budget over REST, gRPC and the page."""

from __future__ import annotations

import concurrent.futures
import ctypes
import threading
from collections.abc import Callable
from typing import Any

from tfc_models.serving.errors import exhausted

BYTE_COST = 3  # copies of a request's bytes: as they came, parsed, and the values in that
PIXEL_COST = 32  # bytes for each pixel: decoded picture, latents, result, and its encodings
# A search (effort above 0) holds activations and gradients of one window of the picture after the
# other. Measured with the zoo's default model, as growth of the process's peak by a call of effort
# 1, beyond that by one of effort 0: 29 MiB for 256×256 pixels, 99 for 512×512, 214 for 768×768,
# 474 for 2304×2304. Other tunings hold the activations of their metrics as well.
SEARCH_PIXEL_COST = 400  # bytes for each pixel of a window
SEARCH_WINDOW = 1024 * 1024  # pixels of the largest window, margin included
SEARCHED_PIXEL_COST = 64  # bytes for each pixel of the whole: pictures as floats, for the cost
TRIM_BYTES = 64 * 2**20  # released since the last trim: then there is another
TRIM_SECONDS = 1.0  # after that, when answers have gone as well
NO_MEMORY = "the server holds as many requests as it has memory for; try again later"


class Budget:
    """Bytes of memory that requests in flight hold together.

    A request that needs more than the whole budget is accepted when nothing else is held.
    """

    def __init__(self, total: int) -> None:
        self.total, self._held, self._released = total, 0, 0
        self._trims = False
        self._lock = threading.Lock()

    def share(self) -> Share:
        """An empty share, for one request; use it as a context manager."""
        return Share(self)

    def _take(self, count: int, own: int) -> None:
        with self._lock:
            if self._held + count > self.total and self._held > own:
                raise exhausted(NO_MEMORY)
            self._held += count

    def _give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count
            self._released += max(count, 0)
            begins = self._released >= TRIM_BYTES and not self._trims
            self._trims |= begins
        if begins:
            timer = threading.Timer(TRIM_SECONDS, self._trim)
            timer.daemon = True
            timer.start()

    def _trim(self) -> None:
        with self._lock:
            self._trims, self._released = False, 0
        trim()


class Share:
    """One request's part of a budget, held until the request and all of its work have ended."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._size, self._holders = budget, 0, 1
        self._lock = threading.Lock()
        self._at_end: list[Callable[[], None]] = []

    def at_end(self, release: Callable[[], None]) -> None:
        """Calls `release` once, when the work of the request has ended."""
        with self._lock:
            self._at_end.append(release)

    def _end_work(self) -> None:
        with self._lock:
            releases, self._at_end = self._at_end, []
        for release in releases:
            release()

    def take(self, byte_count: int = 0, pixels: float = 0.0) -> None:
        """Adds what more bytes or pixels cost.

        Raises:
            ServingError: the budget has no room for it.
        """
        count = BYTE_COST * byte_count + PIXEL_COST * int(pixels)
        self._budget._take(count, self._size)
        self._size += count

    def take_search(self, pixels: int) -> None:
        """Adds what the search of better integers for one picture costs.

        Raises:
            ServingError: the budget has no room for it.
        """
        count = SEARCH_PIXEL_COST * min(pixels, SEARCH_WINDOW) + SEARCHED_PIXEL_COST * pixels
        self._budget._take(count, self._size)
        self._size += count

    def until(self, future: concurrent.futures.Future) -> concurrent.futures.Future:
        """Keeps the share at least until work has ended, which a timeout does not end."""
        with self._lock:
            self._holders += 1
        future.add_done_callback(lambda _: self._let_go())
        return future

    def keep_answer(self, byte_count: int) -> None:
        """Holds what an answer of some bytes costs, and nothing else: the work has ended.

        It is never refused: the answer is there already.
        """
        self._end_work()
        before, self._size = self._size, BYTE_COST * byte_count
        self._budget._give_back(before - self._size)

    def _let_go(self) -> None:
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            self._end_work()
            self._budget._give_back(self._size)

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()


class Workers:
    """Threads with a bounded queue."""

    def __init__(self, name: str, threads: int, waiting: int, refusal: str) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.Semaphore(threads + waiting)
        self._refusal = refusal

    def submit(self, job: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
        """Queues a job.

        Raises:
            ServingError: the queue is full.
        """
        if not self._free.acquire(blocking=False):
            raise exhausted(self._refusal)
        # The pool keeps a cancelled item in its queue: that must not keep the arguments.
        held = [(job, arguments)]
        future = self._pool.submit(_run, held)
        future.add_done_callback(lambda _: held.clear())
        future.add_done_callback(lambda _: self._free.release())
        return future


def _run(held: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> Any:
    job, arguments = held.pop()
    return job(*arguments)


def trim() -> None:
    """Returns freed memory to the system, which the C library otherwise keeps."""
    if release := getattr(ctypes.CDLL(None), "malloc_trim", None):
        release(0)
