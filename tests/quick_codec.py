"""Codecs without models, and a zoo of them, for tests of programs that use codecs."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Callable

import numpy as np
import pytest

import tfc_models
from tfc_models.codec import container
from tfc_models.zoo import Entry

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
DIGEST = bytes(4)


class QuickCodec:
    """Codec that writes valid headers and deflated pixels."""

    model_name = "quick"
    digest = DIGEST.hex()
    many_rates = False

    def compress(self, image: np.ndarray, quality: int | None = None) -> bytes:
        if quality is not None:
            raise ValueError("quick has one rate.")
        return self._written(image, 0)

    def _written(self, image: np.ndarray, rate: int) -> bytes:
        height, width = image.shape[:2]
        stream = zlib.compress(image.tobytes())
        sizes = container.varint(height) + container.varint(width) + container.varint(rate)
        grey = image.ndim == 2
        version = container.FLAGS_VERSION if grey else container.VERSION
        data = container.MAGIC + bytes([version]) + container.pack_name(self.model_name)
        data += DIGEST + sizes + bytes([container.GREY] * grey)
        data += container.varint(len(stream)) + stream + bytes(4)
        return data + container.fingerprint(data)

    def decompress(
        self,
        data: bytes,
        max_pixels: int = 0,
        max_side: int = 0,
        realism: float = 0.0,
        decoder: str = "full",
    ) -> np.ndarray:
        header = container.inspect(data)
        pixels = zlib.decompress(data[-8 - header.stream_bytes[0] : -8])
        shape = (header.height, header.width, 3)[: 2 if header.is_grey else 3]
        return np.frombuffer(pixels, np.uint8).reshape(shape)

    def save(
        self,
        path: str,
        bfloat16: str,
        max_pixels: int,
        max_side: int,
        quality: int | None,
        max_effort: int = 0,
        tune: str | None = None,
    ) -> None:
        text = f"bfloat16 {bfloat16}, limits {max_pixels} {max_side}, quality {quality}"
        if max_effort:
            text += f", effort {max_effort}, tune {tune}"
        pathlib.Path(path, "saved_model.pb").write_text(text)


class GradedCodec(QuickCodec):
    """Codec of many rates; lower qualities have fewer grey levels."""

    model_name = "graded"
    many_rates = True

    def compress(self, image: np.ndarray, quality: int | None = None) -> bytes:
        quality = 50 if quality is None else quality
        step = 2 + (100 - quality) // 2
        levels = np.minimum(image // step * step + step // 2, 255).astype("u1")
        return self._written(levels, quality)


class SearchingCodec(GradedCodec):
    """Codec whose search returns the file of a lower quality after ten steps.

    Attributes:
        searches: efforts and tunings of the searches, in order.
        step: function that is called at every step.
    """

    model_name = "searching"

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self.searches: list[tuple[int, str | None]] = []
        self.step = step

    def compress(
        self,
        image: np.ndarray,
        quality: int | None = None,
        effort: int = 0,
        tune: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> bytes:
        if not effort:
            return super().compress(image, quality)
        self.searches.append((effort, tune))
        for done in range(1, 11):
            self.step()
            if progress:
                progress(done, 10)
        quality = 50 if quality is None else quality
        file = super().compress(image, max(quality - 2 * effort, 0))
        return self._written(self.decompress(file), quality)


def quick_zoo(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], QuickCodec]) -> None:
    """Replaces the zoo by one with a single quick codec."""
    entry = Entry("quick", 1, True, "quick", DIGEST.hex(), "quick.npz", "", "A quick one.")
    # setattr would import TensorFlow to look up the replaced attribute.
    monkeypatch.setitem(vars(tfc_models), "load", load)
    monkeypatch.setattr(tfc_models, "entries", lambda: (entry,))
    monkeypatch.setattr(tfc_models, "list_models", lambda: ["quick"])
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
