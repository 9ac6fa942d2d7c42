"""TF Serving's REST interface, on FastAPI."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import grpc
from google.protobuf import json_format
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2

from serving import rest_json
from serving.errors import ServingError, failed, invalid, not_found
from serving.grpc_server import metadata_of
from serving.servable import Servable
from serving.service import Budget, Service

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
READ_SECONDS = 60.0  # for a body to come
_LARGEST = 2**63 - 1
_PREFIX = (
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
)
_CALL = re.compile(_PREFIX + r":(?P<verb>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(_PREFIX + r"(?P<metadata>/metadata)?", re.IGNORECASE)
_LIST = re.compile(r"/v1/models/?", re.IGNORECASE)


def application(service: Service, max_body_bytes: int, timeout: float) -> fastapi.FastAPI:
    """The HTTP side of a server."""
    bodies = Bodies(max_body_bytes, service.budget)
    app = fastapi.FastAPI(title="tfc-models", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/monitoring/prometheus/metrics")
    def monitoring() -> fastapi.Response:
        text = service.metrics.text()
        return fastapi.Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.api_route("/{path:path}", methods=METHODS)
    async def models(request: fastapi.Request, path: str) -> fastapi.Response:
        return await _answer(service, request, bodies, timeout)

    return app


class Bodies:
    """Reads bodies no further than a limit, and no more of them at a time than fit."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self._limit, self._budget = limit, budget

    @contextlib.asynccontextmanager
    async def read(self, request: fastapi.Request) -> AsyncIterator[bytes]:
        """The body of a request, held for as long as the block runs."""
        claimed = request.headers.get("content-length", "")
        if claimed.isdecimal() and int(claimed) > self._limit:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._fill(request, parts), READ_SECONDS)
            yield b"".join(parts)
        except asyncio.TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise ServingError(code, "the request did not come in time") from None
        finally:
            self._budget.give_back(sum(map(len, parts)))

    async def _fill(self, request: fastapi.Request, parts: list[bytes]) -> None:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._limit:
                raise self._too_large()
            self._budget.take(len(part))
            parts.append(part)

    def _too_large(self) -> ServingError:
        return ServingError(
            grpc.StatusCode.OUT_OF_RANGE,
            f"the request is larger than the server's {self._limit} bytes",
        )


async def _answer(
    service: Service, request: fastapi.Request, bodies: Bodies, timeout: float
) -> fastapi.Response:
    started, url = time.monotonic(), request.url.path
    called, asked = _CALL.fullmatch(url), _GET.fullmatch(url)
    model = (called or asked or {"model": ""})["model"]
    details: dict[str, Any] = {"method": request.method, "path": url}
    error = None
    try:
        if request.method == "POST" and called:
            async with bodies.read(request) as body:
                details["bytes_in"] = len(body)
                content = await _call(service, called, body, timeout)
        elif request.method == "GET" and _LIST.fullmatch(url):
            content = await run_in_threadpool(_all_statuses, service)
        elif request.method == "GET" and asked:
            content = await run_in_threadpool(_described, service, asked)
        elif not url.lower().startswith("/v1/"):
            raise not_found(f"there is no {url} here")
        else:
            raise invalid(f"Malformed request: {request.method} {url}")
        status = 200
    except ServingError as caught:
        error = caught
    except ClientDisconnect:
        error = ServingError(grpc.StatusCode.CANCELLED, "the client is gone")
    except Exception as caught:  # A defect of ours is an answer too.
        error = failed(f"{type(caught).__name__}: {caught}")
    if error is not None:
        too_large = error.code.name == "OUT_OF_RANGE" and details.get("bytes_in") is None
        status = 413 if too_large else error.http_status
        content = rest_json.dumps({"error": error.message})
    details["bytes_out"] = len(content)
    service.answered("REST", model, started, error, called is not None, **details)
    return fastapi.Response(content, status, media_type="application/json")


async def _call(service: Service, called: re.Match[str], body: bytes, timeout: float) -> bytes:
    service.batcher.check_room()
    servable = _find(service, called)
    verb = called["verb"].lower()
    if verb != "predict":
        kind = {"classify": "classification", "regress": "regression"}[verb]
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/{verb}. "
            "Was: tensorflow/serving/predict"
        )
    signature, kind, inputs = await run_in_threadpool(rest_json.parse, body, servable)
    future = service.batcher.submit(servable, signature, inputs, timeout)
    try:
        outputs = await asyncio.wait_for(asyncio.wrap_future(future), timeout)
    except asyncio.TimeoutError:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        raise ServingError(code, "Timed out waiting for the result") from None
    return await run_in_threadpool(lambda: rest_json.dumps(rest_json.answer(outputs, kind)))


def _find(service: Service, match: re.Match[str]) -> Servable:
    return service.manager.find(match["model"], _version(match), match["label"])


def _version(match: re.Match[str]) -> int | None:
    text = match["version"]
    if text and (len(text) > 19 or int(text) > _LARGEST):
        raise invalid(f"Failed to convert version: {text[:40]} to numeric.")
    return int(text) if text else None


def _described(service: Service, asked: re.Match[str]) -> bytes:
    if asked["metadata"]:
        servable = _find(service, asked)
        # By hand: the signatures are to stand in the map twice over, as clients know it.
        defs = metadata_of(servable)
        signatures = json_format.MessageToDict(
            defs, preserving_proto_field_name=True, including_default_value_fields=True
        )
        spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        return rest_json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}})
    found = service.manager.status(asked["model"], _version(asked), asked["label"])
    return rest_json.dumps(_status(found))


def _status(answer: Any) -> dict[str, Any]:
    states = get_model_status_pb2.ModelVersionStatus.State
    return {
        "model_version_status": [
            {
                "version": str(one.version),
                "state": states.Name(one.state),
                "status": {
                    "error_code": error_codes_pb2.Code.Name(one.status.error_code),
                    "error_message": one.status.error_message,
                },
            }
            for one in answer.model_version_status
        ]
    }


def _all_statuses(service: Service) -> bytes:
    """Names of the models, each with its status: for people and pages."""
    answers = {}
    for name in service.manager.models():
        try:
            answers[name] = _status(service.manager.status(name))
        except ServingError as error:
            answers[name] = {"error": error.message}
    return rest_json.dumps({"models": answers})
