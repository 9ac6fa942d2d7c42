"""Errors of requests, in the codes of gRPC and the words of TF Serving."""

from __future__ import annotations

import re

import grpc
import tensorflow as tf

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
# What the assertions of a codec's graph begin with; the rest of the line is for its user.
_OURS = re.compile(r"tfc-models: ([^\]\n]*)")
# TensorFlow tells where a node was made before it says what is wrong with its input.
_THEIRS = re.compile(r"([^\n]+)\n\s*\[\[\{\{node")


class ServingError(Exception):
    """An answer that is not a result."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        http_status: int | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.http_status = http_status or _HTTP.get(code, 500)  # The code as REST says it.
        self.closes = closes  # whether the connection goes, with what is still to come on it


def invalid(message: str) -> ServingError:
    """The request is wrong."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """There is no such thing."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def exhausted(message: str) -> ServingError:
    """Too much at once: try again later."""
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def unavailable(message: str) -> ServingError:
    """Not now."""
    return ServingError(grpc.StatusCode.UNAVAILABLE, message)


def failed(message: str) -> ServingError:
    """Nothing that the request could have done differently."""
    return ServingError(grpc.StatusCode.INTERNAL, message)


def from_tensorflow(error: Exception) -> ServingError:
    """Converts a graph's failure to an error of one line."""
    if isinstance(error, ServingError):
        return error
    if not isinstance(error, tf.errors.OpError):
        return failed(f"{type(error).__name__}: {error}".splitlines()[0])
    message = error.message or "unknown error"
    if ours := _OURS.search(message):
        line = f"{ours.group(1).strip()}."
    else:
        theirs = _THEIRS.search(message)
        line = theirs.group(1).strip() if theirs else message.strip().splitlines()[0]
    code = _BY_NUMBER.get(error.error_code, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.DATA_LOSS:  # What the range decoder says of a bad stream.
        code = grpc.StatusCode.INVALID_ARGUMENT
    return ServingError(code, line)
