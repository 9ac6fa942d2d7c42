"""The server's log: JSON on stderr, whoever writes there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

from serving.service import requests_log

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


def set_up() -> None:
    """Makes every line of stderr a JSON object, also what C libraries print."""
    stream = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    relay = subprocess.Popen([sys.executable, "-IS", "-c", RELAY], stdin=subprocess.PIPE)
    _relays.append(relay)
    os.dup2(relay.stdin.fileno(), 2)
    relay.stdin.close()
    handler = logging.StreamHandler(stream)
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
