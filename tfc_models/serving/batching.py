"""Requests that wait for each other: a bounded queue, and workers that take batches from it.

A call of a signature costs what its pictures cost, whether they come one by one or together;
what a batch saves is the overhead of a call. What matters more is the rest: as many calls run
at a time as the machine has use for, what waits is bounded, and a request that is wrong fails
alone, whatever batch it was in.
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

from tfc_models.serving.errors import ServingError, exhausted, failed, invalid, unavailable
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.servable import Arrays, Servable
from tfc_models.serving.weighing import work_of

# Pixels that a batch of several requests may stand for: a request that waits for much larger
# ones in its own batch gets its answer when they are done.
LARGEST_BATCH = 2.0**21
# Pixels, for each worker, of larger calls that run at a time: a call takes memory by its pixels.
LARGE_CALLS = 2.0**23
QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"


@dataclasses.dataclass(frozen=True)
class Parameters:
    """As TF Serving's BatchingParameters name them."""

    max_batch_size: int
    batch_timeout_micros: int
    max_enqueued_batches: int
    num_batch_threads: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < (0 if field.name == "batch_timeout_micros" else 1):
                raise ValueError(f"{field.name} cannot be {value}.")

    @property
    def capacity(self) -> int:
        """How many examples may wait."""
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
    """Calls servables, a batch at a time."""

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
        """Queues a call; the future's result is what it gives.

        Raises:
            ServingError: the inputs are wrong, or too much waits already.
        """
        arrays, size = self.checked(servable, signature, inputs)
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        task = _Task(servable, signature, arrays, size, work_of(arrays), now, deadline)
        with self._changed:
            if self._closed:
                raise unavailable("the server is shutting down")
            if self._waiting + task.size > self.parameters.capacity:
                raise exhausted(QUEUE_FULL)
            servable.hold()
            self._tasks.append(task)
            self._wait_for(task.size)
            self._changed.notify_all()
        task.future.add_done_callback(lambda _: servable.let_go())
        # A task that was cancelled waits for a worker, and its inputs must not.
        task.future.add_done_callback(lambda _: task.inputs.clear())
        return task.future

    def checked(
        self, servable: Servable, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> tuple[Arrays, int]:
        """Inputs as the signature takes them, and how many examples they are.

        Raises:
            ServingError: the inputs are wrong.
        """
        arrays = servable.checked(signature, inputs)
        sizes = {len(a) for a in arrays.values()} if servable.batches(signature) else {1}
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
        """Refuses what would be refused later, before work is spent on it."""
        if self._waiting + size > self.parameters.capacity:
            raise exhausted(QUEUE_FULL)

    def close(self, seconds: float | None = None) -> bool:
        """Takes no more; returns when what was taken is answered, or False after `seconds`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        until = None if seconds is None else time.monotonic() + seconds
        for worker in self._workers:
            worker.join(None if until is None else max(until - time.monotonic(), 0.0))
        return not any(worker.is_alive() for worker in self._workers)

    def _wait_for(self, count: int) -> None:
        self._waiting += count
        self._metrics.queued.set(self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._oldest() is not None or (self._closed and not self._tasks)
                )
                if not self._tasks:
                    return
                batch = self._take(self._oldest())
                large = sum(task.weight for task in batch if task.weight > LARGEST_BATCH)
                self._large += large
            try:
                self._run(batch)
            except BaseException as error:  # A worker that ends would leave requests waiting.
                for task in batch:
                    if not task.future.done():
                        task.future.set_exception(failed(f"{type(error).__name__}: {error}"))
            if large:
                with self._changed:
                    self._large -= large
                    self._changed.notify_all()

    def _oldest(self) -> _Task | None:
        """The oldest task that may run now.

        Large ones wait for those before them, so that none is overtaken without end; small ones
        wait for no large one.
        """
        most = LARGE_CALLS * self.parameters.num_batch_threads
        waits = False  # whether an older large one does
        for task in self._tasks:
            if task.weight <= LARGEST_BATCH:
                return task
            if not waits and (not self._large or self._large + task.weight <= most):
                return task
            waits = True
        return None

    def _take(self, first: _Task) -> list[_Task]:
        """A task, and those that may go with it (called with the lock held)."""
        alone = first.weight > LARGEST_BATCH or not first.servable.batches(first.signature)
        until = first.arrived + self.parameters.batch_timeout_micros * 1e-6
        while not self._closed and not alone and (left := until - time.monotonic()) > 0:
            if self._size_for(first) >= self.parameters.max_batch_size:
                break
            self._changed.wait(left)
            if first not in self._tasks:
                return []  # Another worker took it.
        batch, size, weight, rest = [], 0, 0.0, collections.deque()
        for task in self._tasks:
            small = size + task.size <= self.parameters.max_batch_size
            small = small and weight + task.weight <= LARGEST_BATCH
            if task is first or (task.key == first.key and batch and small and not alone):
                batch.append(task)
                size += task.size
                weight += task.weight
            else:
                rest.append(task)
        self._tasks = rest
        self._wait_for(-size)
        return batch

    def _size_for(self, first: _Task) -> int:
        return sum(t.size for t in self._tasks if t.key == first.key)

    def _run(self, batch: list[_Task]) -> None:
        # A task that was cancelled, or waited too long, is not worth a call.
        batch = [t for t in batch if t.future.set_running_or_notify_cancel()]
        batch = [t for t in batch if not _is_late(t)]
        if not batch:
            return
        self._metrics.batch_size.labels(batch[0].servable.name).observe(sum(t.size for t in batch))
        try:
            results = _call(batch)
        except ServingError as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:  # One of them is wrong, and the others are not to suffer for it.
                for task in batch:
                    _answer_alone(task)
        else:
            for task, result in zip(batch, results):
                task.future.set_result(result)


def _is_late(task: _Task) -> bool:
    """Whether nobody waits for it any more; its future says so then."""
    late = task.deadline is not None and time.monotonic() > task.deadline
    if late:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        task.future.set_exception(ServingError(code, "the request waited past its deadline"))
    return late


def _answer_alone(task: _Task) -> None:
    if _is_late(task):
        return
    try:
        task.future.set_result(_call([task])[0])
    except Exception as error:
        error = error if isinstance(error, ServingError) else failed(str(error))
        task.future.set_exception(error)


def _call(batch: list[_Task]) -> list[Arrays]:
    first = batch[0]
    if len(batch) == 1:
        return [first.servable.call(first.signature, first.inputs)]
    joined = {k: np.concatenate([t.inputs[k] for t in batch]) for k in first.inputs}
    outputs = first.servable.call(first.signature, joined)
    total = sum(t.size for t in batch)
    if any(not v.ndim or len(v) != total for v in outputs.values()):
        raise failed(f"the outputs for {total} examples are not as many")
    ends = np.cumsum([t.size for t in batch])[:-1]
    parts = {k: np.split(v, ends) for k, v in outputs.items()}
    return [{k: v[i] for k, v in parts.items()} for i in range(len(batch))]
