"""Standard codecs for comparison: those of Pillow and of its plugins.

The settings are those of a user who wants small files: JPEG with 4:2:0 chroma and optimized Huffman
tables, WebP at its slowest method, AVIF at speed 6, JPEG 2000 with the color transform and the 9/7
wavelet, JPEG XL at effort 7, HEIC with x265's slow preset. Everything else is the library's
default.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from tfc_models.packages import (
    JPEG_XL,
    MissingError,
    heif_version,
    load_heif,
    load_jpeg_xl,
)

QUALITIES = tuple(range(1, 101))
# libjxl takes fractions; 100 is lossless.
QUARTERS = tuple(step / 4 for step in range(4, 397))
# The rate doubles in 140 steps, so that any size is met within half a percent.
RATES = tuple(0.01 * 2 ** (step / 140) for step in range(1600))
AVIF_SPEED = 6
AVIF_SPEEDS = range(11)


@dataclass(frozen=True)
class Library:
    """Library of a codec.

    Attributes:
        load: loads the library. Raises MissingError if it is missing; takes the title of the codec.
        version: returns name and version; file sizes may differ between versions.
    """

    load: Callable[[str], None]
    version: Callable[[], str]


def _of_pillow(feature: str) -> Library:
    """Returns a library that Pillow is built with, by Pillow's name for the feature."""

    def load(title: str) -> None:
        if not features.check(feature):
            raise MissingError(
                f"{title}: Pillow {PIL.__version__} is built without {feature}: "
                "pip install --force-reinstall --only-binary :all: pillow"
            )

    def version() -> str:
        # Pillow's "jpg" is either of two libraries.
        name = "libjpeg_turbo" if feature == "jpg" and features.check("libjpeg_turbo") else feature
        return f"{LIBRARIES[name]} {features.version(name)}, Pillow {PIL.__version__}"

    return Library(load, version)


LIBRARIES = {
    "avif": "libavif",
    "jpg": "libjpeg",
    "jpg_2000": "OpenJPEG",
    "libjpeg_turbo": "libjpeg-turbo",
    "webp": "libwebp",
}
"""Names of the libraries by Pillow's feature names."""


@dataclass(frozen=True)
class Peer:
    """Standard codec.

    Attributes:
        name: name on the command line.
        title: name in tables and legends.
        pillow_name: format name in Pillow.
        options: constant options of the encoder.
        library: library that encodes and decodes.
        ladder: settings from about 0.1 to 2 or 3 bits per pixel, each step of about the same factor
            on photos; curves are sampled along it.
        settings: all settings by increasing size: qualities, or bits per pixel.
        by_rate: whether settings are bits per pixel.
    """

    name: str
    title: str
    pillow_name: str
    options: dict[str, Any]
    library: Library
    ladder: tuple[float, ...]
    settings: tuple[float, ...] = field(default=QUALITIES, repr=False)
    by_rate: bool = False

    def load(self) -> None:
        """Loads the library of the codec.

        Raises:
            MissingError: the library is not installed; the message names the remedy.
        """
        self.library.load(self.title)

    @property
    def version(self) -> str:
        """Name and version of the library."""
        return self.library.version()

    @property
    def options_text(self) -> str:
        """Constant options as text."""
        return ", ".join(f"{name} {value}" for name, value in _flat(self.options).items())

    def label(self, setting: float) -> str:
        """Returns the name of a setting."""
        return f"{setting:.3g} bpp" if self.by_rate else f"quality {setting:g}"

    def curve_settings(self, points: int) -> list[float]:
        """Returns settings spread over the usual range of rates."""
        steps = np.linspace(0, len(self.ladder) - 1, points)
        if self.by_rate:
            rates = np.exp(np.interp(steps, range(len(self.ladder)), np.log(self.ladder)))
            return [float(f"{rate:.3g}") for rate in rates]
        qualities = np.interp(steps, range(len(self.ladder)), self.ladder)
        return sorted({round(quality) for quality in qualities})

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """Encodes an sRGB image, uint8, height × width × 3, or height × width if grey."""
        self.load()
        pillow_image, buffer = Image.fromarray(image), io.BytesIO()
        if self.by_rate:
            # OpenJPEG takes compression ratios relative to uncompressed samples; it reads 1 as
            # lossless.
            bits = 24 if image.ndim == 3 else 8
            options: dict[str, object] = {
                "quality_mode": "rates",
                "quality_layers": [max(bits / setting, 1.001)],
            }
        else:
            options = {"quality": setting}
        pillow_image.save(buffer, self.pillow_name, **options, **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """Returns the image in a file, uint8, height × width × 3."""
        self.load()
        with Image.open(io.BytesIO(data), formats=[self.pillow_name]) as image:
            return np.array(image.convert("RGB"))

    def at_size(self, image: np.ndarray, size: int, over: float = math.inf) -> float:
        """Returns the setting whose file is closest to `size`, up to a share `over` above it."""
        sizes: dict[float, int] = {}

        def size_at(setting: float) -> int:
            if setting not in sizes:
                sizes[setting] = len(self.encode(image, setting))
            return sizes[setting]

        return nearest_setting(self.settings, size, size_at, over)


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options without nesting."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat


def _avif(name: str, title: str, subsampling: str) -> Peer:
    options = {"speed": AVIF_SPEED, "subsampling": subsampling}
    return Peer(name, title, "AVIF", options, _of_pillow("avif"), (15, 91))


def _heic(name: str, title: str, chroma: int) -> Peer:
    options = {"chroma": chroma, "enc_params": {"preset": "slow"}}
    return Peer(name, title, "HEIF", options, Library(load_heif, heif_version), (10, 68))


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "jpeg",
            "JPEG",
            "JPEG",
            {"optimize": True, "subsampling": "4:2:0"},
            _of_pillow("jpg"),
            (4, 6, 8, 11, 16, 23, 35, 53, 71, 82, 90, 94),
        ),
        Peer(
            "webp",
            "WebP",
            "WEBP",
            {"method": 6},
            _of_pillow("webp"),
            (1, 4, 10, 18, 29, 43, 61, 76, 82, 87, 92, 95),
        ),
        _avif("avif", "AVIF", "4:2:0"),
        _avif("avif-444", "AVIF 4:4:4", "4:4:4"),
        Peer(
            "jpeg2000",
            "JPEG 2000",
            "JPEG2000",
            # Without mct, Pillow codes R, G and B separately, at a lower PSNR.
            {"irreversible": True, "mct": 1},
            _of_pillow("jpg_2000"),
            (0.1, 2.0),
            settings=RATES,
            by_rate=True,
        ),
        Peer(
            "jpegxl",
            "JPEG XL",
            "JXL",
            {"effort": 7},
            Library(load_jpeg_xl, lambda: f"libjxl of {JPEG_XL.version}"),
            (1, 13, 25, 40, 54, 66, 76, 83, 89, 93, 96),
            settings=QUARTERS,
        ),
        _heic("heic", "HEIC", 420),
        _heic("heic-444", "HEIC 4:4:4", 444),
    )
}
"""Standard codecs by name on the command line."""


def at_speed(peer: Peer, speed: int) -> Peer:
    """Returns the codec at another speed, 0 (slowest) to 10; only AVIF has speeds."""
    if "speed" not in peer.options:
        return peer
    return dataclasses.replace(peer, options={**peer.options, "speed": speed})


def nearest_setting(
    settings: Sequence[float],
    size: int,
    size_at: Callable[[float], int],
    over: float = math.inf,
) -> float:
    """Returns the setting with the file size closest to a target.

    Args:
        settings: settings by increasing size, or nearly: neighbors may be out of order.
        size: target in bytes.
        size_at: function from a setting to its size.
        over: share by which the file may exceed the target; if the first setting exceeds it, that
            one is returned.
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
