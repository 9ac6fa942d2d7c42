"""`tfc-models compare`: one picture, every codec at the size of ours."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tfc_models import evaluation, pictures
from tfc_models.cli.coding import check_model, load_model
from tfc_models.cli.errors import FAILED, CommandError, UsageError, encodable, one_line
from tfc_models.cli.report import Reporter, print_json, print_table
from tfc_models.cli.writing import png_target, write_file
from tfc_models.codec.container import DEFAULT_QUALITY
from tfc_models.evaluation import measuring, sheet

SUFFIX = ".compare.png"
# A file that is a little larger than ours is still "the same size"; a smaller one always is.
OVER = 0.01


class _Compared(NamedTuple):
    """One codec's version of the picture."""

    codec: str
    setting: str
    pixels: np.ndarray
    figures: evaluation.Figures


def compare(options: argparse.Namespace) -> int:
    """A contact sheet, and a table."""
    source = pathlib.Path(options.picture)
    target = png_target(options, SUFFIX, "the contact sheet")
    check_model(options.model)
    reporter = Reporter("compare", options.quiet)
    try:
        limits = options.max_pixels, options.max_side
        picture = pictures.read(source, options.background, *limits)
    except (pictures.PictureError, OSError) as error:
        raise CommandError(f"{source}: {one_line(error)}") from error
    for note in picture.notes:
        reporter.line(f"{source}: {note}")
    compared = _compare(picture.coded, load_model(options.model), options.quality, reporter)
    page = sheet.contact_sheet([_original(source, picture.pixels), *map(_entry, compared)])
    write_file(target, pictures.encode(page, ".png"), options.force)
    if options.json:
        print_json([_result(item) for item in compared])
    elif not options.quiet:
        _print(compared)
    reporter.line(f"{source} → {target}")
    return FAILED if reporter.failures else 0


def _compare(
    picture: np.ndarray, codec: Any, quality: int | None, reporter: Reporter
) -> list[_Compared]:
    """Ours first. A codec that cannot do this picture is reported, and left out."""
    many_rates = codec.many_rates
    if quality is not None and not many_rates:
        raise UsageError(f"{codec.model_name} has one rate: --quality is for models of many.")
    if many_rates and quality is None:
        quality = DEFAULT_QUALITY
    ours = evaluation.model_setting(codec, quality)
    coded = evaluation.code(picture, ours.encode, ours.decode)
    figures = evaluation.measure(picture, coded)
    compared = [_Compared(codec.model_name, ours.label, coded.pixels, figures)]
    with reporter.progress(list(evaluation.PEERS.values()), "comparing") as peers:
        for peer in peers:
            try:
                setting = peer.at_size(picture, figures.bytes, OVER)
                coded = evaluation.code(
                    picture, lambda pixels, p=peer, s=setting: p.encode(pixels, s), peer.decode
                )
                measured = evaluation.measure(picture, coded)
            except Exception as error:
                reporter.error(f"{peer.title}: {one_line(error)}")
                continue
            compared.append(_Compared(peer.title, peer.label(setting), coded.pixels, measured))
    return compared


def _original(source: pathlib.Path, picture: np.ndarray) -> sheet.Entry:
    height, width = picture.shape[:2]
    lines = (
        f"{encodable(source.name)}, {width}×{height}",
        f"{picture.size:,} bytes of pixels, 24 bpp",
    )
    return sheet.Entry(picture, "Original", lines)


def _entry(item: _Compared) -> sheet.Entry:
    figures = item.figures
    ms_ssim = "" if figures.ms_ssim is None else f", MS-SSIM {figures.ms_ssim:.4f}"
    return sheet.Entry(
        pictures.as_rgb(item.pixels),
        f"{item.codec}{', ' * bool(item.setting)}{item.setting}",
        (
            f"{figures.bytes:,} bytes, {figures.bpp:.3f} bpp",
            f"PSNR {measuring.psnr_text(figures.psnr)} dB{ms_ssim}",
        ),
    )


def _result(item: _Compared) -> dict[str, Any]:
    figures = {**item.figures._asdict(), "psnr": measuring.finite(item.figures.psnr)}
    return {"codec": item.codec, "setting": item.setting, **figures}


def _print(compared: list[_Compared]) -> None:
    columns = dict.fromkeys(("codec", "setting"), "left")
    columns.update(dict.fromkeys(("bytes", "bpp", "PSNR dB", "MS-SSIM"), "right"))
    print_table(
        columns,
        (
            (
                item.codec,
                item.setting,
                f"{item.figures.bytes:,}",
                f"{item.figures.bpp:.3f}",
                measuring.psnr_text(item.figures.psnr),
                measuring.ms_ssim_text(item.figures.ms_ssim),
            )
            for item in compared
        ),
    )
