"""`tfc-models decompress`: decompresses files to images."""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import TYPE_CHECKING, Any

import tfc_models
from tfc_models import images
from tfc_models.cli import arguments
from tfc_models.cli.batch import file_record, plan_jobs, read_input, run_jobs
from tfc_models.cli.errors import UsageError
from tfc_models.cli.loading import check_decoder_weights, check_model, load_model, load_model_of
from tfc_models.cli.output import Reporter
from tfc_models.cli.output_files import STANDARD_STREAM
from tfc_models.cli.plan import Job
from tfc_models.codec.container import SUFFIX
from tfc_models.decoder_choice import DECODERS
from tfc_models.evaluation import timed
from tfc_models.file_names import is_compressed

if TYPE_CHECKING:
    from tfc_models.codec import Codec

DESCRIPTION = """\
Decompresses .tfcm files to images. The suffix of the output selects the format: .png, .webp, .tiff
and .bmp are lossless, .jpg and .avif are written at quality 95. The model is the one that
compressed the file. --realism synthesizes plausible detail that the file does not contain,
instead of blur. --decoder fast takes less time, with a slightly larger error."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, ".tfcm files, folders of them, or - for standard input")
    arguments.add_output(command)
    command.add_argument(
        "--format",
        metavar="FORMAT",
        help="output format if -o names no file: "
        f"{', '.join(s[1:] for s in images.WRITERS)} (default: png)",
    )
    arguments.add_model(command, "weights file of the model, if it is not in the zoo", None)
    command.add_argument(
        "--realism",
        metavar="B",
        type=arguments.argument(arguments.fraction),
        default=0.0,
        help="realism of synthesized detail, 0 (lowest distortion) to 1 (most realistic); any "
        "value works with any file (default: 0)",
    )
    command.add_argument(
        "--decoder",
        choices=DECODERS,
        default="full",
        help="full: the decoder of the model; fast: one with fewer channels (default: full)",
    )
    arguments.add_decoder_weights(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Decompresses files. Returns the exit code."""
    suffix = _image_suffix(options)
    if options.model:
        check_model(options.model)
    check_decoder_weights(options.realism_weights, options.fast_weights)
    if options.realism_weights and not options.realism:
        raise UsageError("--realism-weights needs --realism above 0.")
    if options.fast_weights and options.decoder != "fast":
        raise UsageError("--fast-weights needs --decoder fast.")
    if options.realism and options.decoder == "fast":
        raise UsageError("--realism needs --decoder full: the fast decoder has no realism.")
    reporter = Reporter("decompress", options.quiet)
    jobs = plan_jobs(options, is_compressed, f"{SUFFIX} files", suffix)
    codecs: dict[tuple[str, ...], Codec] = {}

    def work(job: Job) -> tuple[bytes, dict[str, Any]]:
        data = read_input(job.source)
        header = tfc_models.inspect(data)
        images.check_size(header.width, header.height, options.max_pixels, options.max_side)
        images.check_writable(header.width, header.height, suffix)
        key = (options.model,) if options.model else (header.model, header.digest)
        if key not in codecs:
            own, others = options.model, (options.realism_weights, options.fast_weights)
            codecs[key] = load_model(own, *others) if own else load_model_of(data, *others)
        limits = options.max_pixels, options.max_side
        decode = codecs[key].decompress
        choice = {"realism": options.realism, "decoder": options.decoder}
        pixels, seconds = timed(lambda: decode(data, *limits, **choice))
        result = file_record(header, seconds)
        if options.realism:
            result["realism"] = options.realism
        if options.decoder != "full":
            result["decoder"] = options.decoder
        return images.encode(pixels, suffix), result

    return run_jobs(jobs, work, options, reporter, "decompressing")


def _image_suffix(options: argparse.Namespace) -> str:
    """Returns the suffix of decompressed images. Rejects an unknown format before any work."""
    requested = f".{options.format.lstrip('.').lower()}" if options.format else ""
    output = options.output or ""
    named = pathlib.PurePath(output).suffix.lower()
    is_folder = output.endswith(os.sep) or os.path.isdir(output) or len(options.inputs) > 1
    is_folder = is_folder or os.path.isdir(options.inputs[0])
    is_device = os.path.exists(output) and not os.path.isfile(output)
    try:
        if requested:
            images.writer_for(requested)
        if not output or output == STANDARD_STREAM or is_folder or is_device:
            return requested or ".png"
        format_of_name = images.writer_for(named)
    except images.ImageError as error:
        raise UsageError(str(error)) from None
    if requested and images.writer_for(requested) != format_of_name:
        raise UsageError(f"--format {options.format} contradicts the suffix of {output}.")
    return named
