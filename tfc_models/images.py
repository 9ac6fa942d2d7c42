"""Image files to and from sRGB pixels, uint8, height × width × 3. Needs Pillow, not TensorFlow.

`read` converts every kind of image to these pixels, or raises an error that states why not:

- The EXIF orientation is applied. An embedded ICC profile is converted to sRGB.
- Palette and CMYK images become RGB. So do grey ones; `DecodedImage.coded` gives their one channel.
- 16 bits per sample become 8. Grey is rounded; of colors, Pillow drops the lower byte.
- Transparent images need a background and are refused without one. An alpha channel that is
  opaque everywhere does not count as transparency.
- Of an animation or several pages, the first image is read, with a note.
- Floating-point and signed samples are refused: the file does not define which value is white.
"""

from __future__ import annotations

import io
import os
import pathlib
import struct
import warnings
from typing import Any, BinaryIO, NamedTuple, Union

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, TiffImagePlugin

from tfc_models.limits import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE

HEADER_READS = 8000
"""Limit of reads in `size_of`; the header of a real image takes a few dozen."""

Color = tuple[int, int, int]
Source = Union[str, "os.PathLike[str]", bytes]

# Common formats whose Pillow readers run no other program (EPS runs Ghostscript).
READERS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
INPUT_SUFFIXES = tuple(suffix for suffixes in READERS.values() for suffix in suffixes)
# Common formats that no reader supports.
UNREADABLE_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".tga", ".exr", ".hdr", ".eps", ".svg"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".ico", ".qoi", ".xcf"),
)


class Writer(NamedTuple):
    """Settings for writing one format."""

    pillow_name: str
    options: dict[str, Any]
    max_side: int


# A second lossy format should not add visible errors.
_JPEG = Writer("JPEG", {"quality": 95, "subsampling": "4:4:4", "optimize": True}, 65535)
_TIFF = Writer("TIFF", {"compression": "tiff_adobe_deflate"}, 2**31 - 1)
WRITERS = {
    ".png": Writer("PNG", {}, 2**31 - 1),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Writer("WEBP", {"lossless": True}, 16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": Writer("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 65536),
    ".bmp": Writer("BMP", {}, 2**31 - 1),
}


class ImageError(ValueError):
    """Raised if an image cannot be read or written. The message states why in one line."""


class ImageTooLargeError(ImageError):
    """Raised if an image exceeds a limit.

    Attributes:
        size: width and height.
        limit: the argument that raises the limit, max_pixels or max_side.
    """

    def __init__(self, size: tuple[int, int], reason: str, limit: str) -> None:
        super().__init__(f"{size[0]}×{size[1]} {reason}")
        self.size, self.limit, self._reason = size, limit, reason

    def __reduce__(self) -> tuple[type, tuple[tuple[int, int], str, str]]:
        # Exceptions pickle their message only, which is not the constructor's arguments.
        return type(self), (self.size, self._reason, self.limit)


class TransparencyError(ImageError):
    """Raised for a transparent image without a background."""


class DecodedImage(NamedTuple):
    """Pixels of an image file, with facts about their conversion.

    Attributes:
        pixels: sRGB 0 to 255, height × width × 3.
        notes: remarks for the user, one sentence each.
        is_grey: whether the three channels of `pixels` are equal, however the file stores them.
        bits: bits per sample in the file, at least 8.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    is_grey: bool = False
    bits: int = 8

    @property
    def coded(self) -> np.ndarray:
        """Pixels for a codec: height × width of a grey image, else `pixels`."""
        return np.ascontiguousarray(self.pixels[..., 0]) if self.is_grey else self.pixels


def parse_color(text: str) -> Color:
    """Returns a color by name or as #rrggbb.

    >>> parse_color("#ff8000")
    (255, 128, 0)
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = (0, 0, 0, 0)
    if len(color) == 4:  # Not a colour, or one with an alpha value.
        raise ImageError(f"{text!r} is not a colour: give a name (white) or #rrggbb.")
    return color


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Returns grey (height × width) or RGB pixels as height × width × 3."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read(
    source: Source,
    background: Color | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = DEFAULT_MAX_SIDE,
) -> DecodedImage:
    """Reads an image file, or its bytes, as sRGB 0 to 255, height × width × 3.

    Raises:
        ImageError: the file is not an image, is damaged, is transparent without `background`, or
            exceeds a limit (ImageTooLargeError).
        OSError: the file cannot be read.
    """
    # Pillow warns about unusual metadata, which does not change pixels, and about large images.
    with _stream_of(source) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(file) as image:
            check_size(image.width, image.height, max_pixels, max_side)
            try:
                return _converted(image, background)
            except ImageError:
                raise
            except Image.DecompressionBombError:
                raise ImageError(
                    "has a frame of more pixels than the image: it is damaged, or crafted to "
                    "exhaust memory."
                ) from None
            except MemoryError:
                raise ImageError(
                    f"there is not enough memory for {image.width}×{image.height} pixels."
                ) from None
            except Exception as error:  # Pillow's decoders raise many kinds of exceptions.
                raise ImageError(f"the image is damaged ({_first_line(error)}).") from error


def size_of(data: bytes) -> tuple[int, int]:
    """Returns width and height from the header of an image file, without decoding pixels.

    Raises:
        ImageError: the data is not an image, or its header is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(_Header(data)) as image:
            return image.size


class _Header(io.BytesIO):
    """Bytes of an image file that allow `HEADER_READS` reads.

    Pillow walks all chunks before the pixels in Python. A file of empty chunks takes it seconds.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads bytes. Raises ImageError after too many calls."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"its header has over {HEADER_READS:,} parts")
        return super().read(size)


def check_size(width: int, height: int, max_pixels: int, max_side: int) -> None:
    """Raises ImageTooLargeError for an image above the limits, before memory is allocated."""
    size = width, height
    if width * height > max_pixels:
        reason = f"is {width * height:,} pixels, over the limit of {max_pixels:,}."
        raise ImageTooLargeError(size, reason, "max_pixels")
    if max(size) > max_side:
        reason = f"has a side over the limit of {max_side:,}."
        raise ImageTooLargeError(size, reason, "max_side")


def encode(pixels: np.ndarray, suffix: str) -> bytes:
    """Returns an image file in the format of a suffix, from sRGB 0 to 255.

    Args:
        pixels: height × width × 3, or height × width of a grey image.
        suffix: a key of `WRITERS`.
    """
    writer = writer_for(suffix)
    check_writable(pixels.shape[1], pixels.shape[0], suffix)
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, writer.pillow_name, **writer.options)
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(
            f"the image cannot be written as {writer.pillow_name} ({_first_line(error)})."
        ) from error
    return buffer.getvalue()


def writer_for(suffix: str) -> Writer:
    """Returns the settings for a suffix. The error for other suffixes lists the known ones."""
    writer = WRITERS.get(suffix.lower())
    if writer is None:
        raise ImageError(
            f"{suffix!r} is not an image format that can be written; "
            f"supported formats are {', '.join(WRITERS)}."
        )
    return writer


def check_writable(width: int, height: int, suffix: str) -> None:
    """Raises ImageError for a size that the format cannot hold."""
    writer = writer_for(suffix)
    if max(width, height) > writer.max_side:
        raise ImageError(
            f"{width}×{height} does not fit into {writer.pillow_name}, whose largest side is "
            f"{writer.max_side:,}; write another format."
        )


def has_image_suffix(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file name ends in the suffix of a readable image format."""
    return pathlib.PurePath(path).suffix.lower() in INPUT_SUFFIXES


def has_unreadable_suffix(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file name ends in the suffix of an unreadable image format."""
    return pathlib.PurePath(path).suffix.lower() in UNREADABLE_SUFFIXES


def _stream_of(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _open(file: Any) -> Image.Image:
    try:
        image = _opened(file)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImageError(f"the image is damaged ({_first_line(error)}).") from error
    if image is not None:
        return image
    file.seek(0)
    if not file.read(1):
        raise ImageError("the file is empty.")
    raise ImageError(f"not an image that can be read ({', '.join(READERS)}).")


def _opened(file: Any) -> Image.Image | None:
    """Opens an image as `Image.open` does, without Pillow's own pixel limit (see `check_size`)."""
    prefix = file.read(16)
    for name in READERS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            if factory is None or (accept and accept(prefix) is not True):
                continue  # A reader that is not installed, or of another format.
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None


def _converted(image: Image.Image, background: Color | None) -> DecodedImage:
    notes: list[str] = []
    depth = _sample_depth(image)
    profile = image.info.get("icc_profile")
    _note_further_frames(image, notes)
    image.load()
    image = _upright(image, notes)
    image, alpha = _split_alpha(image, depth, image.info.get("transparency"))
    image = _flatten(_to_srgb(_to_8_bits(image, depth), profile, notes), alpha, background)
    pixels = np.array(image)
    is_grey = image.mode == "L" or _has_equal_channels(pixels)
    return DecodedImage(as_rgb(pixels), tuple(notes), is_grey, depth.bits)


def _note_further_frames(image: Image.Image, notes: list[str]) -> None:
    # Many phones write MPO under .jpg: a JPEG followed by a preview or a depth map.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        what = "pages" if image.format == "TIFF" else "frames"
        notes.append(f"has {frames} {what}; took the first.")


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        notes.append("its EXIF data are damaged; an orientation in them was ignored.")
        return image


class _Depth(NamedTuple):
    """Conversion of a file's samples to 8 bits."""

    bits: int = 8
    # Value of white in a 16-bit array, or of black if samples count ink.
    white: int = 65535
    inverted: bool = False
    # Pillow drops the low byte of 16-bit RGB, but not of its transparent color.
    high_byte: bool = False


def _sample_depth(image: Image.Image) -> _Depth:
    """Returns the sample depth of an image that is not loaded yet; loading discards it."""
    tiles = getattr(image, "tile", None)
    raw_mode = str(tiles[0].args) if tiles else ""
    if image.mode == "F":
        raise ImageError(
            "holds floating-point samples, and nothing says which value is white: "
            "convert it to 8 or 16 bits first."
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.mode == "I":
            raise ImageError(
                "holds signed or 32-bit samples, and nothing says which value is white: "
                "convert it to 8 or 16 bits first."
            )
        bits, photometric = max(image.tag_v2.get(258, (8,))), image.tag_v2.get(262)
        # Pillow inverts 8-bit samples where 0 is white, but not those of 16 bits.
        return _Depth(max(bits, 8), 2**bits - 1, photometric == 0)
    high_byte = "16B" in raw_mode
    return _Depth(16 if high_byte or image.mode.startswith("I") else 8, high_byte=high_byte)


def _to_8_bits(image: Image.Image, depth: _Depth) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips everything above 255 to white.
        samples = np.asarray(image).astype(np.int32)
        if depth.inverted:
            samples = depth.white - samples
        rounded = (samples * 255 + depth.white // 2) // depth.white
        return Image.fromarray(np.clip(rounded, 0, 255).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("RGB")


def _split_alpha(
    image: Image.Image, depth: _Depth, key: Any
) -> tuple[Image.Image, np.ndarray | None]:
    """Returns the opaque image and its alpha channel, 0 to 255; None if opaque everywhere."""
    mode = image.mode
    if mode.startswith("I"):
        alpha = None if key is None else np.where(np.asarray(image) == key, 0, 255)
    elif mode == "RGB" and key is not None and depth.high_byte:
        alpha = np.where(np.all(np.asarray(image) == np.asarray(key) >> 8, axis=-1), 0, 255)
    elif image.has_transparency_data:
        grey = mode in ("L", "LA", "La", "1")
        image = image.convert("LA" if mode == "La" else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        # Grey stays grey, because a grey ICC profile applies to grey images only.
        image = image.convert("RGB").getchannel("R") if grey else image.convert("RGB")
    else:
        alpha = None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return image, alpha


def _to_srgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    if not icc and image.mode != "LAB":
        return image if image.mode == "L" else image.convert("RGB")
    try:
        srgb = ImageCms.createProfile("sRGB")
        if image.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            space = "LAB"
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
            space = profile.profile.xcolor_space.strip()
        grey = image.mode == "L"
        if space == "RGB" and grey:
            image = image.convert("RGB")
        if space == {"L": "GRAY"}.get(image.mode, image.mode):
            converted = ImageCms.profileToProfile(
                image,
                profile,
                srgb,
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is None:  # Only in-place conversions return None.
                raise ValueError("no image")
            return _neutral(converted) if grey else converted
        notes.append(f"its ICC profile is for {space} and was ignored.")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its ICC profile is damaged and was ignored.")
    return image if image.mode == "L" else image.convert("RGB")


def _neutral(image: Image.Image) -> Image.Image:
    """Returns one channel of an image that was grey before its profile, unless it has a tint."""
    red, green, blue = np.moveaxis(np.asarray(image).astype(np.int16), 2, 0)
    # Rounding alone moves a channel by one level.
    tinted = max(np.abs(red - green).max(), np.abs(blue - green).max()) > 1
    return image if tinted else image.getchannel("G")


def _has_equal_channels(pixels: np.ndarray) -> bool:
    """Returns whether an RGB image is grey; formats such as WebP have no grey images."""
    # A few rows suffice for almost every color image.
    few = pixels[:: max(len(pixels) // 16, 1)]
    return all(
        np.array_equal(part[..., 0], part[..., channel])
        for part in (few, pixels)
        for channel in (1, 2)
    )


def _flatten(image: Image.Image, alpha: np.ndarray | None, background: Color | None) -> Image.Image:
    if alpha is None:
        return image
    if background is None:
        raise TransparencyError("has transparency: choose a background colour to put it on.")
    if image.mode == "L" and len(set(background)) > 1:
        image = image.convert("RGB")
    behind = Image.new(image.mode, image.size, background[: len(image.mode)])
    return Image.composite(image, behind, Image.fromarray(alpha.astype(np.uint8)))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
