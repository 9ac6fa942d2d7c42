"""Memory budget for requests in flight, shared by REST, gRPC and the web page."""

from __future__ import annotations

import concurrent.futures
import ctypes
import threading
from collections.abc import Callable
from typing import Any

from tfc_models.serving.errors import overloaded

BYTE_COST = 3  # Bytes per byte of a request: its body, the parsed message, and the tensor.
PIXEL_COST = 32  # Bytes per pixel of the decoded image, latents, result and encoded result.
# A search (effort above 0) holds activations and gradients of one window of the image at a time.
# Measured with the zoo's default model: peak memory of a call with effort 1 minus that of a call
# with effort 0 is 29 MiB for 256×256 pixels, 99 for 512×512, 214 for 768×768, 474 for 2304×2304.
# Searches for a metric (`tune`) also hold the activations of that metric.
SEARCH_WINDOW_BYTES_PER_PIXEL = 400
MAX_SEARCH_WINDOW_PIXELS = 1024 * 1024  # Including the margin.
SEARCH_IMAGE_BYTES_PER_PIXEL = 64  # Float copies of the image, for the rate–distortion cost.
TRIM_BYTES = 64 * 2**20  # Released bytes that trigger a trim.
TRIM_SECONDS = 1.0  # Delay of a trim, so that responses that are being sent are freed as well.
NO_MEMORY = "the server has no memory for another request; try again later"


class Budget:
    """Limit on the memory that all requests in flight hold together, in bytes.

    A request that needs more than the whole budget is accepted if no other request holds memory.
    """

    def __init__(self, total: int) -> None:
        self.total, self._held, self._released = total, 0, 0
        self._trim_scheduled = False
        self._lock = threading.Lock()

    def reserve(self) -> Reservation:
        """Returns an empty reservation for one request, a context manager."""
        return Reservation(self)

    def _take(self, count: int, already_held: int) -> None:
        with self._lock:
            if self._held + count > self.total and self._held > already_held:
                raise overloaded(NO_MEMORY)
            self._held += count

    def _give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count
            self._released += max(count, 0)
            should_schedule = self._released >= TRIM_BYTES and not self._trim_scheduled
            self._trim_scheduled |= should_schedule
        if should_schedule:
            timer = threading.Timer(TRIM_SECONDS, self._trim)
            timer.daemon = True
            timer.start()

    def _trim(self) -> None:
        with self._lock:
            self._trim_scheduled, self._released = False, 0
        trim()


class Reservation:
    """Memory of one request, held until it ends and all futures given to `hold_until` are done."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._size, self._holders = budget, 0, 1
        self._lock = threading.Lock()
        self._on_release: list[Callable[[], None]] = []

    def on_work_done(self, release: Callable[[], None]) -> None:
        """Registers a function to call once, when no work of the request uses its memory."""
        with self._lock:
            self._on_release.append(release)

    def _end_work(self) -> None:
        with self._lock:
            releases, self._on_release = self._on_release, []
        for release in releases:
            release()

    def take(self, byte_count: int = 0, pixels: float = 0.0) -> None:
        """Reserves the memory to process that many bytes of a request and pixels of its images.

        Raises:
            ServingError: the budget is exhausted.
        """
        count = BYTE_COST * byte_count + PIXEL_COST * int(pixels)
        self._budget._take(count, self._size)
        self._size += count

    def take_search(self, pixels: int) -> None:
        """Reserves the memory of an encoder search for one image.

        Raises:
            ServingError: the budget is exhausted.
        """
        count = (
            SEARCH_WINDOW_BYTES_PER_PIXEL * min(pixels, MAX_SEARCH_WINDOW_PIXELS)
            + SEARCH_IMAGE_BYTES_PER_PIXEL * pixels
        )
        self._budget._take(count, self._size)
        self._size += count

    def hold_until(self, future: concurrent.futures.Future) -> concurrent.futures.Future:
        """Keeps the reservation until a future is done, even if the request times out before."""
        with self._lock:
            self._holders += 1
        future.add_done_callback(lambda _: self._release())
        return future

    def shrink_to_response(self, byte_count: int) -> None:
        """Reduces the reservation to the memory of a response, after the work has ended.

        It never fails, because the response exists already.
        """
        self._end_work()
        before, self._size = self._size, BYTE_COST * byte_count
        self._budget._give_back(before - self._size)

    def _release(self) -> None:
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            self._end_work()
            self._budget._give_back(self._size)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()


class Workers:
    """Thread pool with a bounded queue."""

    def __init__(self, name: str, threads: int, max_queued: int, full_message: str) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.Semaphore(threads + max_queued)
        self._full_message = full_message

    def submit(self, job: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
        """Queues a job. Returns the future of its result.

        Raises:
            ServingError: the queue is full.
        """
        if not self._free.acquire(blocking=False):
            raise overloaded(self._full_message)
        # The executor keeps cancelled jobs in its queue; clearing a list frees their arguments.
        held = [(job, arguments)]
        future = self._pool.submit(_run, held)
        future.add_done_callback(lambda _: held.clear())
        future.add_done_callback(lambda _: self._free.release())
        return future


def _run(held: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> Any:
    job, arguments = held.pop()
    return job(*arguments)


def trim() -> None:
    """Returns freed memory to the operating system, which the C library otherwise keeps."""
    if release := getattr(ctypes.CDLL(None), "malloc_trim", None):
        release(0)
