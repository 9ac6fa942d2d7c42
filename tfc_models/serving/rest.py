"""TF Serving's REST interface, implemented with FastAPI."""

from __future__ import annotations

import re
import time
from typing import Any

import fastapi
import starlette.exceptions
from google.protobuf import json_format
from starlette.concurrency import run_in_threadpool
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2

from tfc_models.serving import rest_json
from tfc_models.serving.errors import ServingError, invalid, not_found
from tfc_models.serving.grpc_server import metadata_of
from tfc_models.serving.memory import NO_MEMORY, Reservation, Workers
from tfc_models.serving.page import Page
from tfc_models.serving.servable import Servable
from tfc_models.serving.service import Service
from tfc_models.serving.web import BodyReader, handling, timeout_error, wait_for_result

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_LARGEST = 2**63 - 1
# Conversion of JSON occupies a processor for seconds, so two threads do it. The queue is long
# because the memory budget rejects requests first.
_converting = Workers("json", 2, 4096, NO_MEMORY)
_PREFIX = (
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
)
_CALL = re.compile(_PREFIX + r":(?P<verb>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(_PREFIX + r"(?P<metadata>/metadata)?", re.IGNORECASE)
_LIST = re.compile(r"/v1/models/?", re.IGNORECASE)


def application(
    service: Service, max_body_bytes: int, timeout: float, page: Page | None = None
) -> fastapi.FastAPI:
    """Returns the HTTP application of a server, with the web page if there is one."""
    bodies = BodyReader(max_body_bytes, service.budget)
    app = fastapi.FastAPI(title="tfc-models", docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/monitoring/prometheus/metrics", methods=["GET", "HEAD"])
    def monitoring() -> fastapi.Response:
        text = service.metrics.text()
        return fastapi.Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(fastapi.exceptions.RequestValidationError)
    async def invalid_parameter(request: fastapi.Request, error: Exception) -> fastapi.Response:
        assert isinstance(error, fastapi.exceptions.RequestValidationError)
        first = error.errors()[0]
        message = f"{first['loc'][-1]}: {first['msg']}"
        return fastapi.responses.JSONResponse({"error": message}, 400)

    @app.exception_handler(starlette.exceptions.HTTPException)
    async def malformed(request: fastapi.Request, error: Exception) -> fastapi.Response:
        assert isinstance(error, starlette.exceptions.HTTPException)
        message = f"Malformed request: {request.method} {request.url.path}"
        return fastapi.responses.JSONResponse({"error": message}, error.status_code)

    if page is not None:
        app.include_router(page.router(bodies))

    @app.api_route("/{path:path}", methods=METHODS)
    async def models(request: fastapi.Request, path: str) -> fastapi.Response:
        return await _answer(service, request, bodies, timeout)

    return app


async def _answer(
    service: Service, request: fastapi.Request, bodies: BodyReader, timeout: float
) -> fastapi.Response:
    url = request.url.path
    called, asked = _CALL.fullmatch(url), _GET.fullmatch(url)
    model = (called or asked or {"model": ""})["model"]
    async with handling(service, request, "REST", model, called is not None) as answer:
        if request.method == "POST" and called:
            async with bodies.read(request, answer) as body:
                answer.details["bytes_in"] = len(body)
                answer.content = await _call(
                    service, request, called, body, answer.reservation, timeout
                )
        elif request.method in ("GET", "HEAD") and _LIST.fullmatch(url):
            answer.content = await run_in_threadpool(_all_statuses, service)
        elif request.method in ("GET", "HEAD") and asked:
            answer.content = await run_in_threadpool(_described, service, asked)
        elif not url.lower().startswith("/v1/"):
            raise not_found(f"there is no {url} on this server")
        else:
            raise invalid(f"Malformed request: {request.method} {url}")
    return answer.response()


async def _call(
    service: Service,
    request: fastapi.Request,
    called: re.Match[str],
    body: bytes,
    reservation: Reservation,
    timeout: float,
) -> bytes:
    service.batcher.check_room()
    servable = _find(service, called, reservation)
    verb = called["verb"].lower()
    if verb != "predict":
        kind = {"classify": "classification", "regress": "regression"}[verb]
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/{verb}. "
            "Was: tensorflow/serving/predict"
        )
    until = time.monotonic() + timeout
    parsed = reservation.hold_until(_converting.submit(rest_json.parse, body, servable))
    signature, kind, inputs = await wait_for_result(request, parsed, timeout)
    prepared = service.prepare(servable, signature, inputs, reservation)
    inputs = await wait_for_result(request, prepared, until - time.monotonic())
    left = until - time.monotonic()
    if left <= 0.0:
        raise timeout_error()
    future = reservation.hold_until(service.batcher.submit(servable, signature, inputs, left))
    outputs = await wait_for_result(request, future, left)
    written = _converting.submit(lambda: rest_json.dumps(rest_json.answer(outputs, kind)))
    return await wait_for_result(request, reservation.hold_until(written), timeout)


def _find(
    service: Service, match: re.Match[str], reservation: Reservation | None = None
) -> Servable:
    return service.manager.find(match["model"], _version(match), match["label"], reservation)


def _version(match: re.Match[str]) -> int | None:
    text = match["version"]
    if text and (len(text) > 19 or int(text) > _LARGEST):
        raise invalid(f"Failed to convert version: {text[:40]} to numeric.")
    return int(text) if text else None


def _described(service: Service, match: re.Match[str]) -> bytes:
    if match["metadata"]:
        servable = _find(service, match)
        # Clients expect TF Serving's nesting: metadata.signature_def.signature_def.
        defs = metadata_of(servable)
        signatures = json_format.MessageToDict(
            defs, preserving_proto_field_name=True, including_default_value_fields=True
        )
        spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        return rest_json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}})
    response = service.manager.status(match["model"], _version(match), match["label"])
    return rest_json.dumps(_status(response))


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
    """Returns the status of each model. It is an addition to TF Serving's interface."""
    answers = {}
    for name in service.manager.models():
        try:
            answers[name] = _status(service.manager.status(name))
        except ServingError as error:
            answers[name] = {"error": error.message}
    return rest_json.dumps({"models": answers})
