"""Processing of requests that REST, gRPC and the web page share."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import time
from collections.abc import Mapping

import grpc
import numpy as np
from PIL import Image

from tfc_models import images
from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE
from tfc_models.serving.batching import QUEUE_FULL, Batcher
from tfc_models.serving.errors import ServingError, invalid
from tfc_models.serving.log import requests_log
from tfc_models.serving.manager import Manager
from tfc_models.serving.memory import Budget, Reservation, Workers
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.request_size import pixels_of, searches, sizes_of
from tfc_models.serving.servable import BITSTREAMS, IMAGES, PIXELS, Arrays, Servable

DECODERS = 2  # Number of images that are decoded concurrently.


@dataclasses.dataclass(frozen=True)
class Limits:
    """Size limits of images, whether sent as files, bitstreams or pixels."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_side: int = DEFAULT_MAX_SIDE


class Service:
    """Parts of a server that do not depend on the transport."""

    def __init__(
        self,
        manager: Manager,
        batcher: Batcher,
        metrics: Metrics,
        budget: Budget,
        limits: Limits,
    ) -> None:
        self.manager, self.batcher, self.metrics = manager, batcher, metrics
        self.budget, self._limits = budget, limits
        self.decoders = Workers("images", DECODERS, batcher.parameters.capacity, QUEUE_FULL)

    def prepare(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        reservation: Reservation,
    ) -> concurrent.futures.Future:
        """Returns a future of the inputs for a call. Image files are converted to sRGB.

        It reserves memory according to file headers, before anything is decoded.
        """
        arrays, size = self.batcher.checked_inputs(servable, signature, inputs)
        self.batcher.check_room(size)
        if servable.takes_images(signature):
            counts = [self._pixels(data) for data in arrays[IMAGES]]
            reservation.take(pixels=sum(counts))
            if searches(arrays):  # The images of a request are searched one at a time.
                reservation.take_search(max(counts))
            return reservation.hold_until(self.decoders.submit(self._prepared, arrays))
        self._check_sizes(arrays)
        reservation.take(pixels=pixels_of(arrays))
        done: concurrent.futures.Future = concurrent.futures.Future()
        done.set_result(arrays)
        return done

    def _check_sizes(self, arrays: Arrays) -> None:
        """Raises ServingError for bitstreams and pixels over the limits."""
        for size in sizes_of(arrays.get(BITSTREAMS, np.array([], object))):
            self._check_size(*size)
        if PIXELS in arrays and arrays[PIXELS].ndim > 1:
            height, width = arrays[PIXELS].shape[:2]
            self._check_size(width, height)

    def _check_size(self, width: int, height: int) -> None:
        try:
            images.check_size(width, height, self._limits.max_pixels, self._limits.max_side)
        except images.ImageError as error:
            raise invalid(str(error)) from None

    def _pixels(self, data: bytes) -> int:
        """Reads the size of an image from its header. Raises ServingError over the limits."""
        try:
            width, height = images.size_of(data)
        except images.ImageError as error:
            raise invalid(str(error)) from None
        self._check_size(width, height)
        return width * height

    def _prepared(self, arrays: Arrays) -> Arrays:
        limits = self._limits.max_pixels, self._limits.max_side
        files = arrays[IMAGES]
        prepared = np.empty(files.shape, object)
        for i, data in enumerate(files):
            prepared[i] = encode_bmp(read_image(data, None, *limits).coded)
        return {**arrays, IMAGES: prepared}

    def record(
        self,
        api: str,
        model: str,
        started: float,
        error: ServingError | None,
        predicted: bool,
        **details: object,
    ) -> None:
        """Counts a prediction, and logs any request as a JSON line."""
        seconds = time.monotonic() - started
        code = error.code.name if error else grpc.StatusCode.OK.name
        if predicted:
            # Unknown model names must not create metrics without limit.
            known = model if model in self.manager.models() else ""
            self.metrics.record_request(known, code, api, seconds)
        line: dict[str, object] = {
            "time": round(time.time(), 3),
            "api": api,
            "model": model,
            "status": code,
            "ms": round(seconds * 1e3, 1),
            **details,
        }
        if error:
            line["error"] = error.message
        requests_log.info("%s", json.dumps(line))


def wait_for_result(future: concurrent.futures.Future, timeout: float | None) -> dict:
    """Waits for the result of a batched call."""
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None


def read_image(
    data: bytes, background: images.Color | None, max_pixels: int, max_side: int
) -> images.DecodedImage:
    """Decodes an image file. Raises ServingError if that fails."""
    try:
        return images.read(data, background, max_pixels, max_side)
    except images.ImageError as error:
        raise invalid(str(error)) from None


def encode_bmp(pixels: np.ndarray) -> bytes:
    """Encodes pixels as a lossless file that a model's graph decodes quickly."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()
