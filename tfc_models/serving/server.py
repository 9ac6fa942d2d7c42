"""Server of SavedModels with TF Serving's protocol over REST and gRPC."""

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
"""Exceptions at start-up, such as an address in use or an invalid configuration."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        host: address to listen on; 0.0.0.0 for all.
        port: gRPC port; 0 picks a free port.
        rest_port: REST port; 0 picks a free port.
        config_file: configuration of the models, which is polled if config_poll is not 0.
        config_poll: seconds between polls of the configuration file.
        poll: seconds between polls for new versions.
        max_batch_size: maximum number of examples per batch or request.
        batch_timeout_micros: maximum time that a batch waits for further requests.
        max_enqueued_batches: maximum number of queued batches; requests beyond it get status 429.
        num_batch_threads: number of concurrent model calls.
        max_request_bytes: larger requests are rejected.
        rest_timeout: seconds until a REST request gets status 504.
        request_memory: bytes for all requests in flight; requests beyond it get status 429.
        max_pixels: larger images are rejected, even if the model accepts them.
        max_side: images with a longer side are rejected.
        page: whether to serve the web page at /.
        page_max_pixels: larger images are rejected by the web page.
        shutdown_seconds: time for accepted requests after a signal to stop.
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
    """Model manager, batcher, and the REST and gRPC interfaces."""

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
            # uvicorn's default of 5 seconds closes connections that clients want to reuse.
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._uvicorn = uvicorn.Server(rest)
        self._rest = threading.Thread(target=self._run_rest, name="rest")
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)

    def _stop(self, number: int, frame: Any) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)  # A second signal ends the process immediately.
        self._stopping.set()

    def run(self) -> int:
        """Serves until a signal. Returns the exit status."""
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
            logging.info("web page: http://%s/", address)
        self._stopping.wait()
        logging.info("stopping after all accepted requests")
        until = time.monotonic() + self._settings.shutdown_seconds
        self._uvicorn.should_exit = True
        self._grpc.stop(self._settings.shutdown_seconds)
        self._rest.join(max(until - time.monotonic(), 0.0))
        if not self._batcher.close(max(until - time.monotonic(), 0.0)):
            logging.error("stopped with unanswered requests: --shutdown_seconds has passed")
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
        """Loads the models, then polls for changes."""
        self._try(self._manager.update)
        self._try(self._grpc.update_health)
        for missing in self._manager.missing_labels():
            logging.error("%s", missing)
        ready, all_models = self._manager.ready(), self._manager.models()
        logging.info("ready: %d of %d models are loaded", len(ready), len(all_models))
        file, read = self._config_file, time.monotonic()
        while not self._stopping.wait(self._settings.poll):
            if file and time.monotonic() - read >= self._settings.config_poll:
                read = time.monotonic()
                self._try(file.poll)
            self._try(self._manager.update)
            self._try(self._grpc.update_health)

    def _try(self, job: Callable[[], None]) -> None:
        """Runs a job and logs its error, so that a problem on disk does not stop the server."""
        try:
            job()
        except Exception as error:
            logging.error("%s: %s", type(error).__name__, error)


def run(config: ServerConfig, settings: Settings) -> NoReturn:
    """Serves until a signal, then ends the process with the exit status."""
    status = Server(config, settings).run()
    sys.stderr.flush()
    os._exit(status)  # Threads that are inside a model call would keep the process alive.
