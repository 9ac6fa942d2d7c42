"""`tfc-models serve`: serves a model with TF Serving's protocol and a web page."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
from typing import NoReturn

from tfc_models.cli import arguments, logs, optional_packages, signals
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import check_model, load_model, silence_tensorflow

DESCRIPTION = """\
Serves a model over REST and gRPC with TF Serving's protocol, and a web page. The model is a name
in the zoo or a weights file, which is exported first, or a folder that tfc-models export or
serving.export wrote. A folder of versions is polled for new versions. With --json, the log is JSON.
SIGTERM and Ctrl-C stop the server after it has answered all accepted requests."""
HANDLES_SIGNALS = True
GRAPH = "saved_model.pb"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument(
        "model", metavar="MODEL_OR_DIR", help="model name, weights file, or exported folder"
    )
    command.add_argument(
        "--name",
        metavar="NAME",
        default="default",
        help="model name for clients (default: default)",
    )
    command.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)",
    )
    for option, default, use in (("port", 8500, "gRPC"), ("rest-port", 8501, "REST and the page")):
        command.add_argument(
            f"--{option}",
            metavar="N",
            type=arguments.argument(arguments.port),
            default=default,
            help=f"port for {use}; 0 picks a free port (default: {default})",
        )
    command.add_argument("--no-page", action="store_true", help="disable the web page")
    command.add_argument(
        "--bfloat16",
        choices=("off", "on", "auto"),
        default="auto",
        help="convolutions in bfloat16, for a model that is exported first; auto: if it is faster "
        "on this machine (default: auto)",
    )
    command.add_argument(
        "--max-effort",
        metavar="N",
        type=arguments.argument(arguments.effort),
        default=0,
        help="maximum effort that clients may request, for a model that is exported first "
        "(default: 0)",
    )
    command.add_argument(
        "--max-batch-size",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=16,
        help="maximum number of images per batch or request (default: 16)",
    )
    command.add_argument(
        "--threads",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=os.cpu_count() or 1,
        help="number of concurrent model calls (default: the number of processors)",
    )
    command.add_argument(
        "--memory",
        metavar="MIB",
        type=arguments.argument(arguments.count),
        default=1536,
        help="memory for requests in flight; requests beyond it get status 429 (default: 1536)",
    )
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Serves until a signal, then ends the process with the exit code."""
    folder = pathlib.Path(options.model)
    if not folder.is_dir():
        check_model(options.model)
    elif not (folder / GRAPH).is_file() and not any(_versions(folder)):
        raise UsageError(f"{folder} contains neither a SavedModel nor versions of one.")
    silence_tensorflow()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with optional_packages.required("serving"):
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
        with signals.raise_on_signals():
            base = _versions_of(options, folder, pathlib.Path(scratch))
        if options.json:
            log.set_up()
        try:
            with contextlib.nullcontext() if options.json else logs.to_stderr():
                status = server.Server(
                    manager.single_model_config(options.name, str(base)), settings
                ).run()
        except server.ERRORS as error:
            raise CommandError(str(error).splitlines()[0]) from error
    sys.stderr.flush()
    os._exit(status)  # Threads that are inside a model call would keep the process alive.


def _versions_of(
    options: argparse.Namespace, folder: pathlib.Path, scratch: pathlib.Path
) -> pathlib.Path:
    """Returns a folder of versions of the model, after exporting the model if necessary."""
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
