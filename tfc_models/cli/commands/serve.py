"""`tfc-models serve`: a model behind TF Serving's protocol, with a page."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
from typing import NoReturn

from tfc_models.cli import arguments, extras, logs, signals
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import check_model, load_model, silence_tensorflow

DESCRIPTION = """\
Serves a model by REST and gRPC, in TF Serving's protocol, with a page for browsers. The model is
one of the zoo or a weights file, which is exported first, or a folder that tfc-models export or
serving.export wrote; a folder of versions is watched for new ones. With --json, the log is JSON.
SIGTERM and Ctrl-C end the server when what it has accepted is answered."""
HANDLES_SIGNALS = True
GRAPH = "saved_model.pb"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument(
        "model", metavar="MODEL_OR_DIR", help="model of the zoo, weights file, or exported folder"
    )
    command.add_argument(
        "--name", metavar="NAME", default="default", help="name for clients (default: default)"
    )
    command.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 for all (default: 127.0.0.1)",
    )
    for option, default, use in (("port", 8500, "gRPC"), ("rest-port", 8501, "REST and the page")):
        command.add_argument(
            f"--{option}",
            metavar="N",
            type=arguments.argument(arguments.port),
            default=default,
            help=f"for {use}; 0 picks a free one (default: {default})",
        )
    command.add_argument("--no-page", action="store_true", help="leave out the page")
    command.add_argument(
        "--bfloat16",
        choices=("off", "on", "auto"),
        default="auto",
        help="convolve in bfloat16, of a model that is exported here; auto: if it pays on this "
        "machine (default: auto)",
    )
    command.add_argument(
        "--max-effort",
        metavar="N",
        type=arguments.argument(arguments.effort),
        default=0,
        help="largest effort that clients may ask for, of a model that is exported here "
        "(default: 0)",
    )
    command.add_argument(
        "--max-batch-size",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=16,
        help="pictures in a call, or a request (default: 16)",
    )
    command.add_argument(
        "--threads",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=os.cpu_count() or 1,
        help="calls that run at a time (default: the number of processors)",
    )
    command.add_argument(
        "--memory",
        metavar="MIB",
        type=arguments.argument(arguments.count),
        default=1536,
        help="memory for requests in flight; more answer 429 (default: 1536)",
    )
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Serves until a signal; ends the process with the exit code."""
    folder = pathlib.Path(options.model)
    if not folder.is_dir():
        check_model(options.model)
    elif not (folder / GRAPH).is_file() and not any(_versions(folder)):
        raise UsageError(f"{folder} holds neither a SavedModel nor versions of one.")
    silence_tensorflow()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with extras.needed("serving"):
        _serve(options, folder)


def _serve(options: argparse.Namespace, folder: pathlib.Path) -> NoReturn:
    from tfc_models.serving import log

    if options.json:
        log.relay_stderr()
    from tfc_models.serving import manager, server

    settings = server.Settings(
        host=options.host,
        port=options.port,
        rest_port=options.rest_port,
        max_batch_size=options.max_batch_size,
        num_batch_threads=options.threads,
        request_memory=options.memory * 2**20,
        max_pixels=options.max_pixels,
        max_side=options.max_side,
        page=not options.no_page,
    )
    with tempfile.TemporaryDirectory(prefix="tfc-models-serve-") as scratch:
        with signals.handled():
            base = _versions_of(options, folder, pathlib.Path(scratch))
        if options.json:
            log.set_up()
        try:
            with contextlib.nullcontext() if options.json else logs.shown():
                status = server.Server(manager.single(options.name, str(base)), settings).run()
        except server.ERRORS as error:
            raise CommandError(str(error).splitlines()[0]) from error
    sys.stderr.flush()
    os._exit(status)  # Threads that still run a call would keep the process.


def _versions_of(
    options: argparse.Namespace, folder: pathlib.Path, scratch: pathlib.Path
) -> pathlib.Path:
    """Returns a folder of versions of the model; exports the model if it is none."""
    if not folder.is_dir():
        from tfc_models.serving.exporting import export

        codec = load_model(options.model)
        try:
            export(
                codec,
                scratch,
                bfloat16=options.bfloat16,
                max_pixels=options.max_pixels,
                max_side=options.max_side,
                max_effort=options.max_effort,
            )
        except (ValueError, OSError) as error:
            raise CommandError(one_line(error)) from error
        return scratch
    if (folder / GRAPH).is_file():
        (scratch / "1").symlink_to(folder.resolve(), target_is_directory=True)
        return scratch
    return folder


def _versions(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
