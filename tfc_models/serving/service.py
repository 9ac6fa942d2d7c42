"""Steps that both transports share: find the model, run it, count the request, log it."""

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
from tfc_models.serving.memory import Budget, Share, Workers
from tfc_models.serving.metrics import Metrics
from tfc_models.serving.servable import BITSTREAMS, IMAGES, PIXELS, Arrays, Servable
from tfc_models.serving.weighing import pixels_of, searches, sizes_of

DECODERS = 2  # pictures that are decoded at a time


@dataclasses.dataclass(frozen=True)
class Limits:
    """Largest pictures that are accepted, as files, bitstreams or pixels."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_side: int = DEFAULT_MAX_SIDE


class Service:
    """The parts of a server that do not depend on how one talks to it."""

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
        self.decoders = Workers("pictures", DECODERS, batcher.parameters.capacity, QUEUE_FULL)

    def prepare(
        self, servable: Servable, signature: str, inputs: Mapping[str, np.ndarray], share: Share
    ) -> concurrent.futures.Future:
        """Inputs for a call, as a future; picture files are read as `tfc-models compress` does.

        Takes what they cost out of the budget, from headers, before anything is decoded.
        """
        arrays, size = self.batcher.checked(servable, signature, inputs)
        self.batcher.check_room(size)
        if servable.takes_images(signature):
            counts = [self._pixels(data) for data in arrays[IMAGES]]
            share.take(pixels=sum(counts))
            if searches(arrays):  # Pictures of a request are searched one after the other.
                share.take_search(max(counts))
            return share.until(self.decoders.submit(self._prepared, arrays))
        self._check_sizes(arrays)
        share.take(pixels=pixels_of(arrays))
        done: concurrent.futures.Future = concurrent.futures.Future()
        done.set_result(arrays)
        return done

    def _check_sizes(self, arrays: Arrays) -> None:
        """Refuses bitstreams and pixels over the limits."""
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
        """Reads a picture's size from its header, and refuses one over the limits."""
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
            prepared[i] = bmp(read_image(data, None, *limits).coded)
        return {**arrays, IMAGES: prepared}

    def answered(
        self,
        api: str,
        model: str,
        started: float,
        error: ServingError | None,
        predicted: bool,
        **details: object,
    ) -> None:
        """Counts a prediction, and writes a line of JSON about any answer."""
        seconds = time.monotonic() - started
        code = error.code.name if error else grpc.StatusCode.OK.name
        if predicted:
            # Names that nobody configured are not to fill the metrics.
            known = model if model in self.manager.models() else ""
            self.metrics.count(known, code, api, seconds)
        line = {
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


def result_of(future: concurrent.futures.Future, timeout: float | None) -> dict:
    """Waits for the result of a batched call."""
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None


def read_image(
    data: bytes, background: images.Color | None, max_pixels: int, max_side: int
) -> images.DecodedImage:
    """The picture in a file of any kind, or one line about why there is none."""
    try:
        return images.read(data, background, max_pixels, max_side)
    except images.ImageError as error:
        raise invalid(str(error)) from None


def bmp(pixels: np.ndarray) -> bytes:
    """Pixels as a file that a model's graph decodes to the same pixels, in next to no time."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()
