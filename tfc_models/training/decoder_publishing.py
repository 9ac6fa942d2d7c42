"""Publication of fast decoders in the zoo, with metrics measured at that time."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from tfc_models import metrics
from tfc_models.codec import Codec
from tfc_models.codec.decoders import DECODERS
from tfc_models.decoders import multiplications, widths_of
from tfc_models.models import CompressionModel
from tfc_models.training import data
from tfc_models.training.zoo_additions import add_decoder

QUALITIES = (0, 15, 30, 50, 75, 100)
METRIC_NAMES = ("psnr", "ms-ssim")


def measure_decoder(codec: Codec, folder: str) -> list[list[str]]:
    """Returns a table: a header, then means over images for each quality and decoder."""
    functions = [metrics.named(name) for name in METRIC_NAMES]
    values: dict[tuple[int, str], list[list[float]]] = {}
    for _, image in data.named_images(folder):
        reference = tf.constant(image[None], tf.float32)
        for quality in QUALITIES if codec.many_rates else (0,):
            coded = codec.compress(image, quality if codec.many_rates else None)
            bpp = 8.0 * len(coded) / (image.shape[0] * image.shape[1])
            for decoder in DECODERS:
                decoded = tf.constant(codec.decompress(coded, decoder=decoder)[None], tf.float32)
                figures = [float(function.of_pair(reference, decoded)) for function in functions]
                values.setdefault((quality, decoder), []).append([bpp, *figures])
    if not values:
        raise ValueError(f"--validation {folder} has no readable images.")
    headings = [metrics.METRICS[name].heading for name in METRIC_NAMES]
    rows = [["quality", "decoder", "bits per pixel", *headings]]
    for (quality, decoder), image_rows in values.items():
        bpp, *means = np.mean(image_rows, axis=0)
        digits = [metrics.METRICS[name].digits for name in METRIC_NAMES]
        cells = [f"{mean:.{count}f}" for mean, count in zip(means, digits)]
        rows.append([str(quality), decoder, f"{bpp:.3f}", *cells])
    return rows


def card(codec: Codec, rows: list[list[str]], note: str, images: str, selected: str) -> str:
    """Returns the text of a decoder's card.

    Args:
        codec: codec with the decoder.
        rows: result of `measure_decoder`.
        note: how the decoder was trained.
        images: description of the validation images.
        selected: what was selected with the validation images.
    """
    model, decoder = codec.model, codec.fast_decoder()
    full = widths_of(model.synthesis)
    both = [
        sum(multiplications(model.synthesis, widths, model.latent_channels).values())
        for widths in (decoder.widths, full)
    ]
    widths = ", ".join(f"{name} {width}" for name, width in decoder.widths.items())
    head, *body = rows
    lines = [
        f"# Fast decoder of {codec.model_name}",
        "",
        "Decodes the same files with fewer channels.",
        "",
        f"- For: `{codec.model_name}`, digest `{codec.digest}`",
        f"- Channels: {widths}",
        f"- Multiplications of the synthesis: {100 * both[0] / both[1]:.0f} % of the model's own",
        "",
        "## Training",
        "",
        note,
        "",
        "## Results",
        "",
        "Real files, headers included (`python -m training.publish_decoder … --validation`); means "
        f"over {images}. None of them was trained on. Selected with them: {selected}.",
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
    selected: str,
) -> pathlib.Path:
    """Publishes a fast decoder for a model in the zoo of a folder; returns the path of its file.

    Args:
        folder: of the zoo.
        name: of the model.
        weights: output of training.decoder.
        validation: folder of images that were not trained on.
        note: how the decoder was trained.
        selected: what was selected with the validation images, or "nothing".
    """

    def card_of(model: CompressionModel) -> str:
        codec = Codec(model, name, fast=weights)
        images = f"the {len(data.find(validation))} images of {pathlib.Path(validation).name}"
        return card(codec, measure_decoder(codec, validation), note, images, selected)

    return add_decoder(folder, name, "fast", weights, card_of)
