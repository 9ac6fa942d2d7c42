"""Measures the distortion–perception curve of realism decoders at a rate, and its knee.

    python -m training.experiments.realism_curve --config realism --steps 300 \
        --workdir OUT --data IMAGES --validation OTHER_IMAGES --figure docs/realism_curve.webp

The analysis transform and entropy model are fixed, and so are the compressed files. Each decoder
minimizes γ · squared error + perceptual distance (the config's `perceptual`) at realism 1. All
decoders start as the base model's decoder, which corresponds to γ → ∞, and are trained with the
same crops. As proposed in chapter 4.1 of Kirmemis' thesis, the best γ is at the knee of the curve.

There is one decoder for each γ. It is trained for all qualities between the smallest and the
largest of --qualities, and measured at each of them. (Its gates depend on the quality, and a
decoder for each quality would multiply the training time.) The program can be interrupted at any
time: the same command resumes from the last checkpoint. With further --gammas, only their decoders
are trained. Prints a table for each quality and writes OUT/curve.csv.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import flags, logging

from tfc_models import models, zoo
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.metrics import METRICS
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.realism import RealismDecoder, decoder_file
from tfc_models.training import image_run, run_identity
from tfc_models.training.config import RealismTraining
from tfc_models.training.fixed_model import base_of
from tfc_models.training.realism import RealismRun, RealismTrainer
from tfc_models.training.validation import RGB_IMAGE
from training.experiments import curve_settings
from training.experiments import realism_curve_table as tables
from training.experiments.curve_settings import (
    check_changes,
    checked_gammas,
    checked_images,
    checked_judges,
    checked_qualities,
    store,
)
from training.experiments.realism_curve_table import PERCEPTION, Panel, Point

_OUTPUT = flags.DEFINE_string("figure", None, "WebP file for a figure")

DEFAULT_GAMMAS = "0", "1e-3", "3e-3", "1e-2", "3e-2", "0.1"
DEFAULT_QUALITIES = 15, 40
DEFAULT_JUDGES = "pim-bands", "ms-ssim"
# Settings that --set cannot change, and the reasons.
FIXED_SETTINGS = {
    "gamma": "use --gammas",
    "qualities": "use --qualities",
    "validation_rates": "use --qualities",
    "realism": "the decoders are trained at realism 1",
    "validation_minutes": "there is one validation, at the end",
    "minutes": "all decoders take the same number of steps",
}
# Settings that may differ between runs in a work folder.
VARIABLE_SETTINGS = ("gamma", "log_steps", "checkpoint_minutes", *FIXED_SETTINGS)


def common_config(config: RealismTraining, changes: Sequence[str]) -> RealismTraining:
    """Returns the config for all γ; raises ValueError for changes that have no effect."""
    check_changes(changes, config.steps, FIXED_SETTINGS)
    return dataclasses.replace(config, realism=1.0)


def store_settings(workdir: pathlib.Path, config: RealismTraining) -> None:
    """Writes the decoders' common settings; raises ValueError if the folder has other ones."""
    common = {k: v for k, v in dataclasses.asdict(config).items() if k not in VARIABLE_SETTINGS}
    store(workdir, {**common, "qualities": config.qualities})


def train_decoder(
    base: models.CompressionModel,
    base_digest: str,
    config: RealismTraining,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
) -> pathlib.Path:
    """Trains the decoder for the config's γ, unless it is complete; returns its file."""
    from training import image_flags  # It defines flags, so tests do not import it.

    folder = workdir / f"gamma-{tables.format_gamma(config.gamma)}"
    run_identity.check(folder, config)
    with strategy.scope():
        # All decoders have equal initial weights and the same crops.
        tf.keras.utils.set_random_seed(config.seed)
        trainer = RealismTrainer(RealismDecoder(base, **config.arguments), base_digest, config)
    logging.info("decoder for γ = %g in %s", config.gamma, folder)
    run = RealismRun(trainer, folder, image_flags.DATA.value, None)
    run.begin(lambda: trainer.start(image_flags.DATA.value))
    # A run killed between writing a checkpoint and the weights would leave older weights.
    trainer.save_weights(folder / "weights.npz")
    return folder / "weights.npz"


class DecoderMeasurement:
    """Measures decoders on real files of images.

    Args:
        base: name or path of the base model.
        arguments: of the decoders.
        terms: weights of the metrics in the perceptual distance.
        judges: further metrics to measure.
    """

    def __init__(
        self, base: str, arguments: dict, terms: Mapping[str, float], judges: Sequence[str]
    ) -> None:
        weights, name = zoo.find(base)
        model = zoo.build_model(weights)
        model.set_bfloat16("off")  # Files should not depend on the machine.
        # The weights of each decoder are loaded into this one, so that there is one graph.
        self.decoder = RealismDecoder(model, **arguments)
        self.decoder.trainable = False
        self.codec = Codec(model, name, realism=self.decoder)
        self._terms = dict(terms)
        self.names = ["mse", "psnr", PERCEPTION, *judges]
        self._compiled = tf.function(
            self._metrics, input_signature=[RGB_IMAGE] * 2, autograph=False
        )

    def _metrics(self, image: tf.Tensor, decoded: tf.Tensor) -> list[tf.Tensor]:
        perceptual, _ = distortions(self._terms, image, decoded)
        values = (
            perceptual if n == PERCEPTION else METRICS[n].function(image, decoded)
            for n in self.names
        )
        return [tf.reduce_mean(value) for value in values]

    def load(self, path: pathlib.Path) -> None:
        """Loads the weights of a decoder."""
        weights = decoder_file.read(path)
        decoder_file.check(weights, self.codec.model.name, self.codec.digest)
        self.decoder.assign_state(weights.state)

    def point(self, gamma: float, images: Sequence[np.ndarray], files: Sequence[bytes]) -> Point:
        """Measures the loaded decoder; for an infinite γ, the base model's decoder."""
        rows = []
        for image, file in zip(images, files):
            decoded = self.codec.decompress(file, realism=0.0 if math.isinf(gamma) else 1.0)
            pair = (tf.constant(p[None], tf.float32) for p in (image, decoded))
            rows.append([float(value) for value in self._compiled(*pair)])
        return Point(gamma, dict(zip(self.names, np.transpose(rows))))

    def panels(
        self,
        files: Mapping[float, pathlib.Path],
        qualities: Sequence[int | None],
        images: Sequence[np.ndarray],
    ) -> list[Panel]:
        """Measures the base model's decoder and those of `files`, by γ, at each quality."""
        coded = {q: [self.codec.compress(image, q) for image in images] for q in qualities}
        points = {q: [self.point(math.inf, images, coded[q])] for q in qualities}
        for gamma, path in files.items():
            logging.info("measuring γ = %g on %d images", gamma, len(images))
            self.load(path)
            for q in qualities:
                points[q].append(self.point(gamma, images, coded[q]))
        areas = [image.shape[0] * image.shape[1] for image in images]
        return [
            Panel(
                q,
                float(np.mean([8.0 * len(f) / a for f, a in zip(coded[q], areas)])),
                sum(map(len, coded[q])),
                points[q],
            )
            for q in qualities
        ]


def curve() -> None:
    """Trains and measures the decoders with the flags' settings."""
    from training import image_flags, run_flags  # They define flags, so tests do not import them.

    config = common_config(run_flags.read_config(RealismTraining), run_flags.SET.value)
    gammas, terms = (
        checked_gammas(curve_settings.GAMMAS.value or DEFAULT_GAMMAS),
        parsed(config.perceptual),
    )
    judges = checked_judges(curve_settings.JUDGES.value or DEFAULT_JUDGES, terms)
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and (output.suffix != ".webp" or not output.parent.is_dir()):
        raise ValueError(f"--figure must be a .webp file in an existing folder; got {output}.")
    prepare({**terms, **dict.fromkeys(judges, 1.0)})
    image_run.check_disjoint(image_flags.DATA.value, image_flags.VALIDATION.value)
    names = ["mse", *terms, *judges]
    images = list(checked_images(image_flags.VALIDATION.value, names).values())
    strategy = image_run.build_strategy(image_flags.STRATEGY.value)
    with strategy.scope():
        base, base_digest = base_of(config)
    qualities = checked_qualities(curve_settings.QUALITIES.value, base, DEFAULT_QUALITIES)
    if qualities:
        ends = float(min(qualities)), float(max(qualities))
        config = dataclasses.replace(config, qualities=ends)
    workdir = run_flags.workdir()
    store_settings(workdir, config)
    files = {}
    for gamma in gammas:
        gamma_config = dataclasses.replace(config, gamma=gamma)
        files[gamma] = train_decoder(base, base_digest, gamma_config, workdir, strategy)
    measurement = DecoderMeasurement(config.base, config.arguments, terms, judges)
    panels = measurement.panels(files, qualities or [None], images)
    tables.write(panels, workdir / "curve.csv")
    for panel in panels:
        print(tables.panel_table(panel, config.perceptual) + "\n")
    if output:
        tables.plot(panels, config.perceptual, output)


if __name__ == "__main__":
    from training import image_flags, run_flags

    absl_programs.run(curve, run_flags, image_flags, curve_settings)
