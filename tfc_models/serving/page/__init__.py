"""Web page at `/`: compresses an image with a model, and with JPEG, WebP and AVIF to equal size.

The server keeps no state between requests of the page. Models are called through the batcher, as
for other clients.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import pathlib
from typing import Any

import fastapi
import numpy as np
from PIL import Image

from tfc_models import evaluation, images, samples
from tfc_models.codec import container
from tfc_models.evaluation.measuring import finite
from tfc_models.evaluation.quality_metrics import ALWAYS
from tfc_models.metrics import METRICS as METRIC_RECORDS
from tfc_models.metrics import Metric
from tfc_models.serving import rest_json
from tfc_models.serving.errors import ServingError, invalid, not_found
from tfc_models.serving.memory import Reservation, Workers
from tfc_models.serving.servable import BITSTREAMS, IMAGES, Arrays, Servable
from tfc_models.serving.service import Service, encode_bmp, read_image
from tfc_models.serving.web import BodyReader, ResponseBuilder, handling, wait_for_result

STATIC = pathlib.Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PEERS = {name: evaluation.PEERS[name] for name in ("jpeg", "webp", "avif")}
DEFAULT_MAX_PIXELS = 4096 * 4096
READ = ["GET", "HEAD"]
SHARP = "decompress_at_realism"
FAST = "decompress_fast"
QUALITY = fastapi.Query(None, ge=0, le=container.LARGEST_QUALITY)
REALISM = fastapi.Query(0.0, ge=0.0, le=1.0)
DECODER = fastapi.Query("full", pattern="^(full|fast)$")
SIZE = fastapi.Query(ge=1, le=2**31 - 1)
WHITE = (255, 255, 255)  # Background of transparent images.
SECONDS = 300.0  # Timeout of a step: finding a size takes about eight encodings of a large image.
WAITING = 16  # Maximum queue length of measurements, and of encodings.
METRICS = tuple(METRIC_RECORDS[name] for name in ALWAYS)
"""Metrics in the table, in the order of its columns."""


class Page:
    """Request handlers of the web page."""

    def __init__(self, service: Service, max_pixels: int) -> None:
        self._service, self._max_pixels = service, max_pixels
        # One thread each, to leave the processor to the models.
        busy = "too many images wait to be measured; try again later"
        self._figures = Workers("figures", 1, WAITING, busy)
        self._peers = Workers("peers", 1, WAITING, busy)

    def router(self, bodies: BodyReader) -> fastapi.APIRouter:
        """Returns the routes of the page."""
        router = fastapi.APIRouter()
        files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
        photos = samples.files()

        @router.api_route("/", methods=READ)
        def index() -> fastapi.Response:
            return _file(files["index.html"])

        @router.api_route("/page/models", methods=READ)
        async def models(request: fastapi.Request) -> fastapi.Response:
            async with self._handling(request) as answer:
                metrics = [_column(metric) for metric in METRICS]
                answer.set_json(
                    {"models": self._models(), "max_bytes": bodies.limit, "metrics": metrics}
                )
            return answer.response()

        @router.api_route("/page/samples", methods=READ)
        async def names(request: fastapi.Request) -> fastapi.Response:
            async with self._handling(request) as answer:
                answer.set_json({"samples": sorted(photos)})
            return answer.response()

        @router.api_route("/page/samples/{name}", methods=READ)
        async def sample(request: fastapi.Request, name: str) -> fastapi.Response:
            async with self._handling(request) as answer:
                path = photos.get(name)
                if path is None:
                    raise not_found(f"there is no sample {name}")
                return fastapi.responses.FileResponse(path, headers=HEADERS)
            return answer.response()

        @router.post("/page/picture")
        async def picture(request: fastapi.Request) -> fastapi.Response:
            async with self._handling(request) as answer, bodies.read(request, answer) as body:
                self._admit(body, answer.reservation)
                job = answer.reservation.hold_until(
                    self._service.decoders.submit(self._opened, body)
                )
                answer.content = await wait_for_result(request, job, SECONDS)
            return answer.response()

        @router.post("/page/compress")
        async def compress(
            request: fastapi.Request,
            model: str,
            quality: int | None = QUALITY,
            realism: float = REALISM,
            decoder: str = DECODER,
        ) -> fastapi.Response:
            async with self._handling(request) as answer, bodies.read(request, answer) as body:
                settings = model, quality, realism, decoder
                answer.content = await self._compressed(
                    request, body, answer.reservation, *settings
                )
            return answer.response()

        @router.post("/page/decompress")
        async def decompress(
            request: fastapi.Request,
            model: str = "",
            realism: float = REALISM,
            decoder: str = DECODER,
        ) -> fastapi.Response:
            async with self._handling(request) as answer, bodies.read(request, answer) as body:
                answer.content = await self._decompressed(
                    request, body, answer.reservation, model, realism, decoder
                )
            return answer.response()

        @router.post("/page/peer")
        async def peer(request: fastapi.Request, name: str, size: int = SIZE) -> fastapi.Response:
            async with self._handling(request) as answer, bodies.read(request, answer) as body:
                if name not in PEERS:
                    raise not_found(f"there is no codec {name}; available: {', '.join(PEERS)}")
                self._admit(body, answer.reservation)
                job = answer.reservation.hold_until(
                    self._peers.submit(self._peer, body, name, size)
                )
                answer.content = await wait_for_result(request, job, SECONDS)
            return answer.response()

        @router.api_route("/page/{name}", methods=READ)
        async def static(request: fastapi.Request, name: str) -> fastapi.Response:
            async with self._handling(request) as answer:
                if name not in files:
                    raise not_found(f"there is no /page/{name} on this server")
                return _file(files[name])
            return answer.response()

        return router

    def _handling(
        self, request: fastapi.Request
    ) -> contextlib.AbstractAsyncContextManager[ResponseBuilder]:
        # Logged, but not counted as a prediction: it also measures and compares.
        return handling(self._service, request, "PAGE", "", False)

    def _models(self) -> list[dict[str, Any]]:
        """Lists the served models that are codecs."""
        models = []
        for servable in self._codecs():
            known = servable.signature_defs
            one = {
                "name": servable.name,
                "version": servable.version,
                "many_rates": "compress_at_quality" in known,
                "realism": SHARP in known,
                "fast": FAST in known,
            }
            models.append(one)
        return models

    def _codecs(self) -> list[Servable]:
        servables = []
        for name in self._service.manager.models():
            try:
                servables.append(self._service.manager.find(name))
            except ServingError:
                continue  # The model is not loaded (yet).
        both = ("compress", "decompress")
        return [s for s in servables if all(s.signature_def(name) for name in both)]

    def _admit(self, body: bytes, reservation: Reservation) -> None:
        """Reserves memory for an image according to its header. Raises ServingError over limits."""
        try:
            size = images.size_of(body)
            images.check_size(*size, self._max_pixels, max(size))
        except images.ImageTooLargeError as error:
            raise self._too_large(error) from None
        except images.ImageError as error:
            raise invalid(str(error)) from None
        reservation.take(pixels=size[0] * size[1])

    def _read(self, body: bytes) -> images.DecodedImage:
        # `_admit` has checked the size.
        return read_image(body, WHITE, self._max_pixels, self._max_pixels)

    def _too_large(self, error: images.ImageTooLargeError) -> ServingError:
        width, height = error.size
        return invalid(
            f"{width}×{height} is over the page's limit of {self._max_pixels:,} pixels: "
            "use tfc-models compress for larger images."
        )

    def _opened(self, body: bytes) -> bytes:
        """Returns a JSON document with the image as codecs get it: upright, in sRGB."""
        opened = self._read(body)
        height, width = opened.pixels.shape[:2]
        notes = list(opened.notes)
        if opened.bits > 8:
            notes.append(f"{opened.bits} bits per sample were converted to 8.")
        png = _text(_png(opened.coded))
        return rest_json.dumps({"picture": png, "width": width, "height": height, "notes": notes})

    async def _compressed(
        self,
        request: fastapi.Request,
        body: bytes,
        reservation: Reservation,
        model: str,
        quality: int | None,
        realism: float,
        decoder: str,
    ) -> bytes:
        servable = self._service.manager.find(model, reservation=reservation)
        signature = "compress"
        inputs: dict[str, Any] = {}
        if quality is not None:
            signature = "compress_at_quality"
            if servable.signature_def(signature) is None:
                raise invalid(f"{model} has a fixed rate: omit quality.")
            inputs["quality"] = quality
        self._service.batcher.check_room()
        self._admit(body, reservation)
        job = reservation.hold_until(self._service.decoders.submit(self._prepared, body))
        pixels, inputs[IMAGES] = await wait_for_result(request, job, SECONDS)
        bitstream = await self._called(request, servable, signature, inputs, reservation)
        settings = realism, decoder
        png = await self._decoded(request, servable, bitstream, *settings, reservation)
        job = reservation.hold_until(self._figures.submit(_measured, pixels, bitstream, png))
        return await wait_for_result(request, job, SECONDS)

    def _prepared(self, body: bytes) -> tuple[np.ndarray, bytes]:
        pixels = self._read(body).coded
        return pixels, encode_bmp(pixels)

    async def _decompressed(
        self,
        request: fastapi.Request,
        body: bytes,
        reservation: Reservation,
        preferred: str,
        realism: float,
        decoder: str,
    ) -> bytes:
        """Decompresses a file with the model that compressed it."""
        try:
            size = container.claimed_size(body)
            images.check_size(*size, self._max_pixels, max(size))
            reservation.take(pixels=size[0] * size[1])
            # In a worker: the fingerprint of a file of some megabytes takes a second.
            job = reservation.hold_until(self._service.decoders.submit(container.inspect, body))
            header = await wait_for_result(request, job, SECONDS)
        except container.BitstreamError as error:
            raise invalid(str(error)) from None
        except images.ImageTooLargeError as error:
            raise self._too_large(error) from None
        first_error: ServingError | None = None
        for servable in sorted(self._codecs(), key=lambda s: s.name != preferred):
            # Only decoding shows whether a model compressed the file. It may have no other decoder.
            amount = realism if servable.signature_def(SHARP) else 0.0
            used = decoder if servable.signature_def(FAST) else "full"
            try:
                png = await self._decoded(request, servable, body, amount, used, reservation)
            except ServingError as error:
                first_error = first_error or error
                continue
            document = {
                "picture": _text(png),
                "model": servable.name,
                "width": header.width,
                "height": header.height,
                "bytes": len(body),
                "bpp": header.bits_per_pixel,
                "realism": amount,
                "decoder": used,
            }
            job = reservation.hold_until(self._service.decoders.submit(rest_json.dumps, document))
            return await wait_for_result(request, job, SECONDS)
        raise first_error or not_found("no model is served")

    async def _decoded(
        self,
        request: fastapi.Request,
        servable: Servable,
        bitstream: bytes,
        realism: float,
        decoder: str,
        reservation: Reservation,
    ) -> bytes:
        """Decodes a bitstream to a PNG file."""
        inputs: dict[str, Any] = {BITSTREAMS: bitstream}
        if decoder == "fast":
            if realism:
                raise invalid("the fast decoder has no realism: set realism to 0.")
            if servable.signature_def(FAST) is None:
                raise invalid(f"{servable.name} has no fast decoder: set decoder to full.")
            return await self._called(request, servable, FAST, inputs, reservation)
        if not realism:
            return await self._called(request, servable, "decompress", inputs, reservation)
        if servable.signature_def(SHARP) is None:
            raise invalid(f"{servable.name} has no realism decoder: set realism to 0.")
        inputs["realism"] = realism
        return await self._called(request, servable, SHARP, inputs, reservation)

    async def _called(
        self,
        request: fastapi.Request,
        servable: Servable,
        signature: str,
        inputs: dict[str, Any],
        reservation: Reservation,
    ) -> bytes:
        dtypes = {bytes: object, int: np.int32, float: np.float32}
        arrays: Arrays = {k: np.array([v], dtypes[type(v)]) for k, v in inputs.items()}
        future = self._service.batcher.submit(servable, signature, arrays, SECONDS)
        outputs = await wait_for_result(request, reservation.hold_until(future), SECONDS)
        return next(iter(outputs.values()))[0]

    def _peer(self, body: bytes, name: str, size: int) -> bytes:
        """Compresses an image with a standard codec, at the quality with the nearest file size."""
        pixels, codec = self._read(body).coded, PEERS[name]
        try:
            quality = codec.at_size(pixels, size)
            encode = functools.partial(codec.encode, setting=quality)
            coded = evaluation.code(pixels, encode, codec.decode)
        except (OSError, ValueError) as error:
            raise invalid(f"{codec.title} cannot encode this image ({error})") from None
        document = {**_figures(pixels, coded), "picture": _text(coded.data)}
        document.update(label=codec.label(quality), type=f"image/{name}")
        return rest_json.dumps(document)


def _column(metric: Metric) -> dict[str, Any]:
    """Describes a table column of a metric."""
    _, _, unit = metric.axis_title.partition(", ")
    return {
        "name": metric.key,
        "title": metric.title,
        "unit": "" if metric.in_decibels else unit,
        "digits": metric.digits,
        "higher_is_better": metric.higher_is_better,
        "min_side": metric.min_side,
    }


def _measured(pixels: np.ndarray, bitstream: bytes, png: bytes) -> bytes:
    """Returns a JSON document with size and quality of a compressed image, and both files."""
    decoded = images.read(png, None, 2**62, 2**62).coded
    figures = _figures(pixels, evaluation.Coded(bitstream, decoded, 0.0, 0.0))
    return rest_json.dumps({**figures, "bitstream": _text(bitstream), "picture": _text(png)})


def _figures(pixels: np.ndarray, coded: evaluation.Coded) -> dict[str, Any]:
    figures = evaluation.measure(pixels, coded)
    psnr = finite(figures.psnr)
    return {"bytes": figures.bytes, "bpp": figures.bpp, "psnr": psnr, "ms_ssim": figures.ms_ssim}


def _png(pixels: np.ndarray) -> bytes:
    """Encodes PNG quickly: the file is only sent to the browser."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _file(path: pathlib.Path) -> fastapi.Response:
    kind = f"{TYPES[path.suffix]}; charset=utf-8"
    return fastapi.responses.FileResponse(path, media_type=kind, headers=HEADERS)
