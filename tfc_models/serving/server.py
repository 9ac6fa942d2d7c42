"""A server of SavedModels behind TF Serving's protocol, REST and gRPC."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import uvicorn
from absl import logging

from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE
from tfc_models.serving import page as pages
from tfc_models.serving.batching import Batcher, Parameters
from tfc_models.serving.connections import TimedConnection
from tfc_models.serving.errors import ServingError
from tfc_models.serving.grpc_server import GrpcServer
from tfc_models.serving.manager import ConfigFile, Manager, ServerConfig
from tfc_models.serving.memory import Budget
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.page import Page
from tfc_models.serving.rest import application
from tfc_models.serving.service import Limits, Service

KEEP_ALIVE_SECONDS = 75
ERRORS = (ServingError, ValueError, OSError, RuntimeError)
"""What a server may fail with as it starts: an address in use, a bad configuration."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        host: address to listen at; 0.0.0.0 for all.
        port: for gRPC; 0 picks a free one.
        rest_port: for REST; 0 picks a free one.
        config_file: the models' configuration, which is read again if config_poll is not 0.
        config_poll: seconds between two readings.
        poll: seconds between two looks for new versions.
        max_batch_size: examples in a call, or a request.
        batch_timeout_micros: how long a batch waits to fill.
        max_enqueued_batches: batches that wait; more answer 429.
        num_batch_threads: calls that run at a time.
        max_request_bytes: larger requests are refused.
        rest_timeout: seconds that a REST request may take; then 504.
        request_memory: bytes for all requests in flight; more answer 429.
        max_pixels: larger pictures are refused, whatever the model takes.
        max_side: longer sides are refused.
        page: whether the page is at /.
        page_max_pixels: larger pictures are refused by the page.
        shutdown_seconds: time at the end for requests that were accepted.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int = 8501
    config_file: str | None = None
    config_poll: float = 0.0
    poll: float = 1.0
    max_batch_size: int = 16
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 8
    num_batch_threads: int = os.cpu_count() or 1
    max_request_bytes: int = 64 * 2**20
    rest_timeout: float = 30.0
    request_memory: int = 1536 * 2**20
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_side: int = DEFAULT_MAX_SIDE
    page: bool = True
    page_max_pixels: int = pages.DEFAULT_MAX_PIXELS
    shutdown_seconds: float = 30.0


class Server:
    """A manager, a batcher, and the two transports."""

    def __init__(self, config: ServerConfig, settings: Settings) -> None:
        self._settings = settings
        self._socket = socket.create_server((settings.host, settings.rest_port))
        self._stopping, self._status = threading.Event(), 0
        metrics = Metrics()
        parameters = Parameters(
            settings.max_batch_size,
            settings.batch_timeout_micros,
            settings.max_enqueued_batches,
            settings.num_batch_threads,
        )
        self._manager, self._batcher = Manager(config), Batcher(parameters, metrics)
        polled = settings.config_file if settings.config_poll else None
        self._config_file = ConfigFile(polled, self._manager) if polled else None
        budget = Budget(settings.request_memory)
        limits = Limits(settings.max_pixels, settings.max_side)
        service = Service(self._manager, self._batcher, metrics, budget, limits)
        self._grpc = GrpcServer(
            service, f"{settings.host}:{settings.port}", settings.max_request_bytes
        )
        timeout = settings.rest_timeout
        page = Page(service, settings.page_max_pixels) if settings.page else None
        rest = uvicorn.Config(
            application(service, settings.max_request_bytes, timeout, page),
            http=TimedConnection,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
            # uvicorn's own 5 seconds break connections that clients mean to use again.
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._uvicorn = uvicorn.Server(rest)
        self._rest = threading.Thread(target=self._run_rest, name="rest")
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)

    def _stop(self, number: int, frame: Any) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)  # A second one ends it at once.
        self._stopping.set()

    def run(self) -> int:
        """Until a signal; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._grpc.update_health()
        self._grpc.start()
        self._rest.start()
        address = f"{self._settings.host}:{self._socket.getsockname()[1]}"
        logging.info(
            "listening: REST at %s, gRPC at %s:%d", address, self._settings.host, self._grpc.port
        )
        self._poller.start()
        if self._settings.page:
            logging.info("the page is at http://%s/", address)
        self._stopping.wait()
        logging.info("stopping: what was accepted is answered first")
        until = time.monotonic() + self._settings.shutdown_seconds
        self._uvicorn.should_exit = True
        self._grpc.stop(self._settings.shutdown_seconds)
        self._rest.join(max(until - time.monotonic(), 0.0))
        if not self._batcher.close(max(until - time.monotonic(), 0.0)):
            logging.error("stopped, and left unanswered what took longer than the grace")
            return 1
        logging.info("stopped")
        return self._status

    def _run_rest(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            if not self._stopping.is_set():
                self._status = 1
                self._stopping.set()

    def _poll(self) -> None:
        """Loads what there is at the start, then looks for changes."""
        self._try(self._manager.update)
        self._try(self._grpc.update_health)
        for missing in self._manager.missing_labels():
            logging.error("%s", missing)
        ready, all_models = self._manager.ready(), self._manager.models()
        logging.info("ready: %d of %d models can be called", len(ready), len(all_models))
        file, read = self._config_file, time.monotonic()
        while not self._stopping.wait(self._settings.poll):
            if file and time.monotonic() - read >= self._settings.config_poll:
                read = time.monotonic()
                self._try(file.poll)
            self._try(self._manager.update)
            self._try(self._grpc.update_health)

    def _try(self, job: Callable[[], None]) -> None:
        """Runs a job and logs its error: the server goes on, whatever is on the disk."""
        try:
            job()
        except Exception as error:
            logging.error("%s: %s", type(error).__name__, error)


def run(config: ServerConfig, settings: Settings) -> NoReturn:
    """Serves until a signal; ends the process with the exit status."""
    status = Server(config, settings).run()
    sys.stderr.flush()
    os._exit(status)  # Threads that still run a call would keep the process.
