"""Serves SavedModels with TF Serving's protocol over REST and gRPC.

    python -m serving.server --model_name default --model_base_path MODELS/default

The folder contains a folder for each version, as serving.export writes them. Flags have the names
of tensorflow_model_server's flags. SIGTERM and SIGINT stop the server after it has answered all
accepted requests.
"""

from __future__ import annotations

import os
import pathlib

from tfc_models.serving import log

if __name__ == "__main__":
    log.relay_stderr()

from absl import flags, logging

from tfc_models.cli import absl_programs
from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE
from tfc_models.serving import manager as managers
from tfc_models.serving import page as pages
from tfc_models.serving import server

_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen on; 0.0.0.0 for all")
_PORT = flags.DEFINE_integer("port", 8500, "gRPC port; 0 picks a free port", lower_bound=0)
_REST_PORT = flags.DEFINE_integer("rest_api_port", 8501, "REST port; 0 picks a free port", 0)
_CONFIG_FILE = flags.DEFINE_string("model_config_file", None, "text proto of ModelServerConfig")
_CONFIG_POLL = flags.DEFINE_float(
    "model_config_file_poll_wait_seconds",
    0.0,
    "seconds between polls of the configuration file; 0: never",
    0.0,
)
_NAME = flags.DEFINE_string("model_name", "default", "model name, without model_config_file")
_BASE_PATH = flags.DEFINE_string("model_base_path", None, "folder of versions of the model")
_POLL = flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0, "seconds between polls for new versions", 0.01
)
_MAX_BATCH = flags.DEFINE_integer(
    "max_batch_size", 16, "maximum number of examples per batch or request", 1
)
_TIMEOUT = flags.DEFINE_integer(
    "batch_timeout_micros", 0, "maximum time that a batch waits for further requests", 0
)
_MAX_BATCHES = flags.DEFINE_integer(
    "max_enqueued_batches",
    8,
    "maximum number of queued batches of max_batch_size; requests beyond it get status 429",
    1,
)
_THREADS = flags.DEFINE_integer(
    "num_batch_threads", os.cpu_count() or 1, "number of concurrent model calls", 1
)
_MAX_BYTES = flags.DEFINE_integer("max_request_bytes", 64 * 2**20, "reject larger requests", 1)
_REST_TIMEOUT = flags.DEFINE_integer(
    "rest_api_timeout_in_ms", 30_000, "time until a REST request gets status 504", 1
)
_MEMORY = flags.DEFINE_integer(
    "request_memory_mib",
    1536,
    "memory for requests in flight over REST, gRPC and the page; requests beyond it get status 429",
    1,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", DEFAULT_MAX_PIXELS, "reject larger images, even if the model accepts them", 1
)
_MAX_SIDE = flags.DEFINE_integer("max_side", DEFAULT_MAX_SIDE, "reject images with longer sides", 1)
_PAGE = flags.DEFINE_bool("page", True, "serve the web page at /")
_PAGE_PIXELS = flags.DEFINE_integer(
    "page_max_pixels", pages.DEFAULT_MAX_PIXELS, "reject larger images on the web page", 1
)
_GRACE = flags.DEFINE_float(
    "shutdown_seconds", 30.0, "seconds for accepted requests after a signal to stop", 0.0
)


def models_config() -> managers.ServerConfig:
    """Reads the models' configuration from the flags."""
    if bool(_CONFIG_FILE.value) == bool(_BASE_PATH.value):
        raise ValueError("give --model_config_file, or --model_name and --model_base_path.")
    if _CONFIG_FILE.value:
        return managers.read_config(_CONFIG_FILE.value)
    if not pathlib.Path(_BASE_PATH.value).is_dir():
        raise ValueError(
            f"there is no folder {_BASE_PATH.value}: python -m serving.export --model default "
            f"--base_path {_BASE_PATH.value} creates it."
        )
    return managers.single_model_config(_NAME.value, _BASE_PATH.value)


def settings() -> server.Settings:
    """Reads the server's settings from the flags."""
    return server.Settings(
        host=_HOST.value,
        port=_PORT.value,
        rest_port=_REST_PORT.value,
        config_file=_CONFIG_FILE.value,
        config_poll=_CONFIG_POLL.value,
        poll=_POLL.value,
        max_batch_size=_MAX_BATCH.value,
        batch_timeout_micros=_TIMEOUT.value,
        max_enqueued_batches=_MAX_BATCHES.value,
        num_batch_threads=_THREADS.value,
        max_request_bytes=_MAX_BYTES.value,
        rest_timeout=_REST_TIMEOUT.value * 1e-3,
        request_memory=_MEMORY.value * 2**20,
        max_pixels=_MAX_PIXELS.value,
        max_side=_MAX_SIDE.value,
        page=_PAGE.value,
        page_max_pixels=_PAGE_PIXELS.value,
        shutdown_seconds=_GRACE.value,
    )


def serve() -> None:
    """Serves the models of the flags."""
    log.set_up()
    server.run(models_config(), settings())


if __name__ == "__main__":
    absl_programs.run(serve, errors=server.ERRORS, verbosity=logging.INFO)
