"""Compares Sadam and Adam, with GDN, GDN1 and ReLU, in six small trainings.

    python -m training.experiments.ablation --data IMAGES \
        --validation OTHER_IMAGES --output docs

Sadam is Adam on the Fourier transforms of kernels (kernel="rdft"). GDN is the form of the 2017 and
2018 papers (α = 2, ε = 1/2), GDN1 the form without squares and roots (α = ε = 1). Everything else
is equal: bmshj2018-factorized, random start, seed, crops, noise and steps. Writes ablation.webp and
ablation.csv.
"""

from __future__ import annotations

import csv
import pathlib

import numpy as np
import tensorflow as tf
from absl import flags, logging
from matplotlib.figure import Figure

from tfc_models import models
from tfc_models.cli import absl_programs
from tfc_models.training import data
from tfc_models.training.config import RATES, Config
from tfc_models.training.trainer import Trainer
from tfc_models.training.validation import Validation

_DATA = flags.DEFINE_string("data", None, "training images", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of other images", required=True)
_OUTPUT = flags.DEFINE_string("output", "docs", "folder for ablation.webp and ablation.csv")
_STEPS = flags.DEFINE_integer("steps", 3000, "steps of each training")
_POINTS = flags.DEFINE_integer("points", 10, "number of validations in each training")
_RATE = flags.DEFINE_float("rate", 5e-4, "learning rate of the transforms")

KERNELS = {"Sadam": "rdft", "Adam": "plain"}
FORMS = {"GDN": "gdn", "GDN1": "gdn1", "ReLU": "relu"}
SIZE = {"channels": 48, "latents": 64, "lmbda": 0.02}
CROP, BATCH = 128, 8


def train(kernel: str, form: str) -> list[tuple[int, float, float, float]]:
    """Trains a model; returns the step, loss, bits per pixel and PSNR of each validation."""
    steps = _STEPS.value
    config = Config(
        model="bmshj2018-factorized",
        arguments={**SIZE, "kernel": kernel, "gdn": form},
        rates={**RATES, "transforms": _RATE.value},
        start="random",
        steps=steps,
        crop=CROP,
        batch=BATCH,
    )
    tf.keras.utils.set_random_seed(config.seed)
    model = models.build(config.model, **config.arguments)
    trainer = Trainer(model, config)
    trainer.reset_average()
    validation = Validation(model, _VALIDATION.value, ())
    batches = iter(data.crops(_DATA.value, CROP, config.downscale, 0).batch(BATCH).prefetch(4))
    rows = []
    for step in range(1, steps + 1):
        trainer.train(next(batches), config.learning_rates(step / steps))
        if step % (steps // _POINTS.value) == 0:
            (point,), _ = trainer.with_average(validation.run)
            loss = point.bpp + model.lmbda * 255.0**2 * 10.0 ** (-point.psnr / 10.0)
            rows.append((step, loss, point.bpp, point.psnr))
            logging.info("%s %s step %d: %.4f (%.3f bpp, %.2f dB)", kernel, form, *rows[-1])
    return rows


def compare() -> None:
    """Trains with the flags' settings and writes the results."""
    output = pathlib.Path(_OUTPUT.value)
    if not output.is_dir():
        raise ValueError(f"there is no folder {output}.")
    if _STEPS.value < _POINTS.value:
        raise ValueError(f"--steps must be at least --points, {_POINTS.value}.")
    curves = {f"{o}, {f}": train(KERNELS[o], FORMS[f]) for o in KERNELS for f in FORMS}
    with (output / "ablation.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["training", "step", "loss", "bpp", "psnr"])
        for name, rows in curves.items():
            table.writerows([name, s, *np.round(row, 4)] for s, *row in rows)
    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="validation loss, bpp + λ·MSE")
    for name, rows in curves.items():
        style = {
            "color": "tab:blue" if "Sadam" in name else "tab:orange",
            "linestyle": {"GDN": "-", "GDN1": "--", "ReLU": ":"}[name.split(", ")[1]],
        }
        axes.plot([r[0] for r in rows], [r[1] for r in rows], label=name, **style)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.set_ylim(0.0, 1.05 * max(rows[0][1] for rows in curves.values()))
    figure.savefig(output / "ablation.webp", pil_kwargs={"lossless": True})


if __name__ == "__main__":
    absl_programs.run(compare)
