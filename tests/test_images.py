"""Reading image files as upright 8-bit sRGB, and errors of one line."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tfc_models import images
from tfc_models.images import ImageError, TransparencyError

PHOTO = (
    np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def file_of(image, format, **options) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_16(samples: np.ndarray, kind: int, transparent: bytes = b"") -> bytes:
    """Returns a PNG of 16 bits per sample, which Pillow does not write in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def icc_profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Returns an ICC profile, version 2, of a device space with tags."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": white,
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, b"prtr", space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def gamma_curve(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def rgb_profile(columns: str) -> bytes:
    """Returns a profile of sRGB's primaries in another order, with gamma 2.2."""
    primaries = {"r": (28578, 14581, 912), "g": (25241, 46981, 6361), "b": (9372, 3974, 46799)}
    tags = {
        name + b"XYZ": b"XYZ \0\0\0\0" + struct.pack(">iii", *primaries[column])
        for name, column in zip((b"r", b"g", b"b"), columns)
    }
    tags.update({name + b"TRC": gamma_curve(2.2) for name in (b"r", b"g", b"b")})
    return icc_profile(b"RGB ", b"XYZ ", tags)


def cmyk_profile_that_is_always_red() -> bytes:
    curve = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    red = bytes([138, 209, 198])  # Lab 54, 81, 70
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + curve * 4 + red * 16 + curve * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000"])
def test_lossless_formats_are_read_exactly(format):
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(images.read(file_of(PHOTO, format, **options)).pixels, PHOTO)


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "WEBP"])
def test_lossy_formats_are_read(format):
    grey = np.full((40, 50, 3), 90, np.uint8)
    assert np.abs(images.read(file_of(grey, format)).pixels.astype(int) - grey).max() <= 3


def test_files_are_read_by_path(tmp_path):
    path = tmp_path / "named as it likes"
    path.write_bytes(file_of(PHOTO, "PNG"))
    image = images.read(path)
    assert np.array_equal(image.pixels, PHOTO)
    assert image.notes == ()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_every_mode_is_converted_to_rgb(mode):
    image = Image.fromarray(PHOTO).convert(mode)
    pixels = images.read(file_of(image, "TIFF")).pixels
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_cmyk_jpeg():
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert images.read(file_of(white, "JPEG")).pixels.min() == 255


def test_16_bit_grey_is_rounded_not_clipped():
    ramp = np.linspace(0, 65535, 4096).round().astype(np.uint16).reshape(64, 64)
    expected = np.round(ramp / 257)
    for data in (png_16(ramp, 0), file_of(ramp, "TIFF"), file_of(Image.fromarray(ramp), "PPM")):
        assert np.array_equal(images.read(data).pixels[..., 0], expected)


def test_16_bit_big_endian_and_inverted_tiff():
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    big = Image.frombytes("I;16B", (64, 64), ramp.astype(">u2").tobytes())
    assert np.array_equal(images.read(file_of(big, "TIFF")).pixels[..., 0], np.round(ramp / 257))
    white_is_zero = file_of(ramp, "TIFF", tiffinfo={262: 0})
    expected = np.round((65535 - ramp.astype(int)) / 257)
    assert np.array_equal(images.read(white_is_zero).pixels[..., 0], expected)


def test_16_bit_colour():
    samples = np.random.default_rng(1).integers(0, 65536, (8, 9, 3))
    pixels = images.read(png_16(samples, 2)).pixels
    assert np.abs(pixels - samples / 257).max() <= 1


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_of_unknown_range_are_refused(mode):
    with pytest.raises(ImageError, match="which value is white"):
        images.read(file_of(Image.new(mode, (8, 8)), "TIFF"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(format, orientation):
    corner = np.zeros((16, 32, 3), np.uint8)
    corner[:8, :8] = 255  # Top left in the file.
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = images.read(file_of(corner, format, exif=exif)).pixels
    assert pixels.shape == ((32, 16, 3) if orientation > 4 else (16, 32, 3))
    bright = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    bright.update({5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)})
    assert pixels[bright[orientation]].min() > 200
    assert (pixels[::15, ::15] > 200).all(axis=-1).sum() >= 1


def test_damaged_exif_is_ignored():
    data = file_of(PHOTO, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert np.array_equal(images.read(data).pixels, PHOTO)


def test_srgb_profile_changes_nothing():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(images.read(file_of(PHOTO, "PNG", icc_profile=srgb)).pixels, PHOTO)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_icc_profile_is_converted(format):
    red = Image.new("RGB", (16, 16), RED)
    data = file_of(red, format, icc_profile=rgb_profile("grb"))
    assert np.abs(images.read(data).pixels.astype(int) - GREEN).max() < 12


def test_icc_profiles_of_palettes_grey_and_cmyk():
    palette = Image.new("RGB", (16, 16), RED).quantize(4)
    data = file_of(palette, "PNG", icc_profile=rgb_profile("grb"))
    assert np.abs(images.read(data).pixels.astype(int) - GREEN).max() < 12

    linear = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma_curve(1.0)})
    data = file_of(Image.new("L", (16, 16), 55), "PNG", icc_profile=linear)
    assert abs(int(images.read(data).pixels[0, 0, 1]) - 128) <= 2

    data = file_of(
        Image.new("CMYK", (16, 16), (255, 0, 0, 0)),
        "JPEG",
        icc_profile=cmyk_profile_that_is_always_red(),
    )
    red, green, blue = images.read(data).pixels[0, 0].astype(int)
    assert red > 230 and green < 30 and blue < 30


@pytest.mark.parametrize("profile", [b"garbage", rgb_profile("rgb")[:200], b"\0" * 300])
def test_damaged_icc_profile_is_ignored_with_a_note(profile):
    image = images.read(file_of(PHOTO, "PNG", icc_profile=profile))
    assert np.array_equal(image.pixels, PHOTO)
    assert "ICC profile" in image.notes[0]


def test_icc_profile_of_another_space_is_ignored_with_a_note():
    linear = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma_curve(1.0)})
    image = images.read(file_of(PHOTO, "TIFF", icc_profile=linear))
    assert np.array_equal(image.pixels, PHOTO)
    assert image.notes == ("its ICC profile is for GRAY and was ignored.",)


def half_transparent() -> dict[str, bytes]:
    """Returns red images with a transparent left half, in every representation."""
    alpha = Image.new("L", (16, 16), 255)
    alpha.paste(0, (0, 0, 8, 16))
    rgba = Image.new("RGBA", (16, 16), (*RED, 255))
    rgba.putalpha(alpha)
    rgb = np.full((16, 16, 3), RED, np.uint8)
    rgb[:, :8] = 1, 2, 3
    wide = rgb.astype(int) * 257
    wide[:, :8] = 0x0102, 0x0304, 0x0506
    with_alpha = np.concatenate([wide, np.asarray(alpha)[..., None].astype(int) * 257], axis=-1)
    palette = Image.fromarray(rgb).quantize(2)
    nothing = palette.getpixel((0, 0))
    return {
        "RGBA": file_of(rgba, "PNG"),
        "RGBA WebP": file_of(rgba, "WEBP", lossless=True),
        "RGBA TIFF": file_of(rgba, "TIFF"),
        "RGBA AVIF": file_of(rgba, "AVIF", quality=100),
        "palette": file_of(palette, "PNG", transparency=nothing),
        "palette with alphas": file_of(
            palette, "PNG", transparency=bytes([0, 255]) if nothing == 0 else bytes([255, 0])
        ),
        "palette GIF": file_of(palette, "GIF", transparency=nothing),
        "colour key": file_of(rgb, "PNG", transparency=(1, 2, 3)),
        "16-bit colour key": png_16(wide, 2, struct.pack(">HHH", 0x0102, 0x0304, 0x0506)),
        "16-bit RGBA": png_16(with_alpha, 6),
    }


@pytest.mark.parametrize("kind", half_transparent())
def test_transparency_needs_a_background(kind):
    data = half_transparent()[kind]
    with pytest.raises(TransparencyError, match="choose a background"):
        images.read(data)
    pixels = images.read(data, background=BLUE).pixels.astype(int)
    assert np.abs(pixels[:, 2] - BLUE).max() <= 3
    assert np.abs(pixels[:, 12] - RED).max() <= 3


@pytest.mark.parametrize("kind", ["LA", "key", "16-bit key", "16-bit LA"])
def test_transparent_grey(kind):
    grey = np.full((8, 8), 200, np.uint8)
    grey[:, :4] = 7
    alpha = np.where(grey == 7, 0, 255).astype(np.uint8)
    data = {
        "LA": file_of(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"),
        "key": file_of(grey, "PNG", transparency=7),
        "16-bit key": png_16(grey.astype(int) * 257, 0, struct.pack(">H", 7 * 257)),
        "16-bit LA": png_16(np.stack([grey, alpha], axis=-1).astype(int) * 257, 4),
    }[kind]
    with pytest.raises(TransparencyError, match="choose a background"):
        images.read(data)
    pixels = images.read(data, background=WHITE).pixels
    assert (pixels[:, :4] == 255).all() and (pixels[:, 4:] == 200).all()


def test_half_transparent_pixels_are_mixed():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert set(images.read(file_of(image, "PNG"), background=WHITE).pixels.ravel()) == {127}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_needs_no_background(mode):
    image = Image.fromarray(PHOTO).convert("L").convert(mode)
    assert np.array_equal(
        images.read(file_of(image, "PNG")).pixels[..., 0], np.asarray(image)[..., 0]
    )


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_many_frames_is_read_with_a_note(format):
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = file_of(frames[0], format, save_all=True, append_images=frames[1:], **options)
    image = images.read(data)
    assert (image.pixels == RED).all()
    assert image.notes == (f"has 3 {'pages' if format == 'TIFF' else 'frames'}; took the first.",)


def test_multi_image_jpeg_of_phones_is_a_jpeg():
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, GREEN)]
    data = file_of(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert images.read(data).notes == ()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"])
def test_truncated_files_give_an_error_of_one_line(format):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_of(noise, format)
    for keep in (0, 1, 10, 40, len(data) // 2, len(data) - 60):
        with pytest.raises(ImageError) as error:
            images.read(data[:keep])
        assert "\n" not in str(error.value)


def test_changed_bytes_give_an_image_or_one_line():
    rng = np.random.default_rng(3)
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        data = file_of(PHOTO, format)
        for _ in range(60):
            damaged = bytearray(data)
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            try:
                images.read(bytes(damaged), background=WHITE)
            except ImageError as error:
                assert "\n" not in str(error)


def test_files_that_are_not_images_are_refused():
    with pytest.raises(ImageError, match="empty"):
        images.read(b"")
    with pytest.raises(ImageError, match="not an image that can be read"):
        images.read(b"hello, world" * 100)
    for short in (b"P", b"B", b"BM", b"\xff", b"RIFF"):
        with pytest.raises(ImageError, match="not an image that can be read"):
            images.read(short)
    # Pillow would start Ghostscript for EPS.
    with pytest.raises(ImageError, match="not an image that can be read"):
        images.read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(FileNotFoundError):
        images.read("no such file.png")


def test_limits_of_pixels_and_sides_are_enforced():
    data = file_of(PHOTO, "PNG")
    height, width = PHOTO.shape[:2]
    images.read(data, max_pixels=width * height, max_side=width)
    with pytest.raises(ImageError, match=f"over the limit of {width * height - 1:,}.$") as caught:
        images.read(data, max_pixels=width * height - 1)
    assert caught.value.limit == "max_pixels"
    with pytest.raises(ImageError, match=f"a side over the limit of {width - 1}.$") as caught:
        images.read(data, max_side=width - 1)
    assert caught.value.limit == "max_side"


def test_a_bomb_is_refused_before_its_pixels_are_read(monkeypatch):
    header = png_16(np.zeros((1, 1), np.uint16), 0)
    size = struct.pack(">II", 60000, 60000)
    ihdr = b"IHDR" + size + header[24:29]
    bomb = header[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + header[33:]
    # With Pillow's own limit (the default) and without.
    for pillow_limit in (100, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
        with pytest.raises(ImageError, match=r"^60000×60000 is 3,600,000,000 pixels, over the"):
            images.read(bomb)
        assert images.size_of(bomb) == (60000, 60000)
        assert np.array_equal(images.read(file_of(PHOTO, "PNG")).pixels, PHOTO)


def test_a_frame_larger_than_its_image_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = file_of(Image.new("P", (16, 16)), "GIF")
    frame = data.index(b",")  # The image descriptor: left, top, width, height.
    data = data[: frame + 5] + struct.pack("<HH", 60000, 60000) + data[frame + 9 :]
    with pytest.raises(ImageError) as caught:
        images.read(data)
    assert "Pillow" not in str(caught.value) and "\n" not in str(caught.value)


def grey_files() -> dict[str, bytes]:
    """Returns greyscale files of all kinds."""
    grey = Image.fromarray(PHOTO).convert("L")
    opaque = Image.merge("LA", [grey, Image.new("L", grey.size, 255)])
    samples = np.asarray(grey).astype(int)
    linear = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma_curve(1.0)})
    return {
        "PNG": file_of(grey, "PNG"),
        "opaque alpha": file_of(opaque, "PNG"),
        "JPEG": file_of(grey, "JPEG"),
        "TIFF": file_of(grey, "TIFF"),
        "PGM": file_of(grey, "PPM"),
        "1 bit": file_of(grey.convert("1"), "PNG"),
        "16 bits": png_16(samples * 257, 0),
        "grey profile": file_of(grey, "PNG", icc_profile=linear),
    }


@pytest.mark.parametrize("kind", grey_files())
def test_grey_files_are_coded_as_one_channel(kind):
    image = images.read(grey_files()[kind])
    assert image.is_grey and image.pixels.shape == PHOTO.shape
    assert image.coded.shape == PHOTO.shape[:2]
    assert np.array_equal(images.as_rgb(image.coded), image.pixels)
    assert image.bits == (16 if kind == "16 bits" else 8)
    with Image.open(io.BytesIO(images.encode(image.coded, ".png"))) as written:
        assert written.mode == "L"


def test_colour_files_stay_colour():
    image = images.read(file_of(PHOTO, "PNG"))
    assert not image.is_grey and np.array_equal(image.coded, PHOTO)
    assert images.read(png_16(PHOTO.astype(int) * 257, 2)).bits == 16
    on_red = images.read(file_of(Image.new("LA", (8, 8), (200, 128)), "PNG"), background=RED)
    assert not on_red.is_grey and on_red.pixels[0, 0, 0] > on_red.pixels[0, 0, 1]
    assert images.read(file_of(Image.new("LA", (8, 8), (200, 9)), "PNG"), WHITE).is_grey


@pytest.mark.parametrize("suffix", sorted(images.WRITERS))
def test_written_images_can_be_read(suffix):
    smooth = np.asarray(Image.fromarray(PHOTO).resize((60, 44), Image.Resampling.BICUBIC))
    pixels = images.read(images.encode(smooth, suffix.upper())).pixels
    tolerance = 16 if suffix in (".jpg", ".jpeg", ".avif") else 0
    assert np.abs(pixels.astype(int) - smooth).max() <= tolerance


def test_unsupported_formats_and_sizes_are_refused_for_writing():
    with pytest.raises(ImageError, match=r"'.xyz' .* \.png, \.jpg"):
        images.encode(PHOTO, ".xyz")
    with pytest.raises(ImageError, match="WEBP"):
        images.check_writable(20000, 10, ".webp")


def test_colours_are_parsed_by_name_and_hex_code():
    assert images.parse_color("white") == WHITE
    assert images.parse_color("#0000ff") == BLUE
    for wrong in ("whitish", "#12", "", "#ff000080"):
        with pytest.raises(ImageError, match="is not a colour"):
            images.parse_color(wrong)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_files_with_very_long_headers_are_refused(kind):
    data = file_of(PHOTO, kind)
    comment = b"\0\0\0\0prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    at, part = (33, comment) if kind == "PNG" else (2, b"\xff\xfe\0\2")
    assert images.size_of(data[:at] + 100 * part + data[at:]) == (48, 32)
    with pytest.raises(ImageError, match="its header has over 8,000 parts"):
        images.size_of(data[:at] + 100_000 * part + data[at:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_grey_image_of_three_channels_is_grey(kind):
    grey = PHOTO[..., 0]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = images.read(file_of(images.as_rgb(grey), kind, **options))
    assert image.is_grey and np.array_equal(image.coded, grey)
    coloured = images.as_rgb(grey)
    coloured[-1, -1, 2] ^= 1  # One value of one channel differs.
    image = images.read(file_of(coloured, kind, **options))
    assert not image.is_grey and np.array_equal(image.coded, coloured)


def test_errors_of_size_can_be_sent_to_other_processes():
    error = images.ImageTooLargeError((5, 7), "pixels are too many.", "max_pixels")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.size, copy.limit) == (str(error), (5, 7), "max_pixels")
