"""Contact sheets: one picture as several codecs give it back, side by side, with a detail."""

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
# What a tile shows: the whole picture within this, and a detail this large when enlarged.
WHOLE, DETAIL = (576, 432), (576, 288)


class Box(NamedTuple):
    """A piece of a picture: from the left, from the top, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The piece."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


class Entry(NamedTuple):
    """A picture on the sheet: its name and what is said of it."""

    pixels: np.ndarray
    title: str
    lines: tuple[str, ...]


def contact_sheet(entries: Sequence[Entry], columns: int | None = None) -> np.ndarray:
    """All pictures, which are of one size, with the same detail of each; the first is the
    original.

    The detail is where the others differ from it most, taken together, and is marked in it.
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
    # Two rows where that is possible.
    columns = columns or max(3, math.ceil(len(tiles) / 2))
    return arranged(tiles, columns)


def detail_box(original: np.ndarray, others: Sequence[np.ndarray]) -> Box | None:
    """Where the squared differences add up to most; None for pictures not larger than that."""
    height, width = original.shape[:2]
    box_width, box_height = min(DETAIL[0] // ZOOM, width), min(DETAIL[1] // ZOOM, height)
    if (box_height, box_width) == (height, width):
        return None
    error = np.zeros((height, width))
    for other in others:
        error += np.square(original.astype(np.float32) - other).sum(axis=-1)
    # Sums over every box at once, from sums over everything left of and above a pixel.
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[box_height:] - total[:-box_height]
    sums = sums[:, box_width:] - sums[:, :-box_width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Box(int(left), int(top), box_width, box_height)


def enlarged(pixels: np.ndarray, zoom: int = ZOOM) -> np.ndarray:
    """Every pixel as a square: who looks for artifacts wants no interpolation."""
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def tile(images: Sequence[np.ndarray], title: str, lines: Sequence[str], width: int) -> np.ndarray:
    """Images under one another, and below them a title and lines of text."""
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
    """Tiles of one size in rows, on paper."""
    height, width = tiles[0].shape[:2]
    blank = np.full((height, width, 3), PAPER, np.uint8)
    filled = [*tiles, *[blank] * (-len(tiles) % columns)]
    # More room below a tile than beside it: a caption must not look like the next row's.
    margins = (GAP, GAP), (GAP, 0), (0, 0)
    framed = [np.pad(t, margins, constant_values=PAPER) for t in filled]
    rows = [np.concatenate(framed[i : i + columns], 1) for i in range(0, len(framed), columns)]
    page = np.concatenate(rows, 0)
    return np.pad(page, ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER)


def _whole(pixels: np.ndarray, mark: Box | None) -> np.ndarray:
    """The picture in a space of fixed size, with a frame around a piece of it."""
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
        if min(right - left, bottom - top) > 4:  # On a mere line it would hide what it marks.
            # Dark around light: seen on any picture.
            draw = ImageDraw.Draw(image)
            draw.rectangle((left, top, right, bottom), outline=(0, 0, 0), width=4)
            draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=MARK, width=2)
    # All wholes are equally wide and high, so that the details below them stand in line.
    space = Image.new("RGB", (WHOLE[0], min(WHOLE[1], image.height)), (PAPER,) * 3)
    space.paste(image, ((WHOLE[0] - image.width) // 2, 0))
    return np.asarray(space)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's, so that sheets and plots have the same letters; Pillow's own has no ×."""
    import matplotlib

    return ImageFont.truetype(
        os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size
    )


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut in the middle if it is too long."""
    for kept in range(len(text), 0, -1):
        shown = text if kept == len(text) else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"
        if font.getlength(shown) <= width:
            return shown
    return ""
