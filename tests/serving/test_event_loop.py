"""Responsiveness of the event loop while a request is processed."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator

import pytest

from tfc_models.codec import container
from tfc_models.serving.batching import Batcher, Parameters
from tfc_models.serving.errors import ServingError
from tfc_models.serving.memory import Budget
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.page import Page
from tfc_models.serving.rest import application
from tfc_models.serving.service import Limits, Service
from tfc_models.serving.web import MEMBERS, Gunzip


class NoModels:
    """Manager without loaded models."""

    def models(self) -> list[str]:
        return []


@pytest.fixture
def app() -> Iterator:
    batcher = Batcher(Parameters(4, 0, 2, 1), Metrics())
    service = Service(NoModels(), batcher, Metrics(), Budget(2**30), Limits())
    yield application(service, 2**20, 30.0, Page(service, 2**20))
    batcher.close()


async def ask(app, method: str, path: str, body: bytes = b"") -> tuple[int, dict]:
    """Returns status and JSON of a response, without a socket."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    sent, messages = False, []

    async def receive() -> dict:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        messages.append(message)

    await app(scope, receive, send)
    content = b"".join(m.get("body", b"") for m in messages)
    return messages[0]["status"], json.loads(content)


def test_other_requests_are_answered_during_a_file_check(app, monkeypatch):
    begun, others = threading.Event(), threading.Event()
    order = []

    def inspect(data: bytes) -> container.Header:
        begun.set()
        others.wait(5)
        raise container.BitstreamError("damaged")

    monkeypatch.setattr(container, "inspect", inspect)
    file = container.MAGIC + b"\1" + container.pack_name("a") + bytes(4) + b"\x08\x08" + bytes(99)

    async def decompressed() -> None:
        assert await ask(app, "POST", "/page/decompress", file) == (400, {"error": "damaged"})
        order.append("file")

    async def listed() -> None:
        while not begun.is_set():
            await asyncio.sleep(0.01)
        assert await ask(app, "GET", "/v1/models") == (200, {"models": {}})
        order.append("status")
        others.set()

    async def both() -> None:
        await asyncio.gather(decompressed(), listed())

    asyncio.run(both())
    assert order == ["status", "file"]


def test_file_with_too_large_header_is_not_read(app, monkeypatch):
    monkeypatch.setattr(container, "inspect", None)
    sizes = 2 * container.varint(2000)
    file = container.MAGIC + b"\1" + container.pack_name("a") + bytes(4) + sizes + bytes(99)
    status, answer = asyncio.run(ask(app, "POST", "/page/decompress", file))
    assert status == 400 and "over the page's limit" in answer["error"]


def test_gzip_members_are_limited():
    """Each member yields a piece, after which other requests proceed."""
    empty = gzip.compress(b"")
    assert list(Gunzip().pieces(100 * empty)) == 100 * [b""]
    gunzip = Gunzip()
    assert b"".join(gunzip.pieces(MEMBERS // 2 * (empty + gzip.compress(b"x")))) == (
        MEMBERS // 2 * b"x"
    )
    with pytest.raises(ServingError, match="have over 4,096 members") as caught:
        list(gunzip.pieces(empty))
    assert caught.value.http_status == 400
