"""Timeouts of HTTP connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from uvicorn.server import ServerState

from tfc_models.serving.connections import TimedConnection

SECONDS = 0.3
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Impatient(TimedConnection):
    header_seconds = SECONDS


async def application(scope, receive, send) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SECONDS)
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def responses(talk: Callable[..., Awaitable[bytes]]) -> bytes:
    """Sends bytes to a server. Returns its responses until it closes the connection."""

    async def run() -> bytes:
        config = uvicorn.Config(
            application,
            http=Impatient,
            lifespan="off",
            log_config=None,
            ws="none",
            timeout_keep_alive=75,  # As the server's, and longer than the tests wait.
        )
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: Impatient(config, state, {}), "127.0.0.1"
        )
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            await talk(reader, writer)
            said = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return said

    return asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET /", GET[:-2], GET + GET[:9]])
def test_connection_with_incomplete_headers_is_closed(sent):
    async def talk(reader, writer) -> None:
        writer.write(sent)

    assert responses(talk).count(b"204") == sent.count(GET)


def test_slow_headers_are_closed():
    async def talk(reader, writer) -> None:
        for _ in range(40):
            if reader.at_eof():
                return
            writer.write(b"x")
            await asyncio.sleep(SECONDS / 4)
        raise AssertionError("the connection was open all the time")

    assert responses(talk) == b""


def test_slow_responses_slow_bodies_and_idle_connections_stay_open():
    async def talk(reader, writer) -> None:
        writer.write(GET.replace(b"/ ", b"/slow "))
        assert b"204" in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * SECONDS)  # The idle timeout is uvicorn's own.
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        await asyncio.sleep(2 * SECONDS)
        writer.write(b"2" + GET.replace(b"Host", b"Connection: close\r\nHost"))

    assert responses(talk).count(b"204") == 2
