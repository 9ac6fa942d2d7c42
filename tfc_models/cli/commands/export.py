"""`tfc-models export`: exports a model as a SavedModel."""

from __future__ import annotations

import argparse
import pathlib

from tfc_models.cli import arguments, search_options
from tfc_models.cli.errors import CommandError, one_line
from tfc_models.cli.loading import check_decoder_weights, check_model, load_model
from tfc_models.cli.output import Reporter, print_json
from tfc_models.cli.output_files import check_writable, replacing_folder

DESCRIPTION = """\
Exports a model as a SavedModel with the signatures compress, decompress, compress_tensor and
decompress_tensor. A variable-rate model also has compress_at_quality; its compress uses the
quality of -q. A model with a realism decoder also has decompress_at_realism, one with a fast
decoder decompress_fast. With --max-effort, the export also has compress_at_effort."""
# Name of the graph in the folder of a SavedModel.
GRAPH = "saved_model.pb"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("folder", metavar="DIR", help="output folder")
    arguments.add_model(
        command, "model name or weights file (default: the zoo's default model)", "default"
    )
    command.add_argument(
        "--bfloat16",
        choices=("off", "on", "auto"),
        default="off",
        help="convolutions in bfloat16: off runs on any machine, auto chooses the faster setting "
        "for this machine (default: off)",
    )
    arguments.add_quality(command)
    command.add_argument(
        "--max-effort",
        metavar="N",
        type=arguments.argument(arguments.effort),
        default=0,
        help="maximum effort of the signature compress_at_effort, 1 to 9; 0: no such signature "
        "(default: 0)",
    )
    arguments.add_tune(command, "--max-effort")
    arguments.add_tunable_weights(command)
    arguments.add_decoder_weights(command)
    arguments.add_limits(command)
    command.add_argument("--force", action="store_true", help="replace an existing SavedModel")
    command.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Writes a SavedModel. The folder appears when it is complete. Returns the exit code."""
    path = pathlib.Path(options.folder)
    search_options.check_tune(options, options.max_effort)
    search_options.check_weights_are_used(options)
    check_model(options.model)
    check_decoder_weights(options.realism_weights, options.fast_weights)
    _check_replaceable(path, options.force)
    check_writable(path.resolve())
    codec = load_model(options.model, options.realism_weights, options.fast_weights)
    try:
        with replacing_folder(path, options.force) as folder:
            limits = options.max_pixels, options.max_side
            search = {"max_effort": options.max_effort, "tune": options.tune}
            codec.save(str(folder), options.bfloat16, *limits, options.quality, **search)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except ValueError as error:
        raise CommandError(one_line(error)) from error
    except OSError as error:
        raise CommandError(f"cannot write {path}: {one_line(error)}") from error
    if options.json:
        document = {
            "output": str(path),
            "model": codec.model_name,
            "digest": codec.digest,
            "bytes": size,
        }
        print_json(document)
    Reporter("export", options.quiet).line(
        f"{path}: SavedModel of {codec.model_name} (weights {codec.digest})"
    )
    return 0


def _check_replaceable(path: pathlib.Path, force: bool) -> None:
    if path.is_dir():
        if not any(path.iterdir()):
            return
        # A mistyped path must not delete other data.
        if not (path / GRAPH).is_file():
            raise CommandError(f"{path} is a folder that does not contain a SavedModel.")
    elif not path.exists():
        return
    else:
        raise CommandError(f"{path} is a file.")
    if not force:
        raise CommandError(f"{path} exists; --force replaces it.")
