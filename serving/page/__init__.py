"""The page at `/`: a picture through a model and back, beside JPEG, WebP and AVIF at its size.

Its requests hold all that their answers need: nothing is kept between them. Models are called
as every client calls them, through the batcher.
"""

from __future__ import annotations

import base64
import concurrent.futures
import functools
import io
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool

from serving.errors import ServingError, exhausted, invalid, not_found
from serving.servable import Servable
from serving.service import Service
from serving.web import Answer, Bodies, answering, result_of
from tfc_models import evaluation, pictures, samples
from tfc_models.codec import container
from tfc_models.evaluation.measuring import finite

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
PEER_SECONDS = 300.0  # An encoder tries eight or so qualities.
WAITING = 16  # pictures that wait to be measured, and as many for an encoder


class Page:
    """Answers the page's requests."""

    def __init__(self, service: Service, timeout: float, max_pixels: int) -> None:
        self._service, self._timeout, self._max_pixels = service, timeout, max_pixels
        # One at a time each: they are to leave the processor to the models.
        self._figures, self._peers = _Queue("figures"), _Queue("peers")

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
            async with self._answering(request) as answer, bodies.read(request) as body:
                answer.set_json(await run_in_threadpool(self._opened, body))
            return answer.response()

        @router.post("/page/compress")
        async def compress(
            request: fastapi.Request,
            model: str,
            quality: int | None = QUALITY,
            realism: float = REALISM,
        ) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request) as body:
                answer.set_json(await self._compressed(request, body, model, quality, realism))
            return answer.response()

        @router.post("/page/decompress")
        async def decompress(
            request: fastapi.Request, model: str = "", realism: float = REALISM
        ) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request) as body:
                answer.set_json(await self._decompressed(request, body, model, realism))
            return answer.response()

        @router.post("/page/peer")
        async def peer(request: fastapi.Request, name: str, size: int = SIZE) -> fastapi.Response:
            async with self._answering(request) as answer, bodies.read(request) as body:
                if name not in PEERS:
                    raise not_found(f"there is no codec {name}: {', '.join(PEERS)} are there")
                job = self._peers.submit(functools.partial(self._peer, body, name, size))
                answer.set_json(await result_of(request, job, PEER_SECONDS))
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
        """What is served and codes pictures."""
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

    def _read(self, body: bytes) -> pictures.Picture:
        try:
            return pictures.read(body, WHITE, self._max_pixels)
        except pictures.PictureTooLargeError as error:
            raise self._too_large(error) from None
        except pictures.PictureError as error:
            raise invalid(str(error)) from None

    def _too_large(self, error: pictures.PictureTooLargeError) -> ServingError:
        width, height = error.size
        return invalid(
            f"{width}×{height} is over the page's limit of {self._max_pixels:,} pixels: "
            "tfc-models compress takes larger pictures."
        )

    def _opened(self, body: bytes) -> dict[str, Any]:
        """The picture upright and in sRGB, as every codec gets it."""
        pixels, notes = self._read(body)
        height, width = pixels.shape[:2]
        picture = _text(_png(pixels))
        return {"picture": picture, "width": width, "height": height, "notes": list(notes)}

    async def _compressed(
        self,
        request: fastapi.Request,
        body: bytes,
        model: str,
        quality: int | None,
        realism: float,
    ) -> dict[str, Any]:
        servable = self._service.manager.find(model)
        pixels = (await run_in_threadpool(self._read, body)).pixels
        inputs = {"image_bytes": await run_in_threadpool(_png, pixels)}
        signature = "compress"
        if quality is not None:
            signature = "compress_at_quality"
            if servable.signature_def(signature) is None:
                raise invalid(f"{model} has one rate: leave quality out.")
            inputs["quality"] = quality
        bitstream = await self._called(request, servable, signature, inputs)
        picture = await self._decoded(request, servable, bitstream, realism)
        job = self._figures.submit(functools.partial(_measured, pixels, bitstream, picture))
        figures = await result_of(request, job, self._timeout)
        return {**figures, "bitstream": _text(bitstream), "picture": _text(picture)}

    async def _decompressed(
        self, request: fastapi.Request, body: bytes, preferred: str, realism: float
    ) -> dict[str, Any]:
        """By whichever model made the file."""
        try:
            header = container.inspect(body)
            longest = max(header.width, header.height)
            pictures.check_size(header.width, header.height, self._max_pixels, longest)
        except container.BitstreamError as error:
            raise invalid(str(error)) from None
        except pictures.PictureTooLargeError as error:
            raise self._too_large(error) from None
        refused = None
        for servable in sorted(self._codecs(), key=lambda s: s.name != preferred):
            # Whose file it is shows in decoding; it may be of a model without such a decoder.
            has = servable.signature_def(SHARP) is not None
            try:
                picture = await self._decoded(request, servable, body, realism if has else 0.0)
            except ServingError as error:
                refused = refused or error
                continue
            return {
                "picture": _text(picture),
                "model": servable.name,
                "width": header.width,
                "height": header.height,
                "bytes": len(body),
                "bpp": header.bits_per_pixel,
                "realism": realism if has else 0.0,
            }
        raise refused or not_found("no model is served")

    async def _decoded(
        self, request: fastapi.Request, servable: Servable, bitstream: bytes, realism: float
    ) -> bytes:
        """As a PNG file."""
        inputs: dict[str, Any] = {"bitstream_bytes": bitstream}
        if not realism:
            return await self._called(request, servable, "decompress", inputs)
        if servable.signature_def(SHARP) is None:
            raise invalid(f"{servable.name} has no realism decoder: leave realism at 0.")
        inputs["realism"] = realism
        return await self._called(request, servable, SHARP, inputs)

    async def _called(
        self, request: fastapi.Request, servable: Servable, signature: str, inputs: dict[str, Any]
    ) -> bytes:
        dtypes = {bytes: object, int: np.int32, float: np.float32}
        arrays = {k: np.array([v], dtypes[type(v)]) for k, v in inputs.items()}
        future = self._service.batcher.submit(servable, signature, arrays, self._timeout)
        outputs = await result_of(request, future, self._timeout)
        return next(iter(outputs.values()))[0]

    def _peer(self, body: bytes, name: str, size: int) -> dict[str, Any]:
        """A codec at the quality whose file is nearest to a size."""
        pixels, codec = self._read(body).pixels, PEERS[name]
        try:
            quality = codec.at_size(pixels, size)
            encode = functools.partial(codec.encode, setting=quality)
            coded = evaluation.code(pixels, encode, codec.decode)
        except (OSError, ValueError) as error:
            raise invalid(f"{codec.title} cannot hold this picture ({error})") from None
        document = {**_figures(pixels, coded), "picture": _text(coded.data)}
        return {**document, "label": codec.label(quality), "type": f"image/{name}"}


class _Queue:
    """One thread, and a bounded number of jobs that wait for it."""

    def __init__(self, name: str) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=name)
        self._jobs: set[concurrent.futures.Future] = set()

    def submit(self, job: Callable[[], Any]) -> concurrent.futures.Future:
        """Called in one thread only: the event loop's."""
        self._jobs = {one for one in self._jobs if not one.done()}
        if len(self._jobs) >= WAITING:
            raise exhausted("too many pictures wait to be measured; try again later")
        future = self._pool.submit(job)
        self._jobs.add(future)
        return future


def _measured(pixels: np.ndarray, bitstream: bytes, picture: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(picture)) as image:
        decoded = np.asarray(image)
    return _figures(pixels, evaluation.Coded(bitstream, decoded, 0.0, 0.0))


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
