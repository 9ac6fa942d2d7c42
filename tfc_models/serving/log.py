"""Log of the server: JSON lines on stderr, including the output of C libraries."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

requests_log = logging.getLogger("serving.requests")
_relays: list[subprocess.Popen] = []  # Keeps them referenced; they end with the server.
# A separate process, so that it can log the crash of the server too.
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
    """Converts the output of C libraries on stderr to JSON lines.

    Call it before TensorFlow is imported, which prints messages at import. Python's own stderr,
    with errors about flags, stays plain text until `set_up`.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    relay = subprocess.Popen([sys.executable, "-IS", "-c", RELAY], stdin=subprocess.PIPE)
    assert relay.stdin is not None  # stdin=PIPE.
    _relays.append(relay)
    os.dup2(relay.stdin.fileno(), 2)
    relay.stdin.close()


def set_up() -> None:
    """Converts Python's log and stderr to JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    sys.stderr = sys.__stderr__  # The relay reads it.
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers = [handler]
    requests_log.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # TensorFlow's own handler writes plain text.
    tensorflow_log = logging.getLogger("tensorflow")
    tensorflow_log.handlers, tensorflow_log.propagate = [], True
    tensorflow_log.setLevel(logging.ERROR)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_error


class _Lines(logging.Formatter):
    """Formatter that writes each record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name == requests_log.name:
            return message
        line = {"time": round(record.created, 3), "level": record.levelname, "message": message}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value or arguments.exc_type()
    error = error.with_traceback(arguments.exc_traceback)
    logging.getLogger().error("a thread has failed", exc_info=error)
