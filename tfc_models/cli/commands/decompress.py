"""`tfc-models decompress`."""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import TYPE_CHECKING, Any

import tfc_models
from tfc_models import images
from tfc_models.cli import arguments
from tfc_models.cli.batch import plan_jobs, read_input, result_of, run_jobs
from tfc_models.cli.errors import UsageError
from tfc_models.cli.loading import check_model, check_realism_weights, load_model, load_model_of
from tfc_models.cli.output import Reporter
from tfc_models.cli.plan import Job
from tfc_models.cli.writing import STANDARD_STREAM
from tfc_models.codec.container import SUFFIX
from tfc_models.evaluation import timed
from tfc_models.file_names import is_compressed

if TYPE_CHECKING:
    from tfc_models.codec import Codec

DESCRIPTION = """\
Decompresses pictures. The format is that of the output's name: .png, .webp, .tiff and .bmp
without loss, .jpg and .avif at quality 95. The model is the one that made the file. With
--realism, what a file does not hold is invented as it may have been, in place of blur."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, ".tfcm files, folders of them, or - for standard input")
    arguments.add_output(command)
    command.add_argument(
        "--format",
        metavar="FORMAT",
        help=f"of outputs that -o does not name: {', '.join(s[1:] for s in images.WRITERS)} "
        "(default: png)",
    )
    arguments.add_model(command, "use this model, for files whose weights are not in the zoo", None)
    command.add_argument(
        "--realism",
        metavar="B",
        type=arguments.argument(arguments.fraction),
        default=0.0,
        help="0, as near to the original as it gets, to 1, as real as it looks; the file is the "
        "same (default: 0)",
    )
    arguments.add_realism_weights(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Compressed files to pictures."""
    suffix = _image_suffix(options)
    if options.model:
        check_model(options.model)
    check_realism_weights(options.realism_weights)
    if options.realism_weights and not options.realism:
        raise UsageError("--realism-weights is for a --realism above 0.")
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
            own, realism = options.model, options.realism_weights
            codecs[key] = load_model(own, realism) if own else load_model_of(data, realism)
        limits = options.max_pixels, options.max_side
        decode = codecs[key].decompress
        pixels, seconds = timed(lambda: decode(data, *limits, realism=options.realism))
        result = result_of(header, seconds)
        if options.realism:
            result["realism"] = options.realism
        return images.encode(pixels, suffix), result

    return run_jobs(jobs, work, options, reporter, "decompressing")


def _image_suffix(options: argparse.Namespace) -> str:
    """Returns the suffix of decompressed images; refuses an unknown format before any work."""
    asked = f".{options.format.lstrip('.').lower()}" if options.format else ""
    output = options.output or ""
    named = pathlib.PurePath(output).suffix.lower()
    is_folder = output.endswith(os.sep) or os.path.isdir(output) or len(options.inputs) > 1
    is_folder = is_folder or os.path.isdir(options.inputs[0])
    is_device = os.path.exists(output) and not os.path.isfile(output)
    try:
        if asked:
            images.writer_for(asked)
        if not output or output == STANDARD_STREAM or is_folder or is_device:
            return asked or ".png"
        format_of_name = images.writer_for(named)
    except images.ImageError as error:
        raise UsageError(str(error)) from None
    if asked and images.writer_for(asked) != format_of_name:
        raise UsageError(f"--format {options.format} contradicts the name {output}.")
    return named
