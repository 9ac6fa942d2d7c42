"""`tfc-models compress`: compresses images."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import tfc_models
from tfc_models import images
from tfc_models.cli import arguments, search_options
from tfc_models.cli.batch import file_record, plan_jobs, read_input, run_jobs
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
Compresses images: PNG, JPEG, WebP, TIFF, AVIF and other formats that Pillow reads. Images are
converted to sRGB with 8 bits per sample: the EXIF orientation is applied and ICC profiles are
converted. Only the first frame or page is compressed. Outputs are written next to the inputs
unless -o is given. A higher --effort gives smaller files at the same quality and takes longer to
compress; decompression time does not change."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, "images, folders of images, or - for standard input")
    arguments.add_output(command)
    arguments.add_model(
        command, "model name or weights file (default: the zoo's default model)", "default"
    )
    arguments.add_rate(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_tunable_weights(command)
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Compresses images. Returns the exit code."""
    output = options.output or ""
    if images.has_image_suffix(output) and not os.path.isdir(output):
        raise UsageError(f"{output} has the suffix of an image; compressed files end in {SUFFIX}.")
    search_options.check_tune(options, options.effort)
    search_options.check_weights_are_used(options)
    check_model(options.model)
    reporter = Reporter("compress", options.quiet)
    jobs = plan_jobs(options, images.has_image_suffix, "images", SUFFIX)
    codec: Codec | None = None
    search = search_options.compress_arguments(options.effort, options.tune)

    def work(job: Job) -> tuple[bytes, dict[str, Any]]:
        nonlocal codec
        if job.source is not None and job.source.suffix.lower() == SUFFIX:
            raise CommandError("the file is already compressed.")
        image = images.read(
            job.source or read_input(None),
            background=options.background,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
        )
        for note in image.notes:
            reporter.line(f"{job.source_name}: {note}")
        codec = codec or load_model(options.model)
        data, seconds = timed(
            lambda: _compress(codec, image.coded, options, job.source_name, reporter)
        )
        header = tfc_models.inspect(data)
        result = {**file_record(header, seconds), **search}
        if image.bits > 8:
            result["source_bits"] = image.bits
        return data, {**result, "quality": header.rate} if codec.many_rates else result

    return run_jobs(jobs, work, options, reporter, "compressing")


def _compress(
    codec: Codec,
    pixels: np.ndarray,
    options: argparse.Namespace,
    name: str,
    reporter: Reporter,
) -> bytes:
    """Returns a file of the requested quality, size or PSNR, and shows the search's progress."""
    if not options.effort:
        return _compress_to_target(codec, pixels, options)
    search = search_options.compress_arguments(options.effort, options.tune)
    targets = options.target_bytes, options.target_bpp, options.target_psnr
    several = any(target is not None for target in targets)
    remark = " for each of several searches" if several else ""
    with reporter.search(f"{name}: effort {options.effort}", remark) as progress:
        return _compress_to_target(codec, pixels, options, **search, progress=progress)


def _compress_to_target(
    codec: Codec, pixels: np.ndarray, options: argparse.Namespace, **search: Any
) -> bytes:
    from tfc_models.codec import compress_to_bytes, compress_to_psnr

    if options.target_psnr is not None:
        return compress_to_psnr(codec, pixels, options.target_psnr, **search).data
    size = options.target_bytes
    if options.target_bpp is not None:
        size = int(options.target_bpp * pixels.shape[0] * pixels.shape[1] / 8)
    if size is not None:
        return compress_to_bytes(codec, pixels, size, **search).data
    return codec.compress(pixels, options.quality, **search)
