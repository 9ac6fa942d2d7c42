"""Image files of a folder. Needs only numpy and Pillow: it is copied into exported steps."""

from __future__ import annotations

import io
import pathlib

import crops
import numpy as np
from PIL import Image, ImageCms, ImageOps

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".ppm", ".jp2"}


def find(folder: str) -> list[pathlib.Path]:
    """Returns the image files of a folder and the folders in it, sorted."""
    paths = [p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise crops.DataError(f"no images in {folder}.")
    return sorted(paths)


def read(path: pathlib.Path) -> np.ndarray:
    """Returns the pixels of an image in sRGB, rotated by its EXIF data and composited on white."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode}: only 8 bits per sample are supported")
            if image.info.get("icc_profile") and image.mode in ("RGB", "CMYK"):
                profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
                srgb = ImageCms.createProfile("sRGB")
                image = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except (SyntaxError, EOFError, ImageCms.PyCMSError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None  # Pillow's errors for damaged files
