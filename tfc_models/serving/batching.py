"""Request batching: a bounded queue, and worker threads that process batches from it.

A batch saves only the overhead of a call: the time per image is the same. The batcher mainly
limits concurrent calls and queued requests. An invalid request fails alone, not with its batch.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Mapping

import grpc
import numpy as np

from tfc_models.serving.errors import ServingError, internal, invalid, overloaded, unavailable
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.request_size import cost_of
from tfc_models.serving.servable import Arrays, Servable

# Limit on the pixels of a batch of several requests: all of them get their results when the whole
# batch is done, so a large image would delay small ones.
MAX_BATCH_PIXELS = 2.0**21
# Pixels per worker of concurrent larger calls: the memory of a call is proportional to its pixels.
MAX_LARGE_CALL_PIXELS = 2.0**23
QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Batching parameters, named like those of TF Serving's BatchingParameters."""

    max_batch_size: int
    batch_timeout_micros: int
    max_enqueued_batches: int
    num_batch_threads: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < (0 if field.name == "batch_timeout_micros" else 1):
                raise ValueError(f"{field.name} must not be {value}.")

    @property
    def capacity(self) -> int:
        """Maximum number of queued examples."""
        return self.max_batch_size * self.max_enqueued_batches


@dataclasses.dataclass(eq=False)
class _Task:
    servable: Servable
    signature: str
    inputs: Arrays
    size: int
    weight: float
    arrived: float
    deadline: float | None
    future: concurrent.futures.Future = dataclasses.field(default_factory=concurrent.futures.Future)

    @property
    def key(self) -> tuple[int, str]:
        return id(self.servable), self.signature


class Batcher:
    """Queues requests and calls servables with batches of them."""

    def __init__(self, parameters: Parameters, metrics: Metrics) -> None:
        self.parameters = parameters
        self._metrics = metrics
        self._tasks: collections.deque[_Task] = collections.deque()
        self._waiting, self._large = 0, 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._work, name=f"batch-{i}", daemon=True)
            for i in range(parameters.num_batch_threads)
        ]
        for worker in self._workers:
            worker.start()

    def submit(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        timeout: float | None = None,
    ) -> concurrent.futures.Future:
        """Queues a call. Returns a future of its outputs.

        Raises:
            ServingError: the inputs are invalid, or the queue is full.
        """
        arrays, size = self.checked_inputs(servable, signature, inputs)
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        task = _Task(servable, signature, arrays, size, cost_of(arrays), now, deadline)
        with self._changed:
            if self._closed:
                raise unavailable("the server is shutting down")
            if self._waiting + task.size > self.parameters.capacity:
                raise overloaded(QUEUE_FULL)
            servable.acquire()
            self._tasks.append(task)
            self._add_waiting(task.size)
            self._changed.notify_all()
        task.future.add_done_callback(lambda _: servable.release())
        # A cancelled task stays in the queue until a worker takes it; its inputs are freed now.
        task.future.add_done_callback(lambda _: task.inputs.clear())
        return task.future

    def checked_inputs(
        self, servable: Servable, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> tuple[Arrays, int]:
        """Returns the inputs with defaults filled in, and their number of examples.

        Raises:
            ServingError: the inputs are invalid.
        """
        arrays = servable.checked_inputs(signature, inputs)
        sizes = {len(a) for a in arrays.values()} if servable.supports_batching(signature) else {1}
        if len(sizes) > 1:
            raise invalid("Batching input tensors must have equal 0th-dimension size")
        (size,) = sizes
        if not size:
            raise invalid("Batching input tensors must have at least one example")
        if size > self.parameters.max_batch_size:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{self.parameters.max_batch_size}"
            )
        return arrays, size

    def check_room(self, size: int = 1) -> None:
        """Raises ServingError if the queue is full, before work is spent on a request."""
        if self._waiting + size > self.parameters.capacity:
            raise overloaded(QUEUE_FULL)

    def close(self, seconds: float | None = None) -> bool:
        """Rejects new requests and waits for the accepted ones. Returns False after `seconds`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        until = None if seconds is None else time.monotonic() + seconds
        for worker in self._workers:
            worker.join(None if until is None else max(until - time.monotonic(), 0.0))
        return not any(worker.is_alive() for worker in self._workers)

    def _add_waiting(self, count: int) -> None:
        self._waiting += count
        self._metrics.queued.set(self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._next_task() is not None or (self._closed and not self._tasks)
                )
                first = self._next_task()
                if first is None:
                    return
                batch = self._take(first)
                large = sum(task.weight for task in batch if task.weight > MAX_BATCH_PIXELS)
                self._large += large
            try:
                self._run(batch)
            except BaseException as error:  # The worker must survive: requests wait for it.
                for task in batch:
                    if not task.future.done():
                        task.future.set_exception(internal(f"{type(error).__name__}: {error}"))
            if large:
                with self._changed:
                    self._large -= large
                    self._changed.notify_all()

    def _next_task(self) -> _Task | None:
        """Returns the oldest task that may run now.

        Large tasks run in order, so that none is postponed indefinitely. Small tasks do not wait
        for large ones.
        """
        most = MAX_LARGE_CALL_PIXELS * self.parameters.num_batch_threads
        waits = False  # Whether an older large task waits.
        for task in self._tasks:
            if task.weight <= MAX_BATCH_PIXELS:
                return task
            if not waits and (not self._large or self._large + task.weight <= most):
                return task
            waits = True
        return None

    def _take(self, first: _Task) -> list[_Task]:
        """Removes a task and others of the same batch from the queue. The caller holds the lock."""
        alone = first.weight > MAX_BATCH_PIXELS or not first.servable.supports_batching(
            first.signature
        )
        until = first.arrived + self.parameters.batch_timeout_micros * 1e-6
        while not self._closed and not alone and (left := until - time.monotonic()) > 0:
            if self._size_for(first) >= self.parameters.max_batch_size:
                break
            self._changed.wait(left)
            if first not in self._tasks:
                return []  # Another worker took it.
        batch: list[_Task] = []
        rest: collections.deque[_Task] = collections.deque()
        size, weight = 0, 0.0
        for task in self._tasks:
            small = size + task.size <= self.parameters.max_batch_size
            small = small and weight + task.weight <= MAX_BATCH_PIXELS
            if task is first or (task.key == first.key and batch and small and not alone):
                batch.append(task)
                size += task.size
                weight += task.weight
            else:
                rest.append(task)
        self._tasks = rest
        self._add_waiting(-size)
        return batch

    def _size_for(self, first: _Task) -> int:
        return sum(t.size for t in self._tasks if t.key == first.key)

    def _run(self, batch: list[_Task]) -> None:
        # Cancelled and expired tasks are dropped.
        batch = [t for t in batch if t.future.set_running_or_notify_cancel()]
        batch = [t for t in batch if not _expired(t)]
        if not batch:
            return
        self._metrics.batch_size.labels(batch[0].servable.name).observe(sum(t.size for t in batch))
        try:
            results = _call(batch)
        except ServingError as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:  # One task is invalid; running each alone lets the others succeed.
                for task in batch:
                    _run_alone(task)
        else:
            for task, result in zip(batch, results):
                task.future.set_result(result)


def _expired(task: _Task) -> bool:
    """Returns whether the deadline of a task has passed, and then fails its future."""
    late = task.deadline is not None and time.monotonic() > task.deadline
    if late:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        task.future.set_exception(ServingError(code, "the request waited past its deadline"))
    return late


def _run_alone(task: _Task) -> None:
    if _expired(task):
        return
    try:
        task.future.set_result(_call([task])[0])
    except Exception as error:
        error = error if isinstance(error, ServingError) else internal(str(error))
        task.future.set_exception(error)


def _call(batch: list[_Task]) -> list[Arrays]:
    first = batch[0]
    if len(batch) == 1:
        return [first.servable.call(first.signature, first.inputs)]
    joined = {k: np.concatenate([t.inputs[k] for t in batch]) for k in first.inputs}
    outputs = first.servable.call(first.signature, joined)
    total = sum(t.size for t in batch)
    if any(not v.ndim or len(v) != total for v in outputs.values()):
        raise internal(f"the model did not return one output for each of {total} examples")
    ends = np.cumsum([t.size for t in batch])[:-1]
    parts = {k: np.split(v, ends) for k, v in outputs.items()}
    return [{k: v[i] for k, v in parts.items()} for i in range(len(batch))]
