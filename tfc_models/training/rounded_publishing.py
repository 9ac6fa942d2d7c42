"""Publication of a zoo model with rounded kernels, whose decoder reads the earlier files.

The kernels of the transforms and of the other decoders are rounded with feedback of errors (see
`tfc_models.training.kernel_rounding`). Coding tables and exact networks stay the same, which is
checked. The new version therefore decodes files of the earlier one to the same latents.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import zoo
from tfc_models.analysis import bd_rate
from tfc_models.codec import Codec
from tfc_models.decoders import ReplacementDecoder
from tfc_models.decoders import decoder_file as replacement_file
from tfc_models.entropy import LatentCoder
from tfc_models.models import CompressionModel
from tfc_models.realism import RealismDecoder
from tfc_models.realism import decoder_file as realism_file
from tfc_models.remote import read_weights, sha256_of, write_file
from tfc_models.training import data, kernel_rounding
from tfc_models.training.fixed_model import load_base
from tfc_models.training.publishing import QUALITIES, column_means, measure_images
from tfc_models.weights import SUFFIX, encode
from tfc_models.weights.weight_file import Tensor
from tfc_models.zoo import files

BATCH = 4


@dataclasses.dataclass(frozen=True)
class Rounding:
    """A model to round.

    Attributes:
        name: of the model in the zoo; its newest version is rounded.
        data: folder of training images.
        step: step of the transforms in units of the square root of the loss.
        decoder_step: step of the other decoders.
        crops: number of crops that statistics are taken from.
        side: of the crops.
        seed: of the crops and the random vectors.
        validation: folder of images that were not trained on, or None.
        selected: what was selected with the validation images, or "nothing".
        folder: of the zoo's weights.
    """

    name: str
    data: str
    step: float
    decoder_step: float
    crops: int = 96
    side: int = 256
    seed: int = 0
    validation: str | None = None
    selected: str | None = None
    folder: pathlib.Path = zoo.FOLDER


def publish_rounded(rounding: Rounding) -> pathlib.Path:
    """Publishes the rounded model as the next version; returns the path of its weights."""
    if rounding.validation and not rounding.selected:
        raise ValueError(
            'state with --selected what was selected with the images of --validation, or "nothing".'
        )
    index_path = rounding.folder / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else []
    versions = [item for item in index if item["name"] == rounding.name]
    if not versions:
        raise ValueError(f"there is no {rounding.name} in {index_path}.")
    old = max(versions, key=lambda item: item["version"])
    old_path = rounding.folder / old["file"]
    before = files.read(old_path)
    base, _ = load_base(str(old_path))
    base.set_bfloat16("off")
    frozen = zoo.build_model(before)
    rounded = _rounded(
        rounding,
        kernel_rounding.model_convolutions(base),
        kernel_rounding.model_probe(base),
        rounding.step,
    )
    exact = kernel_rounding.exact_kernels(frozen)
    tensors: dict[str, Tensor] = {**before.state, **exact, **rounded}
    stem = f"{rounding.name}.v{old['version'] + 1}"
    path = rounding.folder / f"{stem}{SUFFIX}"
    files.save_rounded(before.model, before.config, tensors, path)
    model = zoo.build_model(files.read(path))
    _check_same_coding(frozen, model)
    codec = Codec(model, rounding.name)
    entry = {
        **{key: value for key, value in old.items() if not key.startswith(("realism", "fast"))},
        "version": old["version"] + 1,
        "digest": codec.digest,
        "file": path.name,
        "sha256": sha256_of(path),
        "decodes": [old["digest"], *old.get("decodes", [])],
    }
    for kind in ("realism", "fast"):
        if kind in old:
            decoder_path = path.with_name(f"{stem}.{kind}{SUFFIX}")
            source = rounding.folder / old[kind]
            write_file(decoder_path, _rounded_decoder(rounding, base, kind, source, codec.digest))
            entry.update({kind: decoder_path.name, f"{kind}_sha256": sha256_of(decoder_path)})
            text = _decoder_card(source, decoder_path, old["digest"], codec.digest)
            decoder_path.with_suffix(".md").write_text(text, encoding="utf-8")
    text = _card(rounding, Codec(frozen, rounding.name), codec, old_path, path)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    others = [item for item in index if item is not old]
    write_file(index_path, (json.dumps([*others, entry], indent=2) + "\n").encode())
    logging.info("%s: %.2f MB, digest %s", path, path.stat().st_size / 1e6, codec.digest)
    return path


def _rounded(
    rounding: Rounding, layers: dict[str, Any], probe: kernel_rounding.Probe, step: float
) -> dict[str, Any]:
    crops = _batches(rounding)
    statistics = kernel_rounding.find_statistics(layers, probe, crops, rounding.seed)
    return kernel_rounding.rounded_kernels(layers, statistics, step)


def _batches(rounding: Rounding) -> Iterator[tf.Tensor]:
    crops = data.crops(rounding.data, rounding.side, 2.0, rounding.seed, per_image=1)
    yield from crops.batch(BATCH).take(rounding.crops // BATCH)


def _check_same_coding(before: CompressionModel, after: CompressionModel) -> None:
    """Raises ValueError unless two models have the same tables and exact networks."""
    states = [
        {k: v for k, v in model.state().items() if k.startswith("coder/")}
        for model in (before, after)
    ]
    same = states[0].keys() == states[1].keys()
    same = same and all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    if isinstance(before.coder, LatentCoder) and isinstance(after.coder, LatentCoder):
        integers = [m.coder.prediction.networks.integers() for m in (before, after)]
        same = same and len(integers[0]) == len(integers[1])
        same = same and all(map(np.array_equal, *integers))
    if not same:
        raise ValueError(f"{before.name} decodes other latents after rounding: not published.")


def _rounded_decoder(
    rounding: Rounding, base: CompressionModel, kind: str, source: pathlib.Path, digest: str
) -> bytes:
    """Returns the file of another decoder of a model, with rounded kernels."""
    metadata = json.loads(str(read_weights(source)["__meta__"]))
    decoder: RealismDecoder | ReplacementDecoder
    if kind == "realism":
        realism = realism_file.read(source)
        decoder = RealismDecoder(base, **realism.config)
        decoder.assign_state(realism.state)
        layers = kernel_rounding.convolutions((block.name, block) for block in decoder.blocks)
        probe = kernel_rounding.decoder_probe(base, decoder.to_images)
    else:
        replacement = replacement_file.read(source)
        decoder = fast = ReplacementDecoder(base, **replacement.config)
        decoder.assign_state(replacement.state)
        layers = kernel_rounding.convolutions((la.name, la) for la in decoder.synthesis.layers)
        probe = kernel_rounding.decoder_probe(base, lambda y, rate, _: fast.to_images(y, rate))
    rounded = _rounded(rounding, layers, probe, rounding.decoder_step)
    state = {k: np.asarray(v, np.float16) for k, v in decoder.state().items()}
    return encode({**state, **rounded}, {**metadata, "digest": digest})


def _decoder_card(source: pathlib.Path, path: pathlib.Path, before: str, after: str) -> str:
    """Returns the card of another decoder: that before rounding, with a note."""
    card = source.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {path.stem}\n"
    sizes = [file.stat().st_size / 1e6 for file in (source, path)]
    note = (
        f"- Rounded with the model: {sizes[1]:.2f} MB instead of {sizes[0]:.2f} MB. The results "
        "below were measured before, with the weights `{before}`."
    )
    lines = text.replace(f"`{before}`", f"`{after}`").splitlines()
    place = next((i for i, line in enumerate(lines) if line.startswith("- ")), len(lines))
    return "\n".join([*lines[:place], note, *lines[place:]]) + "\n"


def _section(card: pathlib.Path, title: str) -> list[str]:
    """Returns the lines of a section of a card; none if the card lacks it."""
    lines = card.read_text(encoding="utf-8").splitlines() if card.exists() else []
    if f"## {title}" not in lines:
        return []
    start = lines.index(f"## {title}")
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
    return [*lines[start:end], ""] if lines[end - 1] else lines[start:end]


def _card(
    rounding: Rounding, before: Codec, after: Codec, old_path: pathlib.Path, path: pathlib.Path
) -> str:
    """Returns the text of the card: how weights were rounded, and results before and after."""
    sizes = [file.stat().st_size / 1e6 for file in (old_path, path)]
    count = rounding.crops // BATCH * BATCH
    lines = [
        f"# {rounding.name}, version {path.stem.rsplit('.v', 1)[1]}",
        "",
        f"The weights of `{old_path.stem}`, rounded: {sizes[1]:.2f} MB instead of {sizes[0]:.2f} "
        "MB. Latents of files and the exact networks are the same, so that files of "
        f"`{before.digest}` are decoded as well.",
        "",
        f"- Model: `{after.model.name}`",
        f"- Digest: `{after.digest}`",
        f"- Command: `python -m training.round_weights --name {rounding.name} "
        f"--data TRAINING_IMAGES --step {rounding.step:g} --decoder_step "
        f"{rounding.decoder_step:g} --seed {rounding.seed}`, with {count} crops of "
        f"{rounding.side}×{rounding.side} training pixels",
        "",
        *_section(old_path.with_suffix(".md"), "Training"),
    ]
    if not rounding.validation:
        return "\n".join(lines)
    curves: list[list[tuple[float, ...]]] = []
    qualities: Sequence[int | None] = QUALITIES if after.many_rates else (None,)
    for codec in (before, after):
        curves.append(
            [column_means(measure_images(codec, rounding.validation, q)) for q in qualities]
        )
    if len(qualities) > 1:
        anchor, test = ([(point[0], point[1]) for point in curve] for curve in curves)
        loss = bd_rate(anchor, test)
        lines += [f"BD-rate against the weights before rounding: {loss:+.2f} %.", ""]
    lines += [
        "## Results",
        "",
        "Means of real files of images that were not trained on, headers included; "
        f"chosen by looking at these images: {rounding.selected}.",
        "",
        "| quality | bits per pixel, before | after | PSNR, dB, before | after |",
        "|---|---|---|---|---|",
    ]
    for quality, first, second in zip(qualities, *curves):
        lines.append(
            f"| {quality} | {first[0]:.3f} | {second[0]:.3f} | {first[1]:.2f} | {second[1]:.2f} |"
        )
    return "\n".join(lines) + "\n"
