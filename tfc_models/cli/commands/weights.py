"""`tfc-models weights`: compresses the weights of Keras models."""

from __future__ import annotations

import argparse
import math
import pathlib
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from tfc_models.cli import arguments
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.output import Reporter, print_json, print_table, size_text
from tfc_models.cli.output_files import check_new, check_writable, write_file

if TYPE_CHECKING:
    import tensorflow as tf

DESCRIPTION = """\
Compresses the weights of a Keras model to a .tfcw file, and decompresses them.

  tfc-models weights compress model.keras -o model.tfcw --step 0.1
  tfc-models weights decompress model.tfcw --model model.keras -o small.keras
  tfc-models weights info model.tfcw

A model that was trained with tfc_models.weights.compressible has learned steps, and needs no
--step. decompress writes .keras with the architecture of --model, or .npz without one."""
ACTIONS = ("compress", "decompress", "info")
SUFFIX = ".tfcw"
MODEL_SUFFIXES = (".keras", ".h5")


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("action", choices=ACTIONS, help="what to do with FILE")
    command.add_argument("file", metavar="FILE", help=".keras, .h5 or SavedModel; or .tfcw")
    command.add_argument("-o", "--output", metavar="FILE", help="file to write")
    command.add_argument(
        "--step",
        metavar="X",
        type=arguments.argument(arguments.positive),
        help="compress: quantization step as a share of each weight's standard deviation",
    )
    command.add_argument(
        "--coder",
        choices=("range", "elias-gamma"),
        help="compress: entropy coder (default: range, or what the model was trained for)",
    )
    command.add_argument(
        "--model", metavar="FILE", help="decompress: a model of the same architecture"
    )
    command.add_argument("--force", action="store_true", help="overwrite an existing file")
    command.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Compresses, decompresses or shows weights. Returns the exit code."""
    source = pathlib.Path(options.file)
    if not source.exists():
        raise UsageError(f"there is no file {source}.")
    _check_options(options)
    if options.action == "info":
        silence_tensorflow()
        return _info(source, options)
    default = SUFFIX if options.action == "compress" else ".npz"
    target = pathlib.Path(options.output or source.with_suffix(default))
    check_new(target, options.force)
    check_writable(target)
    silence_tensorflow()
    if options.action == "compress":
        return _compress(source, target, options)
    return _decompress(source, target, options)


def _check_options(options: argparse.Namespace) -> None:
    """Raises UsageError for options that the action does not read."""
    for name, action in (("step", "compress"), ("coder", "compress"), ("model", "decompress")):
        if getattr(options, name) is not None and options.action != action:
            raise UsageError(f"--{name} has an effect with {action} only.")
    if options.output and options.action == "info":
        raise UsageError("--output has no effect with info.")
    if (options.force or options.quiet) and options.action == "info":
        raise UsageError("--force and --quiet have no effect with info.")
    if options.action != "compress" and not pathlib.Path(options.file).is_file():
        raise UsageError(f"{options.file} is a folder, not a .tfcw file.")
    if options.action == "decompress":
        suffix = pathlib.Path(options.output or "weights.npz").suffix.lower()
        if suffix in MODEL_SUFFIXES and not options.model:
            raise UsageError(f"a {suffix} file needs an architecture: give --model, or write .npz.")
        if suffix not in (*MODEL_SUFFIXES, ".npz"):
            raise UsageError("decompress writes .keras, .h5 or .npz.")
        if suffix == ".npz" and options.model:
            raise UsageError("--model has no effect on .npz files, which have no architecture.")


def _compress(source: pathlib.Path, target: pathlib.Path, options: argparse.Namespace) -> int:
    from tfc_models import weights

    if source.is_file() and source.suffix == SUFFIX:
        raise CommandError(f"{source} is compressed already.")
    model = _loaded(source)
    try:
        data = weights.compress(model, options.step, options.coder)
    except ValueError as error:
        text = str(error).replace("give step", "give --step").replace("out step", "out --step")
        raise CommandError(f"{source}: {text}") from None
    write_file(target, data, options.force)
    shapes = [tensor.shape for tensor in weights.decode(data).tensors.values()]
    count = sum(math.prod(shape) for shape in shapes)
    _report(options, source, target, len(data), {"float32_bytes": 4 * count})
    return 0


def _decompress(source: pathlib.Path, target: pathlib.Path, options: argparse.Namespace) -> int:
    import io

    import numpy as np

    from tfc_models import weights

    data = source.read_bytes()
    try:
        if not options.model:
            buffer = io.BytesIO()
            np.savez(buffer, **weights.decode(data).values())
            result = buffer.getvalue()
        else:
            result = _saved(weights.decompress(data, _loaded(pathlib.Path(options.model))), target)
    except ValueError as error:
        raise CommandError(f"{source}: {one_line(error)}") from None
    write_file(target, result, options.force)
    _report(options, source, target, len(result), {})
    return 0


def _info(source: pathlib.Path, options: argparse.Namespace) -> int:
    import numpy as np

    from tfc_models import weights

    try:
        content = weights.decode(source.read_bytes())
    except ValueError as error:
        raise CommandError(f"{source}: {one_line(error)}") from None
    rows: list[dict[str, Any]] = []
    for name, tensor in content.tensors.items():
        values = tensor.integers if isinstance(tensor, weights.CodedTensor) else tensor
        bits = tensor.entropy_bits if isinstance(tensor, weights.CodedTensor) else None
        rows.append(
            {
                "name": name,
                "shape": list(tensor.shape),
                "stored": getattr(tensor, "transform", "exact"),
                "zeros": round(float(np.mean(values == 0)), 4) if values.size else 1.0,
                "entropy_bytes": None if bits is None else round(bits / 8.0),
            }
        )
    size = source.stat().st_size
    if options.json:
        document = {"input": str(source), "bytes": size, "metadata": content.metadata}
        print_json({**document, "tensors": rows})
        return 0
    print_table(
        {
            "weight": "left",
            "shape": "left",
            "stored": "left",
            "zeros": "right",
            "entropy": "right",
        },
        (
            (
                str(row["name"]),
                "×".join(map(str, row["shape"])) or "scalar",
                str(row["stored"]),
                f"{row['zeros']:.1%}",
                "–" if row["entropy_bytes"] is None else size_text(row["entropy_bytes"]),
            )
            for row in rows
        ),
        f"{source}: {size_text(size)}, {_weights_text(rows)}",
    )
    return 0


def _weights_text(rows: list[dict[str, Any]]) -> str:
    count = sum(math.prod(row["shape"]) for row in rows)
    return f"{count:,} weights"


def _loaded(path: pathlib.Path) -> tf.keras.Model:
    """Returns a Keras model of a file."""
    import tensorflow as tf

    import tfc_models.weights  # noqa: F401 (registers its layers)

    if not path.exists():
        raise UsageError(f"there is no file {path}.")
    try:
        return tf.keras.models.load_model(path, compile=False)
    except Exception as error:
        reason = one_line(error)
        raise CommandError(f"{path} is not a Keras model that can be loaded: {reason}") from None


def _saved(model: tf.keras.Model, target: pathlib.Path) -> bytes:
    """Returns a model's file in the format of the target's suffix."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tfc-models-"))
    try:
        path = folder / f"model{target.suffix.lower()}"
        model.save(path)
        return path.read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(
    options: argparse.Namespace,
    source: pathlib.Path,
    target: pathlib.Path,
    size: int,
    facts: dict[str, int],
) -> None:
    if options.json:
        print_json({"input": str(source), "output": str(target), "bytes": size, **facts})
        return
    before = facts.get("float32_bytes")
    ratio = f", {before / size:.1f} times as small as float32" if before else ""
    Reporter("weights", options.quiet).line(f"{source} → {target}: {size_text(size)}{ratio}")
