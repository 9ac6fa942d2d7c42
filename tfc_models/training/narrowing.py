"""Training that removes channels of a decoder until it costs a given fraction.

The model's analysis transform and entropy model are not trained, so its files do not change.
"""

from __future__ import annotations

import json
import pathlib

import tensorflow as tf
from absl import logging

from tfc_models.decoders import decoder_file, widths_of
from tfc_models.decoders.costs import cost_function, cost_per_channel
from tfc_models.decoders.gates import GatedDecoder
from tfc_models.training import image_run
from tfc_models.training.decoder import DecoderTrainer, ReplacementRun, new_decoder
from tfc_models.training.fixed_model import base_of
from tfc_models.training.narrowing_config import NarrowingTraining
from tfc_models.training.trainer import Losses

# Fractions of the budget between which channels are removed. Before, gates adapt to the penalty;
# after, the remaining weights adapt to the removal.
REMOVAL = 0.25, 0.8


class NarrowingTrainer(DecoderTrainer):
    """Trainer of a decoder whose channels have gates, with a penalty on their magnitude.

    Channels with the smallest gates are removed little by little, until the decoder costs the
    fraction `target` of the model's own synthesis.

    Args:
        decoder: the decoder with gates.
        digest: digest of the base model's frozen weights.
        config: settings of the run.
    """

    config: NarrowingTraining
    model: GatedDecoder

    def __init__(self, decoder: GatedDecoder, digest: str, config: NarrowingTraining) -> None:
        super().__init__(decoder, digest, config)
        seconds = (
            json.loads(pathlib.Path(path).read_text()) if (path := config.layer_seconds) else None
        )
        self._cost_of = cost_function(decoder.base, seconds)
        self._full_cost = self._cost_of(widths_of(decoder.base.synthesis))
        self._first_cost = self._cost_of(decoder.widths)
        each = cost_per_channel(self._cost_of, decoder.widths)
        self._channel_costs = {name: tf.constant(cost, tf.float32) for name, cost in each.items()}

    @property
    def cost(self) -> float:
        """Cost of the remaining channels, as a fraction of that of the model's own synthesis."""
        return self._cost_of(self.model.kept_widths) / self._full_cost

    def before_step(self, fraction: float) -> None:
        """Removes channels on schedule; `fraction` is the fraction of the budget that is used."""
        first, last = REMOVAL
        progress = min(max((fraction - first) / (last - first), 0.0), 1.0)
        target = self.config.target * self._full_cost
        if progress and self._first_cost > target:
            limit = self._first_cost * (target / self._first_cost) ** progress
            self.model.remove_until(self._cost_of, limit, self.config.multiple)

    def _losses(self, batch: tf.Tensor) -> Losses:
        losses = super()._losses(batch)
        penalty = self.config.penalty * self.model.penalty(self._channel_costs)
        return {**losses, "loss": losses["loss"] + penalty, "penalty": penalty}

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the decoder of the remaining channels, with averaged weights, as a file."""
        widths = ", ".join(f"{name} {n}" for name, n in self.model.kept_widths.items())
        logging.info("cost %.3f of the model's synthesis: %s", self.cost, widths)
        self.with_average(lambda: decoder_file.save(self.model.narrowed(), self._digest, path))


def train(
    config: NarrowingTraining,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains a decoder with fewer channels; see `image_run.train`."""

    def build() -> NarrowingTrainer:
        base, digest = base_of(config)
        decoder = GatedDecoder(new_decoder(base, digest, config.start))
        return NarrowingTrainer(decoder, digest, config)

    image_run.train(config, workdir, source, validation, strategy, build, ReplacementRun)
