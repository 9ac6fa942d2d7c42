"""Publication of realism decoders in the zoo, with metrics measured at that time."""

from __future__ import annotations

import pathlib

import numpy as np

from tfc_models.codec import Codec
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import prepare
from tfc_models.training import data
from tfc_models.training.zoo_additions import add_decoder, measured_table

QUALITIES = (5, 15, 30, 60)
REALISM_VALUES = (0.0, 0.5, 1.0)
METRIC_NAMES = ("psnr", "ms-ssim", "lpips", "pim-bands")


def measure_decoder(codec: Codec, folder: str) -> list[list[str]]:
    """Returns a table: a header, then means over images for each quality and realism."""
    prepare(dict.fromkeys(METRIC_NAMES, 1.0))  # Reports missing weights before any work is done.
    choices = {f"{realism:g}": {"realism": realism} for realism in REALISM_VALUES}
    return measured_table(codec, folder, QUALITIES, METRIC_NAMES, "realism", choices)


def card(
    codec: Codec, rows: list[list[str]], note: str, invents: str, images: str, selected: str
) -> str:
    """Returns the text of a decoder's card.

    Args:
        codec: codec with the decoder.
        rows: result of `measure_decoder`.
        note: how the decoder was trained.
        invents: what details it invents.
        images: description of the validation images.
        selected: what was selected with the validation images.
    """
    decoder = codec.realism_decoder()
    config = ", ".join(f"{k} {v}" for k, v in decoder.config.items())
    head, *body = rows
    count = sum(int(np.prod(v.shape)) for v in decoder.variables)
    lines = [
        f"# Realism decoder of {codec.model_name}",
        "",
        "Decodes the same files with any realism from 0 (most faithful to the original) to 1 (most "
        "realistic).",
        "",
        f"- For: `{codec.model_name}`, digest `{codec.digest}`",
        f"- Blocks in the synthesis: {config}; {count:,} parameters",
        "",
        "## Training",
        "",
        note,
        "",
        "## Invented details",
        "",
        invents,
        "",
        "## Results",
        "",
        "Real files, headers included (`python -m training.publish_realism … --validation`); means "
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
    invents: str,
    selected: str,
) -> pathlib.Path:
    """Publishes a decoder for a model in the zoo of a folder; returns the path of its file.

    Args:
        folder: of the zoo.
        name: of the model.
        weights: output of training.realism.
        validation: folder of images that were not trained on.
        note: how the decoder was trained.
        invents: what details it invents.
        selected: what was selected with the validation images, or "nothing".
    """

    def card_of(model: CompressionModel) -> str:
        codec = Codec(model, name, realism=weights)
        images = f"the {len(data.find(validation))} images of {pathlib.Path(validation).name}"
        rows = measure_decoder(codec, validation)
        return card(codec, rows, note, invents, images, selected)

    return add_decoder(folder, name, "realism", weights, card_of)
