"""Processing of many files by the commands compress and decompress."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import tfc_models
from tfc_models.cli.errors import FAILED, CommandError, ModelError, UsageError, one_line
from tfc_models.cli.output import Reporter, print_json, size_text
from tfc_models.cli.output_files import STANDARD_STREAM, make_folder, write_file, write_stdout
from tfc_models.cli.plan import Job, find_inputs, plan

Work = Callable[[Job], "tuple[bytes, dict[str, Any]]"]
"""Returns the content of a job's output, and its fields in the --json output."""


def plan_jobs(
    options: argparse.Namespace, accepts: Callable[[pathlib.Path], bool], kind: str, suffix: str
) -> list[Job]:
    """Returns one job per input file.

    Args:
        options: options of the command.
        accepts: whether to take a file in a folder, by its name.
        kind: kind of the inputs, for messages.
        suffix: suffix of the outputs.
    """
    if options.inputs.count(STANDARD_STREAM) and len(options.inputs) > 1:
        raise UsageError("standard input cannot be combined with other inputs.")
    many = len(options.inputs) > 1 or os.path.isdir(options.inputs[0])
    if options.force and options.skip_existing:
        raise UsageError("--force and --skip-existing contradict each other.")
    inputs = find_inputs(options.inputs, accepts, kind)
    existing = "replace" if options.force else "skip" if options.skip_existing else "refuse"
    jobs = plan(inputs, options.output, many, suffix, accepts, existing)
    if any(job.target is None and not job.error for job in jobs):
        if options.json:
            raise UsageError("--json writes to standard output: give an output file with -o.")
        if sys.stdout.isatty():
            raise UsageError("refusing to write binary data to a terminal: give a file with -o.")
    return jobs


def read_input(path: pathlib.Path | None) -> bytes:
    """Returns the bytes of a file; None reads standard input."""
    if path is not None:
        return path.read_bytes()
    if sys.stdin.isatty():
        raise CommandError("standard input is a terminal: give a file, or pipe one in.")
    data = sys.stdin.buffer.read()
    if not data:
        raise CommandError("standard input is empty.")
    return data


def file_record(header: tfc_models.Header, seconds: float) -> dict[str, Any]:
    """Returns the --json record of a file: `bytes` compressed, `seconds` of the codec."""
    return {
        "model": header.model,
        "bytes": header.bytes_total,
        "width": header.width,
        "height": header.height,
        **({"grey": True} if header.is_grey else {}),
        "bpp": round(header.bits_per_pixel, 5),
        "seconds": round(seconds, 4),
    }


def run_jobs(
    jobs: list[Job], work: Work, options: argparse.Namespace, reporter: Reporter, verb: str
) -> int:
    """Runs all jobs. Returns the exit code."""
    results = []
    with reporter.progress(jobs, verb) as steps:
        for job in steps:
            result = {"input": job.source_name, "output": job.target_name}
            try:
                if job.error:
                    raise CommandError(job.error)
                if job.is_done:
                    reporter.line(f"{job.source_name}: {job.target_name} exists; skipped.")
                    results.append({**result, "skipped": True})
                    continue
                data, facts = work(job)
                if job.target is None:
                    write_stdout(data)
                else:
                    make_folder(job.target.parent)
                    write_file(job.target, data, options.force)
            except (BrokenPipeError, ModelError):
                raise
            except Exception as error:
                if options.traceback:
                    raise
                result["error"] = one_line(error)
                if job.target is None:
                    del result["output"]
                reporter.error(f"{job.source_name}: {result['error']}")
            else:
                result.update(facts)
                if job.target is not None:  # No summary for standard output: it is in a pipe.
                    reporter.line(_summary(result))
            results.append(result)
    if options.json:
        print_json(results)
    return FAILED if reporter.failures else 0


def _summary(result: dict[str, Any]) -> str:
    shown = ("quality", "effort", "realism", "tune")
    settings = [f"{k.replace('tune', 'tuned for')} {result[k]}, " for k in shown if k in result]
    size = f"{result['width']}×{result['height']}{' grey' * ('grey' in result)}"
    if "source_bits" in result:
        size += f", {result['source_bits']} bits a sample to 8"
    return (
        f"{result['input']} → {result['output']}: {size}, {''.join(settings)}"
        f"{size_text(result['bytes'])}, {result['bpp']:.3f} bpp, {result['seconds']:.2f} s"
    )
