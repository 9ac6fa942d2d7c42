"""Trains decoders for γ · squared error + LPIPS at fixed rates, and measures and plots the results.

    python -m training.experiments.perception_at_fixed_rate --config decoder --steps 300 \
        --workdir OUT --data IMAGES --validation OTHER_IMAGES --figures docs/perception

Chapter 4.1 of Kirmemis' thesis: analysis transform and entropy model of a trained model are fixed,
and with them the files; a complete decoder is trained for each γ, starting as the model's own. With
a variable-rate model (the default), one decoder for each γ serves all --qualities, as the gains of
its synthesis depend on the quality. The thesis trains one for each rate. With --set base=WEIGHTS
and --set model=NAME, other models are measured, also those of a single rate.

Prints a table for each rate and writes OUT/curve.csv. With --figures, it writes a curve
(PREFIX_curve.webp: distortion and perception at each rate, with the knee), PREFIX_rates.webp (both
over the rate, for each γ) and PREFIX_crops.webp (details of decoded photos from equal files). The
program can be interrupted at any time: the same command resumes, and decoders that are complete are
neither trained nor measured again.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import tensorflow as tf
from absl import flags, logging

from tfc_models import models
from tfc_models.cli import absl_programs
from tfc_models.models.distortion import parsed, prepare
from tfc_models.perceptual import PIM_MIN_SIDE
from tfc_models.training import image_run, run_identity
from tfc_models.training.decoder import DecoderTrainer, ReplacementRun, new_decoder
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.training.fixed_model import base_of
from training.experiments import curve_settings as settings
from training.experiments import perception_figures as figures
from training.experiments import realism_curve_table as tables
from training.experiments.perception_measurement import OWN, Measurement

_PERCEPTUAL = flags.DEFINE_string(
    "perceptual", "lpips", "perceptual distance in the loss: a metric, or a weighted sum"
)
_LPIPS = flags.DEFINE_multi_string(
    "judge_lpips", [], "weights of LPIPS with another network, measured and not trained for"
)
_PIM_SIDE = flags.DEFINE_integer(
    "pim_side",
    0,
    "side of the central square on which PIM and PIM-bands are measured; 0: whole images",
    lower_bound=0,
)
_FIGURES = flags.DEFINE_string("figures", None, "first part of the paths of figures")
_SHOWN = flags.DEFINE_list("shown", [], "names of photos in the figure of details")
_SHOWN_QUALITY = flags.DEFINE_integer(
    "shown_quality", None, "quality of these photos (default: the first)"
)
_SHOWN_GAMMA = flags.DEFINE_float(
    "shown_gamma", 5e-4, "γ of the decoder that is shown between the model's own and the last"
)

DEFAULT_GAMMAS = "1e-2", "1e-3", "5e-4", "1e-4", "5e-5", "0"
DEFAULT_QUALITIES = 0, 10, 20, 35
DEFAULT_JUDGES = "ms-ssim", "pim", "pim-bands"
# Settings that --set cannot change, and the reasons.
FIXED_SETTINGS = {
    "distortion": "use --gammas and --perceptual",
    "qualities": "use --qualities",
    "fixed_qualities": "use --qualities",
    "validation_rates": "use --qualities",
    "validation_minutes": "there is one validation, at the end",
    "minutes": "all decoders take the same number of steps",
}
# Settings that may differ between runs in a work folder.
VARIABLE_SETTINGS = ("distortion", "log_steps", "checkpoint_minutes", "validation_minutes")


def distortion(gamma: float, perceptual: str) -> str:
    """Returns the training loss for a γ."""
    return f"{gamma!r}*mse + {perceptual}" if gamma else perceptual


def checked_side(side: int) -> int:
    """Returns --pim_side; raises ValueError if it is too small for PIM and PIM-bands."""
    if side and side < PIM_MIN_SIDE:
        raise ValueError(f"--pim_side must be 0, or at least {PIM_MIN_SIDE}; got {side}.")
    return side


def common_config(
    config: DecoderTraining, changes: Sequence[str], qualities: Sequence[int]
) -> DecoderTraining:
    """Returns the config for all γ; raises ValueError for changes that have no effect."""
    settings.check_changes(changes, config.steps, FIXED_SETTINGS)
    return dataclasses.replace(config, fixed_qualities=tuple(map(float, qualities)))


def train_decoder(
    base: models.CompressionModel,
    digest: str,
    config: DecoderTraining,
    folder: pathlib.Path,
    source: str,
    strategy: tf.distribute.Strategy,
) -> pathlib.Path:
    """Trains the decoder of a config, unless it is complete; returns its file."""
    run_identity.check(folder, config)
    complete = folder / "complete"
    if complete.exists():
        return folder / "weights.npz"
    with strategy.scope():
        # All decoders have equal initial weights and the same crops.
        tf.keras.utils.set_random_seed(config.seed)
        trainer = DecoderTrainer(new_decoder(base, digest, config.start), digest, config)
    logging.info("decoder for %s in %s", config.distortion, folder)
    ReplacementRun(trainer, folder, source, None).begin(lambda: trainer.start(source))
    # A run killed between writing a checkpoint and the weights would leave older weights.
    trainer.save_weights(folder / "weights.npz")
    complete.touch()
    return folder / "weights.npz"


def experiment() -> None:
    """Trains and measures the decoders with the flags' settings."""
    from training import image_flags, run_flags  # They define flags, so tests do not import them.

    config = run_flags.read_config(DecoderTraining)
    gammas, terms = (
        settings.checked_gammas(settings.GAMMAS.value or DEFAULT_GAMMAS),
        parsed(_PERCEPTUAL.value),
    )
    judges = settings.checked_judges(settings.JUDGES.value or DEFAULT_JUDGES, terms)
    prefix = pathlib.Path(_FIGURES.value) if _FIGURES.value else None
    if prefix and not prefix.parent.is_dir():
        raise ValueError(f"--figures must be in an existing folder; got {prefix}.")
    prepare({**terms, **dict.fromkeys(judges, 1.0)})
    source, validation = image_flags.DATA.value, image_flags.VALIDATION.value
    image_run.check_disjoint(source, validation)
    images = settings.checked_images(validation, ["mse", *terms, *judges])
    shown = figures.checked_names(_SHOWN.value, images)
    if shown:
        figures.checked_gamma(_SHOWN_GAMMA.value, gammas)
    pim_side = checked_side(_PIM_SIDE.value)
    strategy = image_run.build_strategy(image_flags.STRATEGY.value)
    with strategy.scope():
        base, digest = base_of(config)
    qualities = settings.checked_qualities(settings.QUALITIES.value, base, DEFAULT_QUALITIES)
    config = common_config(config, run_flags.SET.value, qualities)
    workdir = run_flags.workdir()
    common = {k: v for k, v in dataclasses.asdict(config).items() if k not in VARIABLE_SETTINGS}
    settings.store(workdir, {**common, "perceptual": _PERCEPTUAL.value})
    decoders = {}
    for gamma in gammas:
        decoder_config = dataclasses.replace(
            config, distortion=distortion(gamma, _PERCEPTUAL.value)
        )
        folder = workdir / f"gamma-{tables.format_gamma(gamma)}"
        decoders[gamma] = train_decoder(base, digest, decoder_config, folder, source, strategy)
    measurement = Measurement(
        *(config.base, images, qualities or [None], terms, judges),
        *(_LPIPS.value, pim_side),
    )
    panels = measurement.panels(decoders, workdir)
    tables.write(panels, workdir / "curve.csv")
    for panel in panels:
        print(tables.panel_table(panel, _PERCEPTUAL.value) + "\n")
    if prefix:
        figures.plot_curve(panels, _PERCEPTUAL.value, figures.path(prefix, "curve"))
        if qualities:
            figures.plot_rates(panels, _PERCEPTUAL.value, figures.path(prefix, "rates"))
        if shown:
            chosen = {g: decoders.get(g) for g in (OWN, _SHOWN_GAMMA.value, gammas[-1])}
            quality = _SHOWN_QUALITY.value if qualities else None
            quality = qualities[0] if qualities and quality is None else quality
            page = figures.details(measurement, chosen, quality, shown)
            figures.save_photos(page, figures.path(prefix, "crops"))


if __name__ == "__main__":
    from training import image_flags, run_flags

    absl_programs.run(experiment, run_flags, image_flags, settings)
