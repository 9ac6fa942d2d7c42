"""Serves SavedModels behind TF Serving's protocol, REST and gRPC.

    python -m serving.server --model_name default --model_base_path MODELS/default

The folder holds a folder for each version, as serving.export writes them. Flags are named as
tensorflow_model_server names its own. SIGTERM and SIGINT end it when what it has accepted is
answered.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from serving import log

if __name__ == "__main__":
    log.relay_stderr()

import uvicorn
from absl import app, flags, logging

from serving import manager as managers
from serving import page as pages
from serving.batching import Batcher, Parameters
from serving.connections import TimedConnection
from serving.errors import ServingError
from serving.grpc_server import GrpcServer
from serving.manager import ConfigFile, Manager
from serving.memory import Budget
from serving.metrics import Metrics
from serving.page import Page
from serving.rest import application
from serving.service import Limits, Service
from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE

KEEP_ALIVE_SECONDS = 75

_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen at; 0.0.0.0 for all")
_PORT = flags.DEFINE_integer("port", 8500, "for gRPC; 0 picks a free one", lower_bound=0)
_REST_PORT = flags.DEFINE_integer("rest_api_port", 8501, "for REST; 0 picks a free one", 0)
_CONFIG_FILE = flags.DEFINE_string("model_config_file", None, "text proto of ModelServerConfig")
_CONFIG_POLL = flags.DEFINE_float(
    "model_config_file_poll_wait_seconds", 0.0, "how often to read it again; 0 is never", 0.0
)
_NAME = flags.DEFINE_string("model_name", "default", "where there is no model_config_file")
_BASE_PATH = flags.DEFINE_string("model_base_path", None, "folder of its versions")
_POLL = flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0, "how often to look for new versions", 0.01
)
_MAX_BATCH = flags.DEFINE_integer("max_batch_size", 16, "examples in a call, or a request", 1)
_TIMEOUT = flags.DEFINE_integer("batch_timeout_micros", 0, "how long a batch waits to fill", 0)
_MAX_BATCHES = flags.DEFINE_integer(
    "max_enqueued_batches", 8, "of max_batch_size: more than these answer 429", 1
)
_THREADS = flags.DEFINE_integer(
    "num_batch_threads", os.cpu_count() or 1, "how many calls run at a time", 1
)
_MAX_BYTES = flags.DEFINE_integer("max_request_bytes", 64 * 2**20, "larger ones are refused", 1)
_REST_TIMEOUT = flags.DEFINE_integer(
    "rest_api_timeout_in_ms", 30_000, "how long a REST request may take; then 504", 1
)
_MEMORY = flags.DEFINE_integer(
    "request_memory_mib",
    1536,
    "memory for requests in flight, by REST, gRPC and the page together; more answer 429",
    1,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", DEFAULT_MAX_PIXELS, "larger pictures are refused, whatever the model takes", 1
)
_MAX_SIDE = flags.DEFINE_integer("max_side", DEFAULT_MAX_SIDE, "longer sides are refused", 1)
_PAGE = flags.DEFINE_bool("page", True, "serve the page at /; --page=false leaves it out")
_PAGE_PIXELS = flags.DEFINE_integer(
    "page_max_pixels", pages.DEFAULT_MAX_PIXELS, "larger pictures are refused by the page", 1
)
_GRACE = flags.DEFINE_float("shutdown_seconds", 30.0, "for what was accepted, at the end", 0.0)


def models_config() -> managers.model_server_config_pb2.ModelServerConfig:
    """Reads the models' configuration from the flags."""
    if bool(_CONFIG_FILE.value) == bool(_BASE_PATH.value):
        raise ValueError("give --model_config_file, or --model_name and --model_base_path.")
    if _CONFIG_FILE.value:
        return managers.read(_CONFIG_FILE.value)
    if not pathlib.Path(_BASE_PATH.value).is_dir():
        raise ValueError(
            f"there is no folder {_BASE_PATH.value}: python -m serving.export --model default "
            f"--base_path {_BASE_PATH.value} makes one."
        )
    return managers.single(_NAME.value, _BASE_PATH.value)


class Server:
    """A manager, a batcher, and the two transports."""

    def __init__(self, config: managers.model_server_config_pb2.ModelServerConfig) -> None:
        self._socket = socket.create_server((_HOST.value, _REST_PORT.value))
        self._stopping, self._status = threading.Event(), 0
        metrics = Metrics()
        parameters = Parameters(
            _MAX_BATCH.value, _TIMEOUT.value, _MAX_BATCHES.value, _THREADS.value
        )
        self._manager, self._batcher = Manager(config), Batcher(parameters, metrics)
        polled = _CONFIG_FILE.value if _CONFIG_POLL.value else None
        self._config_file = ConfigFile(polled, self._manager) if polled else None
        budget = Budget(_MEMORY.value * 2**20)
        limits = Limits(_MAX_PIXELS.value, _MAX_SIDE.value)
        service = Service(self._manager, self._batcher, metrics, budget, limits)
        self._grpc = GrpcServer(service, f"{_HOST.value}:{_PORT.value}", _MAX_BYTES.value)
        timeout = _REST_TIMEOUT.value * 1e-3
        page = Page(service, _PAGE_PIXELS.value) if _PAGE.value else None
        rest = uvicorn.Config(
            application(service, _MAX_BYTES.value, timeout, page),
            http=TimedConnection,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=max(1, round(_GRACE.value)),
            # uvicorn's own 5 seconds break connections that clients mean to use again.
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._uvicorn = uvicorn.Server(rest)
        self._rest = threading.Thread(target=self._run_rest, name="rest")
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)

    def _told(self, number: int, frame: Any) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)  # A second one ends it at once.
        self._stopping.set()

    def run(self) -> int:
        """Until a signal; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        self._grpc.update_health()
        self._grpc.start()
        self._rest.start()
        address = f"{_HOST.value}:{self._socket.getsockname()[1]}"
        logging.info("listening: REST at %s, gRPC at %s:%d", address, _HOST.value, self._grpc.port)
        self._poller.start()
        if _PAGE.value:
            logging.info("the page is at http://%s/", address)
        self._stopping.wait()
        logging.info("stopping: what was accepted is answered first")
        until = time.monotonic() + _GRACE.value
        self._uvicorn.should_exit = True
        self._grpc.stop(_GRACE.value)
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
        while not self._stopping.wait(_POLL.value):
            if file and time.monotonic() - read >= _CONFIG_POLL.value:
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


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"what is {argv[1]!r}? Everything is a flag; see --help.")
    logging.set_verbosity(logging.INFO)
    log.set_up()
    try:
        status = Server(models_config()).run()
    except (ServingError, ValueError, OSError, RuntimeError) as error:
        logging.error("%s", str(error).strip().splitlines()[0])
        sys.exit(1)
    sys.stderr.flush()
    os._exit(status)  # Threads that still run a call would keep the process.


if __name__ == "__main__":
    app.run(main)
