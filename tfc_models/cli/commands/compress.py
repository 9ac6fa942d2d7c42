"""`tfc-models compress`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import tfc_models
from tfc_models import images
from tfc_models.cli import arguments, searching
from tfc_models.cli.batch import plan_jobs, read_input, result_of, run_jobs
from tfc_models.cli.errors import CommandError, UsageError
from tfc_models.cli.loading import check_model, load_model
from tfc_models.cli.output import Reporter
from tfc_models.cli.plan import Job
from tfc_models.codec.container import SUFFIX
from tfc_models.evaluation import timed

if TYPE_CHECKING:
    import numpy as np

    from tfc_models.codec import Codec

DESCRIPTION = """\
Compresses pictures: PNG, JPEG, WebP, TIFF, AVIF and others that Pillow reads. They become
sRGB with 8 bits a sample: the EXIF orientation is applied, ICC profiles are converted, of
animations and of several pages the first picture is taken. Outputs lie beside the inputs
unless -o says otherwise. With --effort, files become smaller at the same quality, and
compressing takes longer: decoding does not."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, "pictures, folders of pictures, or - for standard input")
    arguments.add_output(command)
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    arguments.add_rate(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_tunable_weights(command)
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Pictures to compressed files."""
    output = options.output or ""
    if images.has_image_suffix(output) and not os.path.isdir(output):
        raise UsageError(f"{output} is a picture's name; compressed files end in {SUFFIX}.")
    searching.check(options, options.effort)
    searching.check_weights_are_used(options)
    check_model(options.model)
    reporter = Reporter("compress", options.quiet)
    jobs = plan_jobs(options, images.has_image_suffix, "pictures", SUFFIX)
    codec: Codec | None = None
    search = searching.search_options(options.effort, options.tune)

    def work(job: Job) -> tuple[bytes, dict[str, Any]]:
        nonlocal codec
        if job.source is not None and job.source.suffix.lower() == SUFFIX:
            raise CommandError("is compressed already.")
        picture = images.read(
            job.source or read_input(None),
            background=options.background,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
        )
        for note in picture.notes:
            reporter.line(f"{job.source_name}: {note}")
        codec = codec or load_model(options.model)
        data, seconds = timed(
            lambda: _coded(codec, picture.coded, options, job.source_name, reporter)
        )
        header = tfc_models.inspect(data)
        result = {**result_of(header, seconds), **search}
        if picture.bits > 8:
            result["source_bits"] = picture.bits
        return data, {**result, "quality": header.rate} if codec.many_rates else result

    return run_jobs(jobs, work, options, reporter, "compressing")


def _coded(
    codec: Codec,
    pixels: np.ndarray,
    options: argparse.Namespace,
    name: str,
    reporter: Reporter,
) -> bytes:
    """A file at the quality, or of the size or fidelity, that was asked for."""
    if not options.effort:
        return _at_rate(codec, pixels, options)
    search = searching.search_options(options.effort, options.tune)
    targets = options.target_bytes, options.target_bpp, options.target_psnr
    several = any(target is not None for target in targets)
    remark = " for each of a few searches" if several else ""
    with reporter.search(f"{name}: effort {options.effort}", remark) as progress:
        return _at_rate(codec, pixels, options, **search, progress=progress)


def _at_rate(codec: Codec, pixels: np.ndarray, options: argparse.Namespace, **search: Any) -> bytes:
    from tfc_models.codec import compress_to_bytes, compress_to_psnr

    if options.target_psnr is not None:
        return compress_to_psnr(codec, pixels, options.target_psnr, **search).data
    size = options.target_bytes
    if options.target_bpp is not None:
        size = int(options.target_bpp * pixels.shape[0] * pixels.shape[1] / 8)
    if size is not None:
        return compress_to_bytes(codec, pixels, size, **search).data
    return codec.compress(pixels, options.quality, **search)
