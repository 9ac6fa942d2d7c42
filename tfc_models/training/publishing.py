"""Freezes fitted weights and enters them into the zoo, with figures measured on the spot.

Writes NAME.npz and its card NAME.md to a folder, and the entry to its index.json. The weights of
a version of a name never change: under a name that is taken, this makes the next version.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib

import numpy as np
from absl import logging

from tfc_models import evaluation, images, zoo
from tfc_models.codec import Codec
from tfc_models.codec.container import DEFAULT_QUALITY
from tfc_models.remote import sha256_of
from tfc_models.training import data
from tfc_models.training.samples import calibration_batch
from tfc_models.zoo import files

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


@dataclasses.dataclass(frozen=True)
class Publication:
    """A model to publish.

    Attributes:
        weights: file that training wrote.
        name: of the model in the zoo and in files.
        calibration: folder of training pictures.
        validation: folder of pictures never trained on, or None.
        selected: what was chosen by looking at the validation pictures, or "nothing".
        summary: one line for the list of models.
        note: how it was trained: command, machine, time, data, terms.
        default: whether it becomes the zoo's default.
        weight_bits: of the weights of exact networks; None leaves the model's own.
        activation_bits: of their activations, likewise.
        folder: of the zoo's weights.
    """

    weights: pathlib.Path
    name: str
    calibration: str
    validation: str | None = None
    selected: str | None = None
    summary: str = ""
    note: str = ""
    default: bool = False
    weight_bits: int | None = None
    activation_bits: int | None = None
    folder: pathlib.Path = zoo.FOLDER


def validated(
    codec: Codec, folder: str, quality: int | None = None
) -> list[tuple[str, float, float, float]]:
    """For each picture: name, bits per pixel of the real file, PSNR, MS-SSIM."""
    rows = []
    for path in data.find(folder):
        picture = images.read(path, background=(255, 255, 255)).pixels
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
    publication: Publication,
    codec: Codec,
    rows: list[tuple[str, float, float, float]],
    others: dict[int, tuple[float, ...]],
) -> str:
    """The card's text: `rows` for each picture, `others` the means at other qualities."""
    model = codec.model
    config = ", ".join(f"{k} {v}" for k, v in model.config.items())
    lines = [
        f"# {publication.name}",
        "",
        publication.summary,
        "",
        f"- Model: `{model.name}` ({config})",
        f"- Digest: `{codec.digest}`",
        f"- Exact network: float32 pieces per layer {getattr(model.coder, 'pieces', None)}",
        "",
        "## How it was trained",
        "",
        publication.note,
        "",
    ]
    if not rows:
        return "\n".join(lines) + "\n"
    lines += [
        "## What it reaches",
        "",
        "Real files, headers included (`python -m training.publish … --validation`). None of the "
        f"images was trained on; chosen by looking at them: {publication.selected}.",
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


def publish(publication: Publication) -> None:
    """Enters a model into the zoo in a folder."""
    folder = publication.folder
    if publication.validation and not publication.selected:
        raise ValueError(
            'say with --selected what was chosen by looking at --validation ("nothing" if nothing).'
        )
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    if publication.validation:
        data.find(publication.validation)
    index_path = folder / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else []
    versions = [item["version"] for item in index if item["name"] == publication.name]
    version = max(versions, default=0) + 1
    stem = publication.name if version == 1 else f"{publication.name}.v{version}"
    model = zoo.build_model(files.read(publication.weights))
    bits = {
        "weight_bits": publication.weight_bits,
        "activation_bits": publication.activation_bits,
    }
    if bits := {name: count for name, count in bits.items() if count is not None}:
        if not hasattr(model.coder, "weight_bits"):
            raise ValueError(f"{model.name} has no exact networks: leave out --weight_bits.")
        for name, count in bits.items():
            setattr(model.coder, name, count)
    codec = Codec(model, publication.name, calibration_batch(publication.calibration))
    rows = validated(codec, publication.validation) if publication.validation else []
    others = {
        quality: mean_of(validated(codec, publication.validation, quality))
        for quality in (QUALITIES if rows and codec.many_rates else ())
    }
    path = folder / f"{stem}.npz"
    files.save(model, path)
    path.with_name(f"{stem}.md").write_text(
        card(publication, codec, rows, others), encoding="utf-8"
    )
    if publication.default:
        index = [{**item, "default": False} for item in index]
    entry = {
        "name": publication.name,
        "version": version,
        "default": publication.default,
        "model": model.name,
        "digest": codec.digest,
        "file": path.name,
        "sha256": sha256_of(path),
        "summary": publication.summary,
    }
    scratch = index_path.with_suffix(".part")
    scratch.write_text(json.dumps([*index, entry], indent=2) + "\n", encoding="utf-8")
    scratch.replace(index_path)
    logging.info("%s: %.2f MiB, digest %s", path, path.stat().st_size / 2**20, codec.digest)
