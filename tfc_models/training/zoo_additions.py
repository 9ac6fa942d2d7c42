"""Addition of decoders to models of a zoo, and tables for their cards.

Published files are not changed.
"""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import metrics
from tfc_models.codec import Codec
from tfc_models.models import CompressionModel
from tfc_models.remote import sha256_of
from tfc_models.training import data
from tfc_models.zoo import build_model, files

MAX_BYTES = 6 << 20


def add_decoder(
    folder: pathlib.Path,
    name: str,
    kind: str,
    weights: pathlib.Path,
    card_of: Callable[[CompressionModel], str],
) -> pathlib.Path:
    """Copies a decoder's weights into a zoo, with a card; returns the path of the copy.

    If the model's entry already has a decoder of this kind, the new one gets the next version
    number. Errors leave the zoo unchanged.

    Args:
        folder: of the zoo.
        name: of the model; its newest version gets the decoder.
        kind: "realism" or "fast", as in the file's name and the entry.
        weights: weights file of the decoder.
        card_of: returns the text of the card, given the model.
    """
    index_path = folder / "index.json"
    if not index_path.exists():
        raise ValueError(f"there is no zoo in {folder}.")
    index = json.loads(index_path.read_text(encoding="utf-8"))
    versions = [item for item in index if item["name"] == name]
    if not versions:
        raise ValueError(f"there is no {name} in {index_path}.")
    newest = max(versions, key=lambda item: item["version"])
    if weights.stat().st_size > MAX_BYTES:
        raise ValueError(f"a {kind} decoder of the zoo has at most {MAX_BYTES >> 20} MiB.")
    text = card_of(build_model(files.read(folder / newest["file"])))
    stem = f"{pathlib.Path(newest['file']).stem}.{kind}"
    paths = (folder / f"{stem}{v}.npz" for v in ("", *(f".v{i}" for i in range(2, 1000))))
    path = next(path for path in paths if not path.exists())
    partial = path.with_suffix(".part")
    shutil.copyfile(weights, partial)
    partial.replace(path)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    newest.update({kind: path.name, f"{kind}_sha256": sha256_of(path)})
    partial = index_path.with_suffix(".part")
    partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    partial.replace(index_path)
    logging.info("%s: %.2f MiB, for %s", path, path.stat().st_size / 2**20, newest["digest"])
    return path


def measured_table(
    codec: Codec,
    folder: str,
    qualities: Sequence[int],
    metric_names: Sequence[str],
    column: str,
    choices: Mapping[str, Mapping[str, Any]],
) -> list[list[str]]:
    """Returns a table: a header, then means over images for each quality and way of decoding.

    Args:
        codec: codec with the decoder.
        folder: of images that were not trained on.
        qualities: qualities of a codec of many rates.
        metric_names: metrics of decoded images.
        column: heading of the column of the ways of decoding.
        choices: arguments of `Codec.decompress` for each way, by the text in its column.
    """
    functions = [metrics.named(name) for name in metric_names]
    values: dict[tuple[int, str], list[list[float]]] = {}
    for _, image in data.named_images(folder):
        reference = tf.constant(image[None], tf.float32)
        for quality in qualities if codec.many_rates else (0,):
            coded = codec.compress(image, quality if codec.many_rates else None)
            bpp = 8.0 * len(coded) / (image.shape[0] * image.shape[1])
            for text, options in choices.items():
                decoded = tf.constant(codec.decompress(coded, **options)[None], tf.float32)
                figures = [float(function.of_pair(reference, decoded)) for function in functions]
                values.setdefault((quality, text), []).append([bpp, *figures])
    if not values:
        raise ValueError(f"--validation {folder} has no readable images.")
    records = [metrics.METRICS[name] for name in metric_names]
    rows = [["quality", column, "bits per pixel", *(record.heading for record in records)]]
    for (quality, text), image_rows in values.items():
        bpp, *means = np.mean(image_rows, axis=0)
        cells = [f"{mean:.{record.digits}f}" for mean, record in zip(means, records)]
        rows.append([str(quality), text, f"{bpp:.3f}", *cells])
    return rows
