"""`tfc-models compress` and `tfc-models decompress`."""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tfc_models
from tfc_models import pictures, remote
from tfc_models.cli import searching
from tfc_models.cli.errors import FAILED, CommandError, ModelError, UsageError, one_line
from tfc_models.cli.plan import Job, find_inputs, plan
from tfc_models.cli.report import Reporter, print_json, size_text
from tfc_models.cli.writing import STANDARD_STREAM, make_folder, write_file, write_stdout
from tfc_models.codec.container import SUFFIX
from tfc_models.evaluation import timed

if TYPE_CHECKING:
    import numpy as np

    from tfc_models.codec import Codec

Work = Callable[[Job], "tuple[bytes, dict[str, Any]]"]


def compress(options: argparse.Namespace) -> int:
    """Pictures to compressed files."""
    output = options.output or ""
    if pictures.has_picture_suffix(output) and not os.path.isdir(output):
        raise UsageError(f"{output} is a picture's name; compressed files end in {SUFFIX}.")
    searching.check(options, options.effort)
    searching.check_weights_are_used(options)
    check_model(options.model)
    reporter = Reporter("compress", options.quiet)
    jobs = _plan(options, pictures.has_picture_suffix, "pictures", SUFFIX)
    codec: Codec | None = None
    search = searching.search_options(options.effort, options.tune)

    def work(job: Job) -> tuple[bytes, dict[str, Any]]:
        nonlocal codec
        if job.source is not None and job.source.suffix.lower() == SUFFIX:
            raise CommandError("is compressed already.")
        picture = pictures.read(
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
        result = {**_result(header, seconds), **search}
        if picture.bits > 8:
            result["source_bits"] = picture.bits
        return data, {**result, "quality": header.rate} if codec.many_rates else result

    return _run(jobs, work, options, reporter, "compressing")


def decompress(options: argparse.Namespace) -> int:
    """Compressed files to pictures."""
    suffix = _picture_suffix(options)
    if options.model:
        check_model(options.model)
    check_realism_weights(options.realism_weights)
    if options.realism_weights and not options.realism:
        raise UsageError("--realism-weights is for a --realism above 0.")
    reporter = Reporter("decompress", options.quiet)
    jobs = _plan(options, is_compressed, f"{SUFFIX} files", suffix)
    codecs: dict[tuple[str, ...], Codec] = {}

    def work(job: Job) -> tuple[bytes, dict[str, Any]]:
        data = read_input(job.source)
        header = tfc_models.inspect(data)
        pictures.check_size(header.width, header.height, options.max_pixels, options.max_side)
        pictures.check_writable(header.width, header.height, suffix)
        key = (options.model,) if options.model else (header.model, header.digest)
        if key not in codecs:
            own, realism = options.model, options.realism_weights
            codecs[key] = load_model(own, realism) if own else _load_model_of(data, realism)
        limits = options.max_pixels, options.max_side
        decode = codecs[key].decompress
        pixels, seconds = timed(lambda: decode(data, *limits, realism=options.realism))
        result = _result(header, seconds)
        if options.realism:
            result["realism"] = options.realism
        return pictures.encode(pixels, suffix), result

    return _run(jobs, work, options, reporter, "decompressing")


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


def _plan(
    options: argparse.Namespace, wanted: Callable[[pathlib.Path], bool], kind: str, suffix: str
) -> list[Job]:
    if options.inputs.count(STANDARD_STREAM) and len(options.inputs) > 1:
        raise UsageError("standard input is one file: it cannot be read beside others.")
    many = len(options.inputs) > 1 or os.path.isdir(options.inputs[0])
    if options.force and options.skip_existing:
        raise UsageError("--force replaces outputs that exist and --skip-existing keeps them.")
    found = find_inputs(options.inputs, wanted, kind)
    existing = "replace" if options.force else "skip" if options.skip_existing else "refuse"
    jobs = plan(found, options.output, many, suffix, wanted, existing)
    if any(job.target is None and not job.error for job in jobs):
        if options.json:
            raise UsageError("--json needs standard output for itself: give a file with -o.")
        if sys.stdout.isatty():
            raise UsageError("binary data are not written to a terminal: give a file with -o.")
    return jobs


def _picture_suffix(options: argparse.Namespace) -> str:
    """What decompressed pictures end in; an unknown format stops here, before the work."""
    asked = f".{options.format.lstrip('.').lower()}" if options.format else ""
    output = options.output or ""
    named = pathlib.PurePath(output).suffix.lower()
    is_folder = output.endswith(os.sep) or os.path.isdir(output) or len(options.inputs) > 1
    is_folder = is_folder or os.path.isdir(options.inputs[0])
    is_device = os.path.exists(output) and not os.path.isfile(output)
    try:
        if asked:
            pictures.writer_for(asked)
        if not output or output == STANDARD_STREAM or is_folder or is_device:
            return asked or ".png"
        format_of_name = pictures.writer_for(named)
    except pictures.PictureError as error:
        raise UsageError(str(error)) from None
    if asked and pictures.writer_for(asked) != format_of_name:
        raise UsageError(f"--format {options.format} contradicts the name {output}.")
    return named


def is_compressed(path: pathlib.Path) -> bool:
    """Whether a file's name says that it is a compressed picture."""
    return path.suffix.lower() == SUFFIX


def check_model(name: str) -> None:
    """Refuses a model that does not exist, before TensorFlow is loaded."""
    names = tfc_models.list_models()
    known = name in names or (names and name == "default") or remote.is_address(name)
    if not known and not os.path.isfile(name):
        raise UsageError(
            f"there is no model {name!r}, nor a weights file of that name; "
            f"the models are: {', '.join(names) or 'none'}."
        )


def check_realism_weights(name: str | None) -> None:
    """Refuses a realism decoder that is not there, before TensorFlow is loaded."""
    try:
        if name:
            remote.check_there(name, "a realism decoder")
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None


def load_model(name: str, realism: str | None = None) -> Codec:
    """The codec that every file of the command needs: without it there is nothing to do."""
    silence_tensorflow()
    try:
        return tfc_models.load(name, realism)
    except Exception as error:
        raise ModelError(f"model {name}: {one_line(error)}") from error


def _load_model_of(data: bytes, realism: str | None) -> Codec:
    silence_tensorflow()
    from tfc_models.codec import codec_for

    return codec_for(data, realism)


def silence_tensorflow() -> None:
    """Before TensorFlow is imported: no start-up chatter, but what the user has set stays set."""
    # 3 leaves out errors too: "Unable to register cuDNN factory" is one, on every machine.
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


def read_input(path: pathlib.Path | None) -> bytes:
    """What a file holds; None is standard input."""
    if path is not None:
        return path.read_bytes()
    if sys.stdin.isatty():
        raise CommandError("standard input is a terminal: give a file, or pipe one in.")
    data = sys.stdin.buffer.read()
    if not data:
        raise CommandError("standard input is empty.")
    return data


def _result(header: tfc_models.Header, seconds: float) -> dict[str, Any]:
    """What `--json` says of a file: `bytes` are the compressed ones, `seconds` the codec's."""
    return {
        "model": header.model,
        "bytes": header.bytes_total,
        "width": header.width,
        "height": header.height,
        **({"grey": True} if header.is_grey else {}),
        "bpp": round(header.bits_per_pixel, 5),
        "seconds": round(seconds, 4),
    }


def _run(
    jobs: list[Job], work: Work, options: argparse.Namespace, reporter: Reporter, verb: str
) -> int:
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
                if job.target is not None:  # In a pipe nobody waits for a line.
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
