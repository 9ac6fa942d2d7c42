"""Parts that all answers to HTTP requests share: bodies, waiting, errors."""

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
from tfc_models.serving.errors import ServingError, failed
from tfc_models.serving.memory import Budget, Share
from tfc_models.serving.service import Service

READ_SECONDS = 60.0  # for a body to come
DISCARD_SECONDS, DISCARDED = 5.0, 2  # for a body that is too large: how long, how many limits
MEMBERS = 4096  # of a gzip file that are read: each takes a decompressor of its own
PIECE = 2**18  # bytes that are decompressed, or sent, at one time
SEND_SECONDS = 60.0  # for a client to read a piece of its answer
LONGEST_SEND_SECONDS = 600.0  # for all of it
LOOK_SECONDS = 0.25  # how often to look whether the client is still there


class Bodies:
    """Reads bodies no further than a limit, and no more of them at a time than fit."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self.limit, self._budget = limit, budget

    @contextlib.asynccontextmanager
    async def read(self, request: fastapi.Request, answer: Answer) -> AsyncIterator[bytes]:
        """The body of a request; its share of the budget is the answer's until that is sent."""
        claimed = request.headers.get("content-length", "")
        if claimed and "transfer-encoding" in request.headers:
            # A proxy and this server might see the end of the request at different places.
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the request says its length in two ways",
                closes=True,
            )
        if claimed.isdecimal() and int(claimed) > self.limit:
            await self._discard(request)
            raise self._too_large()
        with self._budget.share() as share:
            share.until(answer.sent)
            answer.share = share
            try:
                body = await asyncio.wait_for(self._body(request, share), READ_SECONDS)
            except asyncio.TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                raise ServingError(code, "the request did not come in time", closes=True) from None
            yield body

    async def _body(self, request: fastapi.Request, share: Share) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in self._parts(request):
            size += len(part)
            if size > self.limit:
                raise self._too_large()
            share.take(len(part))
            if part:
                parts.append(part)
        return b"".join(parts)

    async def _parts(self, request: fastapi.Request) -> AsyncIterator[bytes]:
        """Pieces of the body, decompressed if it is compressed."""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Content-Encoding {encoding[:40]} is not known here: send gzip, or none",
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
                await asyncio.sleep(0)  # Other requests go on.
        if gunzip is not None:
            gunzip.check_end()

    async def _discard(self, request: fastapi.Request) -> None:
        """Lets a client finish what is not much too large: most read no answer before that.

        One that asks first whether to send it (Expect: 100-continue) is told without.
        """
        if "expect" in request.headers:
            return
        size = 0

        async def drain() -> None:
            nonlocal size
            async for part in request.stream():
                size += len(part)
                if size > DISCARDED * self.limit:
                    return

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drain(), DISCARD_SECONDS)

    def _too_large(self) -> ServingError:
        return ServingError(
            grpc.StatusCode.OUT_OF_RANGE,
            f"the request is larger than the server's {self.limit} bytes",
            http_status=413,
        )


class Gunzip:
    """Decompresses gzip data piece by piece, so that what they become is counted as it grows."""

    def __init__(self) -> None:
        self._member: Any = None
        self._members = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decompresses further bytes; there is a piece for each member, if only an empty one.

        Raises:
            ServingError: they are no gzip data, or have too many members.
        """
        pending = False  # whether there may be more without further bytes
        while data or pending:
            # A file may be of several members, one after the other.
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
        """Refuses data that were cut short."""
        if self._member is not None or not self._members:
            raise _damaged()


def _damaged(how: str = "are damaged or cut short") -> ServingError:
    code = grpc.StatusCode.INVALID_ARGUMENT
    return ServingError(code, f"the request's gzip data {how}", closes=True)


async def result_of(
    request: fastapi.Request, future: concurrent.futures.Future, timeout: float
) -> Any:
    """Waits for a future, and cancels it when the client is gone or the time is over."""
    waiting = asyncio.wrap_future(future)
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        done, _ = await asyncio.wait({waiting}, timeout=max(min(LOOK_SECONDS, left), 0.0))
        if done:
            return waiting.result()
        if left <= 0:
            waiting.cancel()
            raise late()
        if await request.is_disconnected():
            waiting.cancel()
            raise ClientDisconnect


def late() -> ServingError:
    """The time for a request is over."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    return ServingError(code, "Timed out waiting for the result")


@contextlib.asynccontextmanager
async def answering(
    service: Service, request: fastapi.Request, api: str, model: str, predicted: bool
) -> AsyncIterator[Answer]:
    """Turns errors in the block into answers; counts and logs the request."""
    started, answer, error = time.monotonic(), Answer(), None
    answer.details.update(method=request.method, path=request.url.path)
    try:
        yield answer
    except ServingError as caught:
        error = caught
    except ClientDisconnect:
        error = ServingError(grpc.StatusCode.CANCELLED, "the client is gone")
    except Exception as caught:  # A defect of ours is an answer too.
        error = failed(f"{type(caught).__name__}: {caught}")
    if error is not None:
        answer.set_json({"error": error.message}, error.http_status)
        answer.closes = error.closes
    answer.details["bytes_out"] = len(answer.content)
    service.answered(api, model, started, error, predicted, **answer.details)


class Answer:
    """A response in the making, and what the log is to say of it."""

    share: Share | None = None  # of a request with a body

    def __init__(self) -> None:
        self.content, self.status, self.details, self.closes = b"", 200, {}, False
        self.sent: concurrent.futures.Future = concurrent.futures.Future()

    def set_json(self, value: Any, status: int = 200) -> None:
        """Makes it a JSON document."""
        self.content, self.status = rest_json.dumps(value), status

    def response(self) -> fastapi.Response:
        """As FastAPI has it."""
        if self.share is not None and self.status == 200:
            self.share.keep_answer(len(self.content))
        headers = {"Connection": "close"} if self.closes else None
        return _Response(self.sent, self.content, self.status, headers, "application/json")


class _Response(fastapi.Response):
    """Sends its content no faster than the client reads it, and tells when that is done."""

    def __init__(self, sent: concurrent.futures.Future, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sent = sent

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        head = {"type": "http.response.start", "status": self.status_code}
        until = time.monotonic() + LONGEST_SEND_SECONDS
        try:
            await send({**head, "headers": self.raw_headers})
            for at in range(0, max(len(self.body), 1), PIECE):
                piece, more = self.body[at : at + PIECE], at + PIECE < len(self.body)
                part = {"type": "http.response.body", "body": piece, "more_body": more}
                left = max(until - time.monotonic(), 0.0)
                await asyncio.wait_for(send(part), min(left, SEND_SECONDS))
        except asyncio.TimeoutError:
            return  # What is not sent whole ends the connection.
        finally:
            self._sent.set_result(None)
