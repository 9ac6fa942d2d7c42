"""HTTP request bodies, responses, errors and waiting, shared by REST and the web page."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import fastapi
import grpc
from starlette.requests import ClientDisconnect

from tfc_models.serving import rest_json
from tfc_models.serving.errors import ServingError, internal
from tfc_models.serving.memory import Budget, Reservation
from tfc_models.serving.service import Service

READ_SECONDS = 60.0  # Timeout for receiving a body.
DISCARD_SECONDS = 5.0  # Timeout for discarding a body that is too large.
MAX_DISCARDED_LIMITS = 2  # How much of it is discarded, in multiples of the size limit.
MEMBERS = 4096  # Maximum members of a gzip file: each needs its own decompressor.
PIECE = 2**18  # Bytes that are decompressed or sent at a time.
SEND_SECONDS = 60.0  # Timeout for a client to receive a piece of its response.
MAX_SEND_SECONDS = 600.0  # Timeout for the whole response.
DISCONNECT_POLL_SECONDS = 0.25  # Interval of checks for a disconnected client.


class BodyReader:
    """Reads request bodies, within a size limit and the memory budget."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self.limit, self._budget = limit, budget

    @contextlib.asynccontextmanager
    async def read(self, request: fastapi.Request, answer: ResponseBuilder) -> AsyncIterator[bytes]:
        """Yields the body of a request. Its memory is reserved until the response is sent."""
        claimed = request.headers.get("content-length", "")
        if claimed and "transfer-encoding" in request.headers:
            # A proxy and this server might disagree on the end of the request (smuggling).
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the request has both Content-Length and Transfer-Encoding",
                closes=True,
            )
        if claimed.isdecimal() and int(claimed) > self.limit:
            await self._discard(request)
            raise self._too_large()
        with self._budget.reserve() as reservation:
            reservation.hold_until(answer.sent)
            answer.reservation = reservation
            try:
                body = await asyncio.wait_for(self._body(request, reservation), READ_SECONDS)
            except asyncio.TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                raise ServingError(code, "timeout of reading the request", closes=True) from None
            yield body

    async def _body(self, request: fastapi.Request, reservation: Reservation) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in self._parts(request):
            size += len(part)
            if size > self.limit:
                raise self._too_large()
            reservation.take(len(part))
            if part:
                parts.append(part)
        return b"".join(parts)

    async def _parts(self, request: fastapi.Request) -> AsyncIterator[bytes]:
        """Yields pieces of the body, decompressed if necessary."""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Content-Encoding {encoding[:40]} is not supported: send gzip, or none",
                http_status=415,
                closes=True,
            )
        gunzip = None if encoding == "identity" else Gunzip()
        received = 0
        async for part in request.stream():
            received += len(part)
            if received > self.limit:
                raise self._too_large()
            if gunzip is None:
                yield part
                continue
            for piece in gunzip.pieces(part):
                yield piece
                await asyncio.sleep(0)  # Lets other requests proceed.
        if gunzip is not None:
            gunzip.check_end()

    async def _discard(self, request: fastapi.Request) -> None:
        """Receives a body that is slightly too large: most clients read no response before.

        A client that waits for permission (Expect: 100-continue) gets the response immediately.
        """
        if "expect" in request.headers:
            return
        size = 0

        async def drain() -> None:
            nonlocal size
            async for part in request.stream():
                size += len(part)
                if size > MAX_DISCARDED_LIMITS * self.limit:
                    return

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drain(), DISCARD_SECONDS)

    def _too_large(self) -> ServingError:
        return ServingError(
            grpc.StatusCode.OUT_OF_RANGE,
            f"the request is larger than the server's limit of {self.limit} bytes",
            http_status=413,
        )


class Gunzip:
    """Decompresses gzip data in pieces, so that the size limit applies while decompressing."""

    def __init__(self) -> None:
        self._member: Any = None
        self._members = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decompresses further bytes. Yields at least one piece per member, which may be empty.

        Raises:
            ServingError: the bytes are not gzip data, or have too many members.
        """
        pending = False  # Whether the decompressor may return more without further input.
        while data or pending:
            # A gzip file may consist of several members.
            if self._member is None:
                self._members += 1
                if self._members > MEMBERS:
                    raise _damaged(f"have over {MEMBERS:,} members")
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            member = self._member
            try:
                piece = member.decompress(data, PIECE)
            except zlib.error:
                raise _damaged() from None
            data = member.unused_data if member.eof else member.unconsumed_tail
            pending = len(piece) == PIECE and not member.eof
            if member.eof:
                self._member = None
            if piece or member.eof:
                yield piece

    def check_end(self) -> None:
        """Raises ServingError if the data are truncated."""
        if self._member is not None or not self._members:
            raise _damaged()


def _damaged(how: str = "are damaged or truncated") -> ServingError:
    code = grpc.StatusCode.INVALID_ARGUMENT
    return ServingError(code, f"the request's gzip data {how}", closes=True)


async def wait_for_result(
    request: fastapi.Request, future: concurrent.futures.Future, timeout: float
) -> Any:
    """Waits for a future. Cancels it on a timeout or when the client disconnects."""
    waiting = asyncio.wrap_future(future)
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        done, _ = await asyncio.wait(
            {waiting}, timeout=max(min(DISCONNECT_POLL_SECONDS, left), 0.0)
        )
        if done:
            return waiting.result()
        if left <= 0:
            waiting.cancel()
            raise timeout_error()
        if await request.is_disconnected():
            waiting.cancel()
            raise ClientDisconnect


def timeout_error() -> ServingError:
    """Returns the error of a request that took too long."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    return ServingError(code, "Timed out waiting for the result")


@contextlib.asynccontextmanager
async def handling(
    service: Service, request: fastapi.Request, api: str, model: str, predicted: bool
) -> AsyncIterator[ResponseBuilder]:
    """Yields a response to fill in. Converts errors to responses; counts and logs the request."""
    started, answer = time.monotonic(), ResponseBuilder()
    error: ServingError | None = None
    answer.details.update(method=request.method, path=request.url.path)
    try:
        yield answer
    except ServingError as caught:
        error = caught
    except ClientDisconnect:
        error = ServingError(grpc.StatusCode.CANCELLED, "the client has disconnected")
    except Exception as caught:  # An unexpected error is reported to the client too.
        error = internal(f"{type(caught).__name__}: {caught}")
    if error is not None:
        answer.set_json({"error": error.message}, error.http_status)
        answer.closes = error.closes
    answer.details["bytes_out"] = len(answer.content)
    service.record(api, model, started, error, predicted, **answer.details)


class ResponseBuilder:
    """Content and status of a response, and details for the log."""

    def __init__(self) -> None:
        self.content, self.status, self.closes = b"", 200, False
        self.details: dict[str, object] = {}
        self._reservation: Reservation | None = None
        self.sent: concurrent.futures.Future = concurrent.futures.Future()

    @property
    def reservation(self) -> Reservation:
        """Memory reservation of a request with a body."""
        assert self._reservation is not None
        return self._reservation

    @reservation.setter
    def reservation(self, reservation: Reservation) -> None:
        self._reservation = reservation

    def set_json(self, value: Any, status: int = 200) -> None:
        """Sets a JSON document as content."""
        self.content, self.status = rest_json.dumps(value), status

    def response(self) -> fastapi.Response:
        """Returns the response. The memory of the request is released, except for the content."""
        if self._reservation is not None and self.status == 200:
            self._reservation.shrink_to_response(len(self.content))
        headers = {"Connection": "close"} if self.closes else None
        return _Response(self.sent, self.content, self.status, headers, "application/json")


class _Response(fastapi.Response):
    """Response that is sent as fast as the client reads it, with a future of its end."""

    def __init__(self, sent: concurrent.futures.Future, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sent = sent

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        head = {"type": "http.response.start", "status": self.status_code}
        until = time.monotonic() + MAX_SEND_SECONDS
        try:
            await send({**head, "headers": self.raw_headers})
            for at in range(0, max(len(self.body), 1), PIECE):
                piece, more = self.body[at : at + PIECE], at + PIECE < len(self.body)
                part = {"type": "http.response.body", "body": piece, "more_body": more}
                left = max(until - time.monotonic(), 0.0)
                await asyncio.wait_for(send(part), min(left, SEND_SECONDS))
        except asyncio.TimeoutError:
            return  # An incomplete response ends the connection.
        finally:
            self._sent.set_result(None)
