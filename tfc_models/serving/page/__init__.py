"""The page at `/`: a picture through a model and back, beside JPEG, WebP and AVIF at its size.

Its requests hold all that their answers need: nothing is kept between them. Models are called
as every client calls them, through the batcher.
"""

from __future__ import annotations

import base64
import functools
import io
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import numpy as np
from PIL import Image

from tfc_models import evaluation, images, samples
from tfc_models.codec import container
from tfc_models.evaluation.measuring import finite
from tfc_models.serving import rest_json
from tfc_models.serving.errors import ServingError, invalid, not_found
from tfc_models.serving.memory import Share, Workers
from tfc_models.serving.servable import BITSTREAMS, IMAGES, Servable
from tfc_models.serving.service import Service, bmp, read_image
from tfc_models.serving.web import Answer, Bodies, answering, result_of

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
QUALITY = fastapi.Query(None, ge=0, le=container.LARGEST_QUALITY)
REALISM = fastapi.Query(0.0, ge=0.0, le=1.0)
SIZE = fastapi.Query(ge=1, le=2**31 - 1)
WHITE = (255, 255, 255)  # what a transparent picture is put on
SECONDS = 300.0  # for a step: an encoder tries eight or so qualities of a large picture.
WAITING = 16  # pictures that wait to be measured, and as many for an encoder


class Page:
    """Answers the page's requests."""

    def __init__(self, service: Service, max_pixels: int) -> None:
        self._service, self._max_pixels = service, max_pixels
        # One at a time each: they are to leave the processor to the models.
        busy = "too many pictures wait to be measured; try again later"
        self._figures = Workers("figures", 1, WAITING, busy)
        self._peers = Workers("peers", 1, WAITING, busy)

    def router(self, bodies: Bodies) -> fastapi.APIRouter:
        """The page's addresses."""
        router = fastapi.APIRouter()
        files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
        photos = samples.files()

        @router.api_route("/", methods=READ)
        def index() -> fastapi.Response:
            return _file(files["index.html"])

        @router.api_route("/page/models", methods=READ)
        async def models(request: fastapi.Request) -> fastapi.Response:
            async with self._answering(request) as answer:
                answer.set_json({"models": self._models(), "max_bytes": bodies.limit})
            return answer.response()

        @router.api_route("/page/samples", methods=READ)
        async def names(request: fastapi.Request) -> fastapi.Response:
            async with self._answering(request) as answer:
                answer.set_json({"samples": sorted(photos)})
            return answer.response()

        @router.api_route("/page/samples/{name}", methods=READ)
        async def sample(request: fastapi.Request, name: str) -> fastapi.Response:
            async with self._answering(request) as answer:
                path = photos.get(name)
                if path is None:
                    raise not_found(f"there is no sample {name}")
                return fastapi.responses.FileResponse(path, headers=HEADERS)
            return answer.response()

        @router.post("/page/picture")
        async def picture(request: fastapi.Request) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request, answer) as body:
                self._admit(body, answer.share)
                job = answer.share.until(self._service.decoders.submit(self._opened, body))
                answer.content = await result_of(request, job, SECONDS)
            return answer.response()

        @router.post("/page/compress")
        async def compress(
            request: fastapi.Request,
            model: str,
            quality: int | None = QUALITY,
            realism: float = REALISM,
        ) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request, answer) as body:
                settings = model, quality, realism
                answer.content = await self._compressed(request, body, answer.share, *settings)
            return answer.response()

        @router.post("/page/decompress")
        async def decompress(
            request: fastapi.Request, model: str = "", realism: float = REALISM
        ) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request, answer) as body:
                answer.content = await self._decompressed(
                    request, body, answer.share, model, realism
                )
            return answer.response()

        @router.post("/page/peer")
        async def peer(request: fastapi.Request, name: str, size: int = SIZE) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request, answer) as body:
                if name not in PEERS:
                    raise not_found(f"there is no codec {name}: {', '.join(PEERS)} are there")
                self._admit(body, answer.share)
                job = answer.share.until(self._peers.submit(self._peer, body, name, size))
                answer.content = await result_of(request, job, SECONDS)
            return answer.response()

        @router.api_route("/page/{name}", methods=READ)
        async def static(request: fastapi.Request, name: str) -> fastapi.Response:
            async with self._answering(request) as answer:
                if name not in files:
                    raise not_found(f"there is no /page/{name} here")
                return _file(files[name])
            return answer.response()

        return router

    def _answering(self, request: fastapi.Request) -> AsyncIterator[Answer]:
        # Logged, and not among the models' requests: it measures and compares, too.
        return answering(self._service, request, "PAGE", "", False)

    def _models(self) -> list[dict[str, Any]]:
        """Lists the served models that code pictures."""
        found = []
        for servable in self._codecs():
            known = servable.signature_defs
            one = {
                "name": servable.name,
                "version": servable.version,
                "many_rates": "compress_at_quality" in known,
                "realism": SHARP in known,
            }
            found.append(one)
        return found

    def _codecs(self) -> list[Servable]:
        servables = []
        for name in self._service.manager.models():
            try:
                servables.append(self._service.manager.find(name))
            except ServingError:
                continue  # Not loaded, or not yet.
        both = ("compress", "decompress")
        return [s for s in servables if all(s.signature_def(name) for name in both)]

    def _admit(self, body: bytes, share: Share) -> None:
        """Takes what a picture costs out of the budget, by its header, or refuses it."""
        try:
            size = images.size_of(body)
            images.check_size(*size, self._max_pixels, max(size))
        except images.ImageTooLargeError as error:
            raise self._too_large(error) from None
        except images.ImageError as error:
            raise invalid(str(error)) from None
        share.take(pixels=size[0] * size[1])

    def _read(self, body: bytes) -> images.DecodedImage:
        # No side of its own: `_admit` has seen how large it is.
        return read_image(body, WHITE, self._max_pixels, self._max_pixels)

    def _too_large(self, error: images.ImageTooLargeError) -> ServingError:
        width, height = error.size
        return invalid(
            f"{width}×{height} is over the page's limit of {self._max_pixels:,} pixels: "
            "tfc-models compress takes larger pictures."
        )

    def _opened(self, body: bytes) -> bytes:
        """The picture upright and in sRGB, as every codec gets it, in a JSON document."""
        opened = self._read(body)
        height, width = opened.pixels.shape[:2]
        notes = list(opened.notes)
        if opened.bits > 8:
            notes.append(f"{opened.bits} bits a sample became 8.")
        picture = _text(_png(opened.coded))
        return rest_json.dumps(
            {"picture": picture, "width": width, "height": height, "notes": notes}
        )

    async def _compressed(
        self,
        request: fastapi.Request,
        body: bytes,
        share: Share,
        model: str,
        quality: int | None,
        realism: float,
    ) -> bytes:
        servable = self._service.manager.find(model, share=share)
        signature, inputs = "compress", {}
        if quality is not None:
            signature = "compress_at_quality"
            if servable.signature_def(signature) is None:
                raise invalid(f"{model} has one rate: leave quality out.")
            inputs["quality"] = quality
        self._service.batcher.check_room()
        self._admit(body, share)
        job = share.until(self._service.decoders.submit(self._prepared, body))
        pixels, inputs[IMAGES] = await result_of(request, job, SECONDS)
        bitstream = await self._called(request, servable, signature, inputs, share)
        picture = await self._decoded(request, servable, bitstream, realism, share)
        job = share.until(self._figures.submit(_measured, pixels, bitstream, picture))
        return await result_of(request, job, SECONDS)

    def _prepared(self, body: bytes) -> tuple[np.ndarray, bytes]:
        pixels = self._read(body).coded
        return pixels, bmp(pixels)

    async def _decompressed(
        self, request: fastapi.Request, body: bytes, share: Share, preferred: str, realism: float
    ) -> bytes:
        """By whichever model made the file."""
        try:
            size = container.claimed_size(body)
            images.check_size(*size, self._max_pixels, max(size))
            share.take(pixels=size[0] * size[1])
            # Takes the fingerprint of the whole file, which is a second for some megabytes.
            job = share.until(self._service.decoders.submit(container.inspect, body))
            header = await result_of(request, job, SECONDS)
        except container.BitstreamError as error:
            raise invalid(str(error)) from None
        except images.ImageTooLargeError as error:
            raise self._too_large(error) from None
        refused = None
        for servable in sorted(self._codecs(), key=lambda s: s.name != preferred):
            # Whose file it is shows in decoding; it may be of a model without such a decoder.
            has = servable.signature_def(SHARP) is not None
            try:
                amount = realism if has else 0.0
                picture = await self._decoded(request, servable, body, amount, share)
            except ServingError as error:
                refused = refused or error
                continue
            document = {
                "picture": _text(picture),
                "model": servable.name,
                "width": header.width,
                "height": header.height,
                "bytes": len(body),
                "bpp": header.bits_per_pixel,
                "realism": amount,
            }
            job = share.until(self._service.decoders.submit(rest_json.dumps, document))
            return await result_of(request, job, SECONDS)
        raise refused or not_found("no model is served")

    async def _decoded(
        self,
        request: fastapi.Request,
        servable: Servable,
        bitstream: bytes,
        realism: float,
        share: Share,
    ) -> bytes:
        """As a PNG file."""
        inputs: dict[str, Any] = {BITSTREAMS: bitstream}
        if not realism:
            return await self._called(request, servable, "decompress", inputs, share)
        if servable.signature_def(SHARP) is None:
            raise invalid(f"{servable.name} has no realism decoder: leave realism at 0.")
        inputs["realism"] = realism
        return await self._called(request, servable, SHARP, inputs, share)

    async def _called(
        self,
        request: fastapi.Request,
        servable: Servable,
        signature: str,
        inputs: dict[str, Any],
        share: Share,
    ) -> bytes:
        dtypes = {bytes: object, int: np.int32, float: np.float32}
        arrays = {k: np.array([v], dtypes[type(v)]) for k, v in inputs.items()}
        future = self._service.batcher.submit(servable, signature, arrays, SECONDS)
        outputs = await result_of(request, share.until(future), SECONDS)
        return next(iter(outputs.values()))[0]

    def _peer(self, body: bytes, name: str, size: int) -> bytes:
        """A codec at the quality whose file is nearest to a size."""
        pixels, codec = self._read(body).coded, PEERS[name]
        try:
            quality = codec.at_size(pixels, size)
            encode = functools.partial(codec.encode, setting=quality)
            coded = evaluation.code(pixels, encode, codec.decode)
        except (OSError, ValueError) as error:
            raise invalid(f"{codec.title} cannot hold this picture ({error})") from None
        document = {**_figures(pixels, coded), "picture": _text(coded.data)}
        document.update(label=codec.label(quality), type=f"image/{name}")
        return rest_json.dumps(document)


def _measured(pixels: np.ndarray, bitstream: bytes, picture: bytes) -> bytes:
    """Figures of a coded picture, with its files, in a JSON document."""
    decoded = images.read(picture, None, 2**62, 2**62).coded
    figures = _figures(pixels, evaluation.Coded(bitstream, decoded, 0.0, 0.0))
    return rest_json.dumps({**figures, "bitstream": _text(bitstream), "picture": _text(picture)})


def _figures(pixels: np.ndarray, coded: evaluation.Coded) -> dict[str, Any]:
    figures = evaluation.measure(pixels, coded)
    psnr = finite(figures.psnr)
    return {"bytes": figures.bytes, "bpp": figures.bpp, "psnr": psnr, "ms_ssim": figures.ms_ssim}


def _png(pixels: np.ndarray) -> bytes:
    """Quickly: it goes no further than the browser, or the model."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _file(path: pathlib.Path) -> fastapi.Response:
    kind = f"{TYPES[path.suffix]}; charset=utf-8"
    return fastapi.responses.FileResponse(path, media_type=kind, headers=HEADERS)
