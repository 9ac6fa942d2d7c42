"""Publication of trained weights in the zoo, frozen, with metrics measured at that time.

Writes NAME.npz and its card NAME.md to a folder, and an entry to the folder's index.json. Published
weights never change: if the name exists already, the next version is created.
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
from tfc_models.training.calibration import calibration_batch
from tfc_models.zoo import files

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


@dataclasses.dataclass(frozen=True)
class Publication:
    """A model to publish.

    Attributes:
        weights: weights file written by training.
        name: name of the model in the zoo and in compressed files.
        calibration: folder of training images.
        validation: folder of images that were not trained on, or None.
        selected: what was selected with the validation images, or "nothing".
        summary: one line for the list of models.
        note: how it was trained: command, machine, time, data, terms.
        default: whether it becomes the zoo's default model.
        weight_bits: bits of the weights of exact networks; None for the model's setting.
        activation_bits: bits of their activations; None for the model's setting.
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


def measure_images(
    codec: Codec, folder: str, quality: int | None = None
) -> list[tuple[str, float, float, float]]:
    """Returns the name, bits per pixel of the real file, PSNR and MS-SSIM of each image.

    MS-SSIM is NaN for images that are too small for it.
    """
    rows = []
    for path in data.find(folder):
        image = images.read(path, background=(255, 255, 255)).pixels
        file = codec.compress(image, quality)
        coded = evaluation.Coded(file, codec.decompress(file), 0.0, 0.0)
        figures = evaluation.measure(image, coded)
        ms_ssim = math.nan if figures.ms_ssim is None else figures.ms_ssim
        rows.append((path.name, figures.bpp, figures.psnr, ms_ssim))
    return rows


def column_means(rows: list[tuple[str, float, float, float]]) -> tuple[float, ...]:
    """Returns the mean of each column of `measure_images` without NaNs."""
    columns = ([v for v in column if not math.isnan(v)] for column in list(zip(*rows))[1:])
    return tuple(float(np.mean(column)) if column else math.nan for column in columns)


def card(
    publication: Publication,
    codec: Codec,
    rows: list[tuple[str, float, float, float]],
    quality_means: dict[int, tuple[float, ...]],
) -> str:
    """Returns the text of a model's card.

    Args:
        publication: the model to publish.
        codec: its codec.
        rows: result of `measure_images`.
        quality_means: means by quality, for variable-rate models.
    """
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
        "## Training",
        "",
        publication.note,
        "",
    ]
    if not rows:
        return "\n".join(lines) + "\n"
    lines += [
        "## Results",
        "",
        "Real files, headers included (`python -m training.publish … --validation`). None of the "
        f"images was trained on. Selected with them: {publication.selected}.",
        "",
        "| image | bits per pixel | PSNR, dB | MS-SSIM |",
        "|---|---|---|---|",
        *(f"| {name} | {bpp:.3f} | {psnr:.2f} | {ssim:.4f} |" for name, bpp, psnr, ssim in rows),
        "| mean | {:.3f} | {:.2f} | {:.4f} |".format(*column_means(rows)),
    ]
    if codec.many_rates:
        lines += ["", f"These are at quality {DEFAULT_QUALITY}. Means by quality:", ""]
        lines += ["| quality | bits per pixel | PSNR, dB | MS-SSIM |", "|---|---|---|---|"]
        for quality, means in quality_means.items():
            lines.append("| {} | {:.3f} | {:.2f} | {:.4f} |".format(quality, *means))
    return "\n".join(lines) + "\n"


def publish(publication: Publication) -> None:
    """Publishes a model in the zoo of a folder."""
    folder, validation = publication.folder, publication.validation
    if validation and not publication.selected:
        raise ValueError(
            'state with --selected what was selected with the images of --validation, or "nothing".'
        )
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    if validation:
        data.find(validation)  # Fails early if there are no images.
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
    rows, quality_means = [], {}
    if validation:
        rows = measure_images(codec, validation)
        quality_means = {
            quality: column_means(measure_images(codec, validation, quality))
            for quality in (QUALITIES if codec.many_rates else ())
        }
    path = folder / f"{stem}.npz"
    files.save(model, path)
    text = card(publication, codec, rows, quality_means)
    path.with_name(f"{stem}.md").write_text(text, encoding="utf-8")
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
    partial = index_path.with_suffix(".part")
    partial.write_text(json.dumps([*index, entry], indent=2) + "\n", encoding="utf-8")
    partial.replace(index_path)
    logging.info("%s: %.2f MiB, digest %s", path, path.stat().st_size / 2**20, codec.digest)
