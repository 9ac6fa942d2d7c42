"""Publication of fast decoders in the zoo, with metrics measured at that time."""

from __future__ import annotations

import pathlib

from tfc_models.codec import Codec
from tfc_models.decoder_choice import DECODERS
from tfc_models.decoders import multiplications, widths_of
from tfc_models.models import CompressionModel
from tfc_models.training import data
from tfc_models.training.zoo_additions import add_decoder, measured_table

QUALITIES = (0, 15, 30, 50, 75, 100)
METRIC_NAMES = ("psnr", "ms-ssim")


def measure_decoder(codec: Codec, folder: str) -> list[list[str]]:
    """Returns a table: a header, then means over images for each quality and decoder."""
    choices = {decoder: {"decoder": decoder} for decoder in DECODERS}
    return measured_table(codec, folder, QUALITIES, METRIC_NAMES, "decoder", choices)


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
