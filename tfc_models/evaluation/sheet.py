"""Contact sheets: one image as coded by several codecs, side by side, with an enlarged detail."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Sizes in pixels, and grey levels.
GAP, PAPER, INK, FADED, MARK = 18, 255, 20, 110, (255, 214, 0)
TITLE_SIZE, TEXT_SIZE, LEADING = 24, 18, 1.4
ZOOM = 3
# Sizes of the whole image and of the enlarged detail in a tile.
WHOLE, DETAIL = (576, 432), (576, 288)


class Box(NamedTuple):
    """Rectangle in an image: left and top in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the pixels of the rectangle."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


class Entry(NamedTuple):
    """Image on the sheet, with its title and lines of text."""

    pixels: np.ndarray
    title: str
    lines: tuple[str, ...]


def contact_sheet(entries: Sequence[Entry], columns: int | None = None) -> np.ndarray:
    """Returns a sheet of images of one size with the same detail of each, original first.

    The detail is where the others differ most from the original in total. It is marked in the
    original.
    """
    original = entries[0].pixels
    detail = detail_box(original, [entry.pixels for entry in entries[1:]])
    tiles, most = [], max(len(entry.lines) for entry in entries)
    for entry in entries:
        lines = [*entry.lines, *[""] * (most - len(entry.lines))]
        mark = detail if entry is entries[0] else None
        images = [_whole(entry.pixels, mark)]
        if detail is not None:
            images.append(enlarged(detail.of(entry.pixels)))
        tiles.append(tile(images, entry.title, lines, max(WHOLE[0], DETAIL[0])))
    # Two rows if possible.
    columns = columns or max(3, math.ceil(len(tiles) / 2))
    return arranged(tiles, columns)


def detail_box(original: np.ndarray, others: Sequence[np.ndarray]) -> Box | None:
    """Returns where the squared differences are largest; None for images that are not larger."""
    height, width = original.shape[:2]
    box_width, box_height = min(DETAIL[0] // ZOOM, width), min(DETAIL[1] // ZOOM, height)
    if (box_height, box_width) == (height, width):
        return None
    error = np.zeros((height, width))
    for other in others:
        error += np.square(original.astype(np.float32) - other).sum(axis=-1)
    # Sums over all boxes from cumulative sums.
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[box_height:] - total[:-box_height]
    sums = sums[:, box_width:] - sums[:, :-box_width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Box(int(left), int(top), box_width, box_height)


def enlarged(pixels: np.ndarray, zoom: int = ZOOM) -> np.ndarray:
    """Returns pixels enlarged without interpolation, so that artifacts stay visible."""
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def tile(images: Sequence[np.ndarray], title: str, lines: Sequence[str], width: int) -> np.ndarray:
    """Returns images above one another, with a title and lines of text below."""
    texts = [(title, TITLE_SIZE, INK), *((line, TEXT_SIZE, FADED) for line in lines)]
    depth = sum(image.shape[0] + GAP // 2 for image in images)
    height = depth + sum(int(size * LEADING) for _, size, _ in texts)
    page = Image.new("RGB", (width, height), (PAPER,) * 3)
    top = 0
    for image in images:
        page.paste(Image.fromarray(image), ((width - image.shape[1]) // 2, top))
        top += image.shape[0] + GAP // 2
    draw = ImageDraw.Draw(page)
    for text, size, grey in texts:
        font = _font(size)
        draw.text((0, top), _fitting(text, font, width), (grey,) * 3, font)
        top += int(size * LEADING)
    return np.asarray(page)


def arranged(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Returns tiles of one size in rows, on paper."""
    height, width = tiles[0].shape[:2]
    blank = np.full((height, width, 3), PAPER, np.uint8)
    filled = [*tiles, *[blank] * (-len(tiles) % columns)]
    # More space below a tile than beside it, so that captions belong to their row.
    margins = (GAP, GAP), (GAP, 0), (0, 0)
    framed = [np.pad(t, margins, constant_values=PAPER) for t in filled]
    rows = [np.concatenate(framed[i : i + columns], 1) for i in range(0, len(framed), columns)]
    page = np.concatenate(rows, 0)
    return np.pad(page, ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER)


def _whole(pixels: np.ndarray, mark: Box | None) -> np.ndarray:
    """Returns the image in a space of fixed size, with a frame around a rectangle."""
    height, width = pixels.shape[:2]
    scale = min(WHOLE[0] / width, WHOLE[1] / height)
    if scale >= 1:
        image, scale = Image.fromarray(enlarged(pixels, int(scale))), int(scale)
    else:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    if mark is not None:
        left, top = int(mark.left * scale), int(mark.top * scale)
        right = min(image.width - 1, int((mark.left + mark.width) * scale))
        bottom = min(image.height - 1, int((mark.top + mark.height) * scale))
        if min(right - left, bottom - top) > 4:  # A thin frame would hide its content.
            # Dark around light is visible on any image.
            draw = ImageDraw.Draw(image)
            draw.rectangle((left, top, right, bottom), outline=(0, 0, 0), width=4)
            draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=MARK, width=2)
    # Equal sizes align the details below.
    space = Image.new("RGB", (WHOLE[0], min(WHOLE[1], image.height)), (PAPER,) * 3)
    space.paste(image, ((WHOLE[0] - image.width) // 2, 0))
    return np.asarray(space)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns matplotlib's font, which plots also use; Pillow's own lacks ×."""
    import matplotlib

    return ImageFont.truetype(
        os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size
    )


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Returns the text, shortened in the middle if it is too long."""
    for kept in range(len(text), 0, -1):
        shown = text if kept == len(text) else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"
        if font.getlength(shown) <= width:
            return shown
    return ""
