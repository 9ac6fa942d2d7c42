"""`tfc-models info`: shows the headers of compressed files. Needs no TensorFlow."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import tfc_models
from tfc_models.cli import arguments
from tfc_models.cli.batch import read_input
from tfc_models.cli.errors import FAILED, CommandError, one_line, printable
from tfc_models.cli.output import Reporter, print_json
from tfc_models.cli.plan import InputFile, find_inputs
from tfc_models.codec.container import SUFFIX
from tfc_models.file_names import is_compressed

DESCRIPTION = "Shows the headers of compressed files. Needs no model."


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, ".tfcm files, folders of them, or - for standard input")


def run(options: argparse.Namespace) -> int:
    """Shows the headers of compressed files. Returns the exit code."""
    reporter = Reporter("info")
    results = []
    for file in find_inputs(options.inputs, is_compressed, f"{SUFFIX} files"):
        name = "-" if file.path is None else str(file.path)
        result: dict[str, Any] = {"input": name}
        try:
            result.update(_describe(file))
            if not options.json:
                _print_description(result)
        except BrokenPipeError:
            raise
        except Exception as error:
            if options.traceback:
                raise
            result["error"] = one_line(error)
            reporter.error(f"{name}: {result['error']}")
        results.append(result)
    if options.json:
        print_json(results)
    return FAILED if reporter.failures else 0


def _describe(file: InputFile) -> dict[str, Any]:
    if file.error:
        raise CommandError(file.error)
    header = tfc_models.inspect(read_input(file.path))
    streams = list(header.stream_bytes)
    known = {(e.name, digest) for e in tfc_models.entries() for digest in (e.digest, *e.decodes)}
    return {
        "version": header.version,
        "model": header.model,
        "digest": header.digest,
        "in_zoo": (header.model, header.digest) in known,
        "width": header.width,
        "height": header.height,
        "rate": header.rate,
        "channels": 1 if header.is_grey else 3,
        "bytes": header.bytes_total,
        "bpp": round(8 * header.bytes_total / (header.width * header.height), 5),
        "stream_bytes": streams,
        "header_bytes": header.bytes_total - sum(streams),
        "latent_fingerprint": header.latent_fingerprint,
        "file_fingerprint": header.file_fingerprint,
    }


def _print_description(facts: dict[str, Any]) -> None:
    streams = " + ".join(f"{count:,}" for count in facts["stream_bytes"]) or "none"
    availability = (
        "in the zoo" if facts["in_zoo"] else "NOT in the zoo: give its weights file with -m"
    )
    rows = {
        "image": f"{facts['width']}×{facts['height']}{', grey' * (facts['channels'] == 1)}",
        "size": f"{facts['bytes']:,} bytes, {facts['bpp']:.3f} bpp",
        "model": f"{facts['model']}, weights {facts['digest']} ({availability})",
        "rate": str(facts["rate"]),
        "streams": f"{streams} bytes",
        "header": f"{facts['header_bytes']} bytes, format version {facts['version']}",
        "fingerprint": f"latent {facts['latent_fingerprint']}, file {facts['file_fingerprint']}",
    }
    if not facts["rate"]:
        del rows["rate"]  # Fixed-rate models write 0.
    print(printable(facts["input"]))
    for label, text in rows.items():
        print(f"  {label:<12}{text}")
    sys.stdout.flush()
