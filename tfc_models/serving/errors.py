"""Errors of requests, with gRPC's status codes and TF Serving's messages."""

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
# Assertions in a codec's graph start with this prefix; the rest of the line is the message.
_ASSERTION = re.compile(r"tfc-models: ([^\]\n]*)")
# TensorFlow's messages state the error in the line before the name of the node.
_NODE_ERROR = re.compile(r"([^\n]+)\n\s*\[\[\{\{node")


class ServingError(Exception):
    """Error response to a request.

    Args:
        code: gRPC status code.
        message: one line.
        http_status: HTTP status (default: the one that corresponds to `code`).
        closes: whether to close the connection after the response, without reading the rest.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        http_status: int | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.http_status = http_status or _HTTP.get(code, 500)
        self.closes = closes


def invalid(message: str) -> ServingError:
    """Returns the error of an invalid request."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """Returns the error of a missing model, version or path."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def overloaded(message: str) -> ServingError:
    """Returns the error of a full queue or exhausted memory."""
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def unavailable(message: str) -> ServingError:
    """Returns the error of a model or server that is temporarily unavailable."""
    return ServingError(grpc.StatusCode.UNAVAILABLE, message)


def internal(message: str) -> ServingError:
    """Returns the error of a failure inside the server."""
    return ServingError(grpc.StatusCode.INTERNAL, message)


def from_tensorflow(error: Exception) -> ServingError:
    """Returns an error of one line for any exception of a model call."""
    if isinstance(error, ServingError):
        return error
    if not isinstance(error, tf.errors.OpError):
        return internal(f"{type(error).__name__}: {error}".splitlines()[0])
    message = error.message or "unknown error"
    if assertion := _ASSERTION.search(message):
        line = f"{assertion.group(1).strip()}."
    else:
        node_error = _NODE_ERROR.search(message)
        line = node_error.group(1).strip() if node_error else message.strip().splitlines()[0]
    code = _BY_NUMBER.get(error.error_code, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.DATA_LOSS:  # The range decoder's error for a damaged stream.
        code = grpc.StatusCode.INVALID_ARGUMENT
    return ServingError(code, line)
