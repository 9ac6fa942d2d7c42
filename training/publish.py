"""Freezes fitted weights and enters them into the zoo, with figures measured on the spot.

    python -m training.publish --weights OUT/weights.npz --name my-photos \
        --calibration TRAINING_PICTURES --validation PICTURES --selected "the learning rates" \
        --note "how it was trained"

Writes NAME.npz and its card NAME.md to --folder, and the entry to its index.json. The weights
of a version of a name never change: under a name that is taken, this makes the next version.
"""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
from absl import flags, logging

from tfc_models import evaluation, pictures, zoo
from tfc_models.codec import Codec
from tfc_models.codec.container import DEFAULT_QUALITY
from tfc_models.entropy import exact
from tfc_models.remote import sha256_of
from tfc_models.zoo import files
from training import data, program
from training.samples import calibration_batch

_WEIGHTS = flags.DEFINE_string("weights", None, "what fit wrote", required=True)
_NAME = flags.DEFINE_string("name", None, "name in the zoo and in files", required=True)
_CALIBRATION = flags.DEFINE_string(
    "calibration", None, "folder of training pictures", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of pictures never trained on")
_SELECTED = flags.DEFINE_string(
    "selected", None, 'what was chosen by looking at --validation, or "nothing"'
)
_SUMMARY = flags.DEFINE_string("summary", "", "one line for the list of models")
_NOTE = flags.DEFINE_string("note", "", "how it was trained: command, machine, time, data, terms")
_DEFAULT = flags.DEFINE_bool("default", False, "make it the zoo's default")
_WEIGHT_BITS = flags.DEFINE_integer(
    "weight_bits", exact.WEIGHT_BITS, "of the exact networks: more cost less rate, and time", 2, 16
)
_ACTIVATION_BITS = flags.DEFINE_integer("activation_bits", exact.ACTIVATION_BITS, "likewise", 2, 16)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "where the zoo's weights are")

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


def validated(
    codec: Codec, folder: str, quality: int | None = None
) -> list[tuple[str, float, float, float]]:
    """For each picture: name, bits per pixel of the real file, PSNR, MS-SSIM."""
    rows = []
    for path in data.find(folder):
        picture = pictures.read(path, background=(255, 255, 255)).pixels
        file = codec.compress(picture, quality)
        coded = evaluation.Coded(file, codec.decompress(file), 0.0, 0.0)
        figures = evaluation.measure(picture, coded)
        # Some pictures are too small for MS-SSIM, and are not in its mean.
        ms_ssim = math.nan if figures.ms_ssim is None else figures.ms_ssim
        rows.append((path.name, figures.bpp, figures.psnr, ms_ssim))
    return rows


def mean_of(rows: list[tuple[str, float, float, float]]) -> tuple[float, ...]:
    """Of the figures of some pictures."""
    columns = ([v for v in column if not math.isnan(v)] for column in list(zip(*rows))[1:])
    return tuple(float(np.mean(column)) if column else math.nan for column in columns)


def card(
    codec: Codec,
    rows: list[tuple[str, float, float, float]],
    others: dict[int, tuple[float, ...]],
) -> str:
    """The card's text: `rows` for each picture, `others` the means at other qualities."""
    model = codec.model
    config = ", ".join(f"{k} {v}" for k, v in model.config.items())
    lines = [
        f"# {_NAME.value}",
        "",
        _SUMMARY.value,
        "",
        f"- Model: `{model.name}` ({config})",
        f"- Digest: `{codec.digest}`",
        f"- Exact network: float32 pieces per layer {getattr(model.coder, 'pieces', None)}",
        "",
        "## How it was trained",
        "",
        _NOTE.value,
        "",
    ]
    if not rows:
        return "\n".join(lines) + "\n"
    lines += [
        "## What it reaches",
        "",
        "Real files, headers included (`python -m training.publish … --validation`). None of the "
        f"images was trained on; chosen by looking at them: {_SELECTED.value}.",
        "",
        "| picture | bits per pixel | PSNR, dB | MS-SSIM |",
        "|---|---|---|---|",
        *(f"| {name} | {bpp:.3f} | {psnr:.2f} | {ssim:.4f} |" for name, bpp, psnr, ssim in rows),
        "| mean | {:.3f} | {:.2f} | {:.4f} |".format(*mean_of(rows)),
    ]
    if codec.many_rates:
        lines += ["", f"That is quality {DEFAULT_QUALITY}. The same pictures at others, means:", ""]
        lines += ["| quality | bits per pixel | PSNR, dB | MS-SSIM |", "|---|---|---|---|"]
        for quality, means in others.items():
            lines.append("| {} | {:.3f} | {:.2f} | {:.4f} |".format(quality, *means))
    return "\n".join(lines) + "\n"


def publish() -> None:
    """Does as the flags say."""
    folder = pathlib.Path(_FOLDER.value)
    if _VALIDATION.value and not _SELECTED.value:
        raise ValueError(
            'say with --selected what was chosen by looking at --validation ("nothing" if nothing).'
        )
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    if _VALIDATION.value:
        data.find(_VALIDATION.value)
    index_path = folder / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else []
    versions = [item["version"] for item in index if item["name"] == _NAME.value]
    version = max(versions, default=0) + 1
    stem = _NAME.value if version == 1 else f"{_NAME.value}.v{version}"
    model = zoo.build_model(files.read(pathlib.Path(_WEIGHTS.value)))
    if _WEIGHT_BITS.present or _ACTIVATION_BITS.present:
        if not hasattr(model.coder, "weight_bits"):
            raise ValueError(f"{model.name} has no exact networks: leave out --weight_bits.")
        model.coder.weight_bits = _WEIGHT_BITS.value
        model.coder.activation_bits = _ACTIVATION_BITS.value
    codec = Codec(model, _NAME.value, calibration_batch(_CALIBRATION.value))
    rows = validated(codec, _VALIDATION.value) if _VALIDATION.value else []
    others = {
        quality: mean_of(validated(codec, _VALIDATION.value, quality))
        for quality in (QUALITIES if rows and codec.many_rates else ())
    }
    path = folder / f"{stem}.npz"
    files.save(model, path)
    path.with_name(f"{stem}.md").write_text(card(codec, rows, others), encoding="utf-8")
    if _DEFAULT.value:
        index = [{**item, "default": False} for item in index]
    entry = {
        "name": _NAME.value,
        "version": version,
        "default": _DEFAULT.value,
        "model": model.name,
        "digest": codec.digest,
        "file": path.name,
        "sha256": sha256_of(path),
        "summary": _SUMMARY.value,
    }
    scratch = index_path.with_suffix(".part")
    scratch.write_text(json.dumps([*index, entry], indent=2) + "\n", encoding="utf-8")
    scratch.replace(index_path)
    logging.info("%s: %.2f MiB, digest %s", path, path.stat().st_size / 2**20, codec.digest)


if __name__ == "__main__":
    program.run(publish)
