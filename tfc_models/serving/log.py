"""The server's log: JSON on stderr, whoever writes there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

requests_log = logging.getLogger("serving.requests")
_relays: list[subprocess.Popen] = []  # which end by themselves
# Runs beside the server, so that it tells of a crash as well. It ends with the server.
RELAY = """
import json, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
for line in sys.stdin.buffer:
    text = line.decode("utf-8", "replace").rstrip()
    if text:
        line = {"time": round(time.time(), 3), "level": "WARNING", "message": text}
        sys.stderr.write(json.dumps(line) + "\\n")
        sys.stderr.flush()
"""


def relay_stderr() -> None:
    """Makes what C libraries print on stderr lines of JSON.

    Called before TensorFlow is imported, which prints lines at that time. Python's own stderr,
    with errors about flags, stays text until `set_up`.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    relay = subprocess.Popen([sys.executable, "-IS", "-c", RELAY], stdin=subprocess.PIPE)
    _relays.append(relay)
    os.dup2(relay.stdin.fileno(), 2)
    relay.stdin.close()


def set_up() -> None:
    """Makes every line of Python's stderr a JSON object."""
    handler = logging.StreamHandler(sys.stderr)
    sys.stderr = sys.__stderr__  # Which the relay reads.
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers = [handler]
    requests_log.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # Its own handler would write lines of operations that will be renamed.
    tensorflow_log = logging.getLogger("tensorflow")
    tensorflow_log.handlers, tensorflow_log.propagate = [], True
    tensorflow_log.setLevel(logging.ERROR)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_error


class _Lines(logging.Formatter):
    """Every line is a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name == requests_log.name:
            return message
        line = {"time": round(record.created, 3), "level": record.levelname, "message": message}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_type, arguments.exc_value, arguments.exc_traceback
    logging.getLogger().error("a thread has ended", exc_info=error)
