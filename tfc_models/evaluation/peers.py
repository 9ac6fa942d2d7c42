"""The standard codecs, through Pillow: what ours is held against.

Each is used as somebody who wants small files would: JPEG with 4:2:0 chroma and optimized
Huffman tables, WebP at its slowest method, AVIF at speed 6 with 4:2:0 and with 4:4:4 chroma, JPEG
2000 with the colour transform and the 9/7 wavelet. Everything else is Pillow's default.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

QUALITIES = tuple(range(1, 101))
# Twice as many bits in 140 steps: any size is hit to half a percent.
RATES = tuple(0.01 * 2 ** (step / 140) for step in range(1600))


@dataclass(frozen=True)
class Peer:
    """A standard codec.

    Attributes:
        name: on the command line.
        title: for tables and legends.
        pillow_name: the format, as Pillow calls it.
        options: what the encoder is always given.
        feature: what Pillow calls the library that does the work.
        settings: what there is to choose from, by growing size: qualities, or bits per pixel.
        ladder: settings from about 0.1 to 2 or 3 bits per pixel, each step of about the same
            factor on photos; curves go along it.
        by_rate: whether settings are bits per pixel.
    """

    name: str
    title: str
    pillow_name: str
    options: dict[str, Any]
    feature: str
    ladder: tuple[float, ...]
    settings: tuple[float, ...] = field(default=QUALITIES, repr=False)
    by_rate: bool = False

    @property
    def version(self) -> str:
        """Which encoder it is: files of another may have other sizes."""
        return f"{features.version(self.feature)}, Pillow {PIL.__version__}"

    def label(self, setting: float) -> str:
        """A setting in words."""
        return f"{setting:.3g} bpp" if self.by_rate else f"quality {setting:g}"

    def curve_settings(self, points: int) -> list[float]:
        """Settings that spread over the rates that people compare at."""
        steps = np.linspace(0, len(self.ladder) - 1, points)
        if self.by_rate:
            rates = np.exp(np.interp(steps, range(len(self.ladder)), np.log(self.ladder)))
            return [float(f"{rate:.3g}") for rate in rates]
        qualities = np.interp(steps, range(len(self.ladder)), self.ladder)
        return sorted({round(quality) for quality in qualities})

    def encode(self, picture: np.ndarray, setting: float) -> bytes:
        """Encodes an sRGB picture, uint8, height × width × 3, or height × width if grey."""
        image, buffer = Image.fromarray(picture), io.BytesIO()
        if self.by_rate:
            # OpenJPEG counts in compression ratios. The samples' own bits a pixel are one, and
            # it takes one for "without loss".
            bits = 24 if picture.ndim == 3 else 8
            options = {"quality_mode": "rates", "quality_layers": [max(bits / setting, 1.001)]}
        else:
            options = {"quality": int(setting)}
        image.save(buffer, self.pillow_name, **options, **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """The picture in a file, uint8, height × width × 3."""
        with Image.open(io.BytesIO(data), formats=[self.pillow_name]) as image:
            return np.array(image.convert("RGB"))

    def at_size(self, picture: np.ndarray, size: int, over: float = math.inf) -> float:
        """The setting whose file is nearest to a size, and at most `over` (a share) above it."""
        sizes: dict[float, int] = {}

        def size_at(setting: float) -> int:
            if setting not in sizes:
                sizes[setting] = len(self.encode(picture, setting))
            return sizes[setting]

        return nearest_setting(self.settings, size, size_at, over)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "jpeg",
            "JPEG",
            "JPEG",
            {"optimize": True, "subsampling": "4:2:0"},
            "libjpeg_turbo",
            (4, 6, 8, 11, 16, 23, 35, 53, 71, 82, 90, 94),
        ),
        Peer(
            "webp",
            "WebP",
            "WEBP",
            {"method": 6},
            "webp",
            (1, 4, 10, 18, 29, 43, 61, 76, 82, 87, 92, 95),
        ),
        Peer("avif", "AVIF", "AVIF", {"speed": 6, "subsampling": "4:2:0"}, "avif", (15, 91)),
        Peer(
            "avif-444",
            "AVIF 4:4:4",
            "AVIF",
            {"speed": 6, "subsampling": "4:4:4"},
            "avif",
            (15, 91),
        ),
        Peer(
            "jpeg2000",
            "JPEG 2000",
            "JPEG2000",
            # Without mct Pillow codes R, G and B apart, which costs decibels.
            {"irreversible": True, "mct": 1},
            "jpg_2000",
            (0.1, 2.0),
            settings=RATES,
            by_rate=True,
        ),
    )
}
"""By their names on the command line."""


def nearest_setting(
    settings: Sequence[float],
    size: int,
    size_at: Callable[[float], int],
    over: float = math.inf,
) -> float:
    """The setting whose file is nearest to a size.

    Args:
        settings: by growing size, or nearly so: neighbours may be the wrong way round.
        size: in bytes.
        size_at: the size at a setting.
        over: how much larger the file may be, as a share of the size; where even the first
            setting's is, that one is taken.
    """
    low, high = 0, len(settings) - 1
    while low < high:
        middle = (low + high) // 2
        if size_at(settings[middle]) < size:
            low = middle + 1
        else:
            high = middle
    around = [i for i in range(low - 1, low + 2) if 0 <= i < len(settings)]
    fitting = [i for i in around if size_at(settings[i]) <= size * (1 + over)]
    while not fitting:
        around = [max(around[0] - 1, 0)]
        fitting = [i for i in around if i == 0 or size_at(settings[i]) <= size * (1 + over)]
    return settings[min(fitting, key=lambda i: (abs(size_at(settings[i]) - size), i))]
