"""Enters a realism decoder into the zoo, with figures measured on the spot.

Writes NAME.realism.npz and its card beside the model's weights, and into their entry. An entry
that has a decoder gets the next version of it: what was published stays as it is.
"""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import metrics, zoo
from tfc_models.codec import Codec
from tfc_models.models.distortion import prepare
from tfc_models.remote import sha256_of
from tfc_models.training import data
from tfc_models.zoo import files

QUALITIES = (5, 15, 30, 60)
AMOUNTS = (0.0, 0.5, 1.0)
LARGEST = 6 << 20  # bytes
NAMES = ("psnr", "ms-ssim", "lpips", "pim-bands")


def measured(codec: Codec, folder: str) -> list[list[str]]:
    """A row of names, and rows of quality, realism and each metric: means over pictures."""
    prepare(dict.fromkeys(NAMES, 1.0))  # Says now what weights are missing.
    measures = [metrics.named(name) for name in NAMES]
    found: dict[tuple[int, float], list[list[float]]] = {}
    for _, picture in data.whole(folder):
        reference = tf.constant(picture[None], tf.float32)
        for quality in QUALITIES if codec.many_rates else (0,):
            coded = codec.compress(picture, quality if codec.many_rates else None)
            bpp = 8.0 * len(coded) / (picture.shape[0] * picture.shape[1])
            for amount in AMOUNTS:
                decoded = tf.constant(codec.decompress(coded, realism=amount)[None], tf.float32)
                values = [float(measure.of_pair(reference, decoded)) for measure in measures]
                found.setdefault((quality, amount), []).append([bpp, *values])
    if not found:
        raise ValueError(f"--validation {folder} has no picture that can be read.")
    rows = [["quality", "realism", "bits per pixel", *(metrics.METRICS[n].heading for n in NAMES)]]
    for (quality, amount), values in found.items():
        bpp, *others = np.mean(values, axis=0)
        told = [f"{value:.{metrics.METRICS[name].digits}f}" for name, value in zip(NAMES, others)]
        rows.append([str(quality), f"{amount:g}", f"{bpp:.3f}", *told])
    return rows


def card(
    codec: Codec, rows: list[list[str]], note: str, invents: str, images: str, selected: str
) -> str:
    """Returns the card's text; see `publish`."""
    decoder = codec.realism_decoder()
    config = ", ".join(f"{k} {v}" for k, v in decoder.config.items())
    head, *body = rows
    count = sum(int(np.prod(v.shape)) for v in decoder.variables)
    lines = [
        f"# Realism decoder of {codec.model_name}",
        "",
        "Decodes the same files, from as near to the original as the model gets (realism 0) to as "
        "real as it looks (1).",
        "",
        f"- For: `{codec.model_name}`, digest `{codec.digest}`",
        f"- Blocks in the synthesis: {config}; {count:,} numbers",
        "",
        "## How it was trained",
        "",
        note,
        "",
        "## Where it invents",
        "",
        invents,
        "",
        "## What it reaches",
        "",
        "Real files, headers included (`python -m training.publish_realism … --validation`); means "
        f"over {images}. None of them was trained on; chosen by looking at them: "
        f"{selected}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in body),
    ]
    return "\n".join(lines) + "\n"


def publish(
    folder: pathlib.Path,
    name: str,
    weights: pathlib.Path,
    validation: str,
    note: str,
    invents: str,
    selected: str,
) -> pathlib.Path:
    """Enters a decoder for a model into the zoo in a folder; returns its file there.

    Args:
        folder: of the zoo.
        name: of the model.
        weights: what training.realism wrote.
        validation: a folder of pictures never trained on.
        note: how it was trained.
        invents: what it makes up.
        selected: what was chosen by looking at the validation images, or "nothing".
    """
    index_path = folder / "index.json"
    if not index_path.exists():
        raise ValueError(f"there is no zoo in {folder}.")
    index = json.loads(index_path.read_text(encoding="utf-8"))
    versions = [item for item in index if item["name"] == name]
    if not versions:
        raise ValueError(f"there is no {name} in {index_path}.")
    newest = max(versions, key=lambda item: item["version"])
    codec = Codec(zoo.build_model(files.read(folder / newest["file"])), name, realism=weights)
    if weights.stat().st_size > LARGEST:
        raise ValueError(f"a realism decoder of the zoo has at most {LARGEST >> 20} MiB.")
    images = f"the {len(data.find(validation))} images of {pathlib.Path(validation).name}"
    text = card(codec, measured(codec, validation), note, invents, images, selected)
    stem = f"{pathlib.Path(newest['file']).stem}.realism"
    paths = (folder / f"{stem}{v}.npz" for v in ("", *(f".v{i}" for i in range(2, 1000))))
    path = next(path for path in paths if not path.exists())
    partial = path.with_suffix(".part")
    shutil.copyfile(weights, partial)
    partial.replace(path)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    newest.update(realism=path.name, realism_sha256=sha256_of(path))
    scratch = index_path.with_suffix(".part")
    scratch.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    scratch.replace(index_path)
    logging.info("%s: %.2f MiB, for %s", path, path.stat().st_size / 2**20, codec.digest)
    return path
