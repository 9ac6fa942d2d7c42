"""`tfc-models export`: a model as a SavedModel, for servers."""

from __future__ import annotations

import argparse
import pathlib

from tfc_models.cli import arguments, searching
from tfc_models.cli.errors import CommandError, one_line
from tfc_models.cli.loading import check_model, check_realism_weights, load_model
from tfc_models.cli.output import Reporter, print_json
from tfc_models.cli.writing import check_place, new_folder

DESCRIPTION = """\
Writes a model as a SavedModel with the signatures compress, decompress, compress_tensor and
decompress_tensor; of a model of many rates, with compress_at_quality too, and compress at the
quality that -q says; of one with a realism decoder, with decompress_at_realism. With
--max-effort, also with compress_at_effort."""
# What TensorFlow calls the graph in a SavedModel's folder.
GRAPH = "saved_model.pb"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("folder", metavar="DIR", help="the folder to write")
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    command.add_argument(
        "--bfloat16",
        choices=("off", "on", "auto"),
        default="off",
        help="convolve in bfloat16: off runs everywhere, auto is for machines like this one "
        "(default: off)",
    )
    arguments.add_quality(command)
    command.add_argument(
        "--max-effort",
        metavar="N",
        type=arguments.argument(arguments.effort),
        default=0,
        help="largest effort that the signature compress_at_effort takes, 1 to 9; 0: no such "
        "signature (default: 0)",
    )
    arguments.add_tune(command, "--max-effort")
    arguments.add_tunable_weights(command)
    arguments.add_realism_weights(command)
    arguments.add_limits(command)
    command.add_argument("--force", action="store_true", help="replace a SavedModel that exists")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Writes a SavedModel; the folder is there when it is complete."""
    path = pathlib.Path(options.folder)
    searching.check(options, options.max_effort)
    searching.check_weights_are_used(options)
    check_model(options.model)
    check_realism_weights(options.realism_weights)
    _check_replaceable(path, options.force)
    check_place(path.resolve())
    codec = load_model(options.model, options.realism_weights)
    try:
        with new_folder(path, options.force) as folder:
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
        # A slip of the pen must not delete a home folder.
        if not (path / GRAPH).is_file():
            raise CommandError(f"{path} is a folder that holds something else than a SavedModel.")
    elif not path.exists():
        return
    else:
        raise CommandError(f"{path} is a file.")
    if not force:
        raise CommandError(f"{path} exists; --force replaces it.")
