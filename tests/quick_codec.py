"""A codec without a model, for tests of what is around codecs."""

from __future__ import annotations

import pathlib
import zlib

import numpy as np

from tfc_models.codec import container

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
DIGEST = bytes(4)


class QuickCodec:
    """Writes true headers around pixels that are merely deflated."""

    model_name = "quick"
    digest = DIGEST.hex()
    many_rates = False

    def compress(self, picture: np.ndarray, quality: int | None = None) -> bytes:
        if quality is not None:
            raise ValueError("quick has one rate.")
        return self._written(picture, 0)

    def _written(self, picture: np.ndarray, rate: int) -> bytes:
        height, width = picture.shape[:2]
        stream = zlib.compress(picture.tobytes())
        sizes = container.varint(height) + container.varint(width) + container.varint(rate)
        data = container.MAGIC + bytes([container.VERSION]) + container.pack_name(self.model_name)
        data += DIGEST + sizes + container.varint(len(stream)) + stream + bytes(4)
        return data + container.fingerprint(data)

    def decompress(self, data: bytes, max_pixels: int = 0, max_side: int = 0) -> np.ndarray:
        header = container.inspect(data)
        pixels = zlib.decompress(data[-8 - header.stream_bytes[0] : -8])
        return np.frombuffer(pixels, np.uint8).reshape(header.height, header.width, 3)

    def save(
        self, path: str, bfloat16: str, max_pixels: int, max_side: int, quality: int | None
    ) -> None:
        text = f"bfloat16 {bfloat16}, limits {max_pixels} {max_side}, quality {quality}"
        pathlib.Path(path, "saved_model.pb").write_text(text)


class QuickRates(QuickCodec):
    """Rounds pixels, the more coarsely the lower the quality."""

    many_rates = True

    def compress(self, picture: np.ndarray, quality: int | None = None) -> bytes:
        quality = 50 if quality is None else quality
        step = 1 + (100 - quality)
        return self._written((picture // step * step).astype(np.uint8), quality)
