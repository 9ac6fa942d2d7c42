"""Picture files ↔ sRGB pixels, uint8, height × width × 3. Needs Pillow, not TensorFlow.

What a codec wants is one thing; what a camera, a scanner or a browser writes is many. This
file turns every kind into that one thing, or says why it will not:

- the EXIF orientation is applied, an embedded ICC profile is converted to sRGB;
- palette and CMYK become RGB; grey does too, and `Picture.coded` gives its one channel;
- 16 bits a sample become 8: grey is rounded, of colours Pillow drops the lower byte;
- transparency needs a background to put the picture on, and is refused without one (an
  alpha channel that is opaque everywhere is no transparency);
- of an animation or of several pages the first is taken, with a note;
- floating-point and signed samples are refused: nothing in the file says what is white.
"""

from __future__ import annotations

import io
import os
import pathlib
import struct
import warnings
from typing import Any, NamedTuple, Union

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps

from tfc_models.codec.container import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE

HEADER_READS = 8000
"""Parts of a file that `size_of` reads at most: a few dozen hold any real picture's header."""

Color = tuple[int, int, int]
Source = Union[str, "os.PathLike[str]", bytes]

# Pillow reads more, but these are picture files that people have, and none of these
# readers runs another program (EPS runs Ghostscript).
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
# Picture files that people have and that none of the readers reads.
UNREADABLE_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".tga", ".exr", ".hdr", ".eps", ".svg"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".ico", ".qoi", ".xcf"),
)


class Writer(NamedTuple):
    """How pixels are written in one format."""

    pillow_name: str
    options: dict[str, Any]
    max_side: int


# The picture was compressed once already: what a further format adds should not be seen.
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


class PictureError(ValueError):
    """A picture that cannot be read or written; the message says why, in one line."""


class PictureTooLargeError(PictureError):
    """A picture over a limit.

    Attributes:
        size: width and height.
        limit: the argument that raises the limit, max_pixels or max_side.
    """

    def __init__(self, size: tuple[int, int], reason: str, limit: str) -> None:
        super().__init__(f"{size[0]}×{size[1]} {reason}")
        self.size, self.limit = size, limit


class TransparencyError(PictureError):
    """A transparent picture without a background to put it on."""


class Picture(NamedTuple):
    """Pixels of a picture file, with facts about their conversion.

    Attributes:
        pixels: sRGB 0–255, height × width × 3.
        notes: remarks for the user, each a sentence.
        is_grey: whether the three channels of `pixels` are equal, however the file stores them.
        bits: bits a sample in the file, where these are more than 8; else 8.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    is_grey: bool = False
    bits: int = 8

    @property
    def coded(self) -> np.ndarray:
        """Pixels as a codec takes them: height × width of a grey picture, else `pixels`."""
        return np.ascontiguousarray(self.pixels[..., 0]) if self.is_grey else self.pixels


def parse_color(text: str) -> Color:
    """A colour by name or as #rrggbb.

    >>> parse_color("#ff8000")
    (255, 128, 0)
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = ()
    if len(color) != 3:
        raise PictureError(f"{text!r} is not a colour: give a name (white) or #rrggbb.")
    return color


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Pixels as height × width × 3, whether they are grey (height × width) or RGB."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read(
    source: Source,
    background: Color | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = DEFAULT_MAX_SIDE,
) -> Picture:
    """Reads a picture file, or the bytes of one, as sRGB 0–255, height × width × 3.

    Raises:
        PictureError: not a picture, damaged, transparent without `background`; over a limit
            (PictureTooLargeError).
        OSError: the file itself cannot be read.
    """
    data = isinstance(source, bytes)
    # Pillow warns about odd metadata, which changes no pixel, and about large pictures.
    with io.BytesIO(source) if data else open(source, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(file) as image:
            check_size(image.width, image.height, max_pixels, max_side)
            try:
                return _converted(image, background)
            except PictureError:
                raise
            except Image.DecompressionBombError:
                raise PictureError(
                    "has a frame of more pixels than the picture: it is damaged, or made to "
                    "exhaust memory."
                ) from None
            except MemoryError:
                raise PictureError(
                    f"there is not enough memory for {image.width}×{image.height} pixels."
                ) from None
            except Exception as error:  # Pillow's decoders raise almost anything.
                raise PictureError(f"the picture is damaged ({_first_line(error)}).") from error


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height that the header of a picture file claims; no pixel is decoded.

    Raises:
        PictureError: not a picture, or its header is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(_Header(data)) as image:
            return image.size


class _Header(io.BytesIO):
    """Bytes of a picture file that end a search for the size after `HEADER_READS` reads.

    Pillow walks all chunks before the pixels in Python: a file of empty ones takes it seconds.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = HEADER_READS

    def read(self, *size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise PictureError(f"its header has over {HEADER_READS:,} parts")
        return super().read(*size)


def check_size(width: int, height: int, max_pixels: int, max_side: int) -> None:
    """Refuses a picture over the limits, before memory is spent on it."""
    size = width, height
    if width * height > max_pixels:
        reason = f"is {width * height:,} pixels, over the limit of {max_pixels:,}."
        raise PictureTooLargeError(size, reason, "max_pixels")
    if max(size) > max_side:
        reason = f"has a side over the limit of {max_side:,}."
        raise PictureTooLargeError(size, reason, "max_side")


def encode(pixels: np.ndarray, suffix: str) -> bytes:
    """A picture file of the format of a suffix, from sRGB 0–255.

    Args:
        pixels: height × width × 3, or height × width of a grey picture.
        suffix: a key of `WRITERS`.
    """
    writer = writer_for(suffix)
    check_writable(pixels.shape[1], pixels.shape[0], suffix)
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, writer.pillow_name, **writer.options)
    except (OSError, ValueError, KeyError) as error:
        raise PictureError(
            f"the picture cannot be written as {writer.pillow_name} ({_first_line(error)})."
        ) from error
    return buffer.getvalue()


def writer_for(suffix: str) -> Writer:
    """How a suffix is written, or an error that lists the suffixes that are."""
    writer = WRITERS.get(suffix.lower())
    if writer is None:
        raise PictureError(
            f"{suffix!r} is not a picture format that can be written; "
            f"known are {', '.join(WRITERS)}."
        )
    return writer


def check_writable(width: int, height: int, suffix: str) -> None:
    """Refuses a size that the format cannot hold, before the picture is decoded."""
    writer = writer_for(suffix)
    if max(width, height) > writer.max_side:
        raise PictureError(
            f"{width}×{height} does not fit into {writer.pillow_name}, whose sides end at "
            f"{writer.max_side:,}; write another format."
        )


def has_picture_suffix(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a picture."""
    return pathlib.PurePath(path).suffix.lower() in INPUT_SUFFIXES


def has_unreadable_suffix(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a picture of a format that cannot be read."""
    return pathlib.PurePath(path).suffix.lower() in UNREADABLE_SUFFIXES


def _open(file: Any) -> Image.Image:
    try:
        image = _opened(file)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PictureError(f"the picture is damaged ({_first_line(error)}).") from error
    if image is not None:
        return image
    file.seek(0)
    if not file.read(1):
        raise PictureError("the file is empty.")
    raise PictureError(f"not a picture that can be read ({', '.join(READERS)}).")


def _opened(file: Any) -> Image.Image | None:
    """Does what `Image.open` does, but for Pillow's limit of pixels: `check_size` has ours."""
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


def _converted(image: Image.Image, background: Color | None) -> Picture:
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
    return Picture(as_rgb(pixels), tuple(notes), is_grey, depth.bits)


def _note_further_frames(image: Image.Image, notes: list[str]) -> None:
    # MPO is what many phones write under .jpg: a JPEG with a preview or a depth map behind it.
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
    """How the file's samples become 8 bits."""

    bits: int = 8
    # What a 16-bit array holds at white, or at black where the file counts ink.
    white: int = 65535
    inverted: bool = False
    # Pillow itself has dropped the low byte of 16-bit RGB, but not of its transparent colour.
    high_byte: bool = False


def _sample_depth(image: Image.Image) -> _Depth:
    """Read before the picture is loaded: loading forgets it."""
    raw_mode = str(image.tile[0].args) if image.tile else ""
    if image.mode == "F":
        raise PictureError(
            "holds floating-point samples, and nothing says which value is white: "
            "convert it to 8 or 16 bits first."
        )
    if image.format == "TIFF":
        if image.mode == "I":
            raise PictureError(
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
    """The picture without transparency, and its alpha, 0–255, unless that is opaque."""
    mode = image.mode
    if mode.startswith("I"):
        alpha = None if key is None else np.where(np.asarray(image) == key, 0, 255)
    elif mode == "RGB" and key is not None and depth.high_byte:
        alpha = np.where(np.all(np.asarray(image) == np.asarray(key) >> 8, axis=-1), 0, 255)
    elif image.has_transparency_data:
        grey = mode in ("L", "LA", "La", "1")
        image = image.convert("LA" if mode == "La" else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        # Grey stays grey: a grey ICC profile fits nothing else.
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
            profile, space = ImageCms.createProfile("LAB"), "LAB"
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
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
            return _neutral(converted) if grey else converted
        notes.append(f"its ICC profile is for {space} and was ignored.")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its ICC profile is damaged and was ignored.")
    return image if image.mode == "L" else image.convert("RGB")


def _neutral(image: Image.Image) -> Image.Image:
    """One channel of what was grey before its profile, unless the profile gives it a tint."""
    red, green, blue = np.moveaxis(np.asarray(image).astype(np.int16), 2, 0)
    # Rounding alone moves a channel by one level.
    tinted = max(np.abs(red - green).max(), np.abs(blue - green).max()) > 1
    return image if tinted else image.getchannel("G")


def _has_equal_channels(pixels: np.ndarray) -> bool:
    """Whether an RGB picture is grey: some formats, such as WebP, have no grey pictures."""
    # A few rows show that of almost every picture in colour.
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
