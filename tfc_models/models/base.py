"""Base class of compression models: analysis, entropy coder, synthesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.entropy import FactorizedPrior, LatentCoder
from tfc_models.layers import Chain, check_state, compute_dtype, pad_to_multiple, part_of
from tfc_models.layers.tiling import HALO
from tfc_models.models.distortion import default_lambda, distortions, parsed, prepare
from tfc_models.models.keras_model import KerasModel, Losses
from tfc_models.models.part_checks import check_parts
from tfc_models.models.photo_like_noise import photo_like_noise
from tfc_models.models.stored import check_fit, digest, storable

Before = Mapping[str, Callable[[tf.Tensor], tf.Tensor]]
STRIDE = 16  # pixels per latent in each direction, for all models


class Output(NamedTuple):
    """Reconstruction, 0–255 and not clipped, and bits per example by part."""

    reconstruction: tf.Tensor
    bits: dict[str, tf.Tensor]


class CompressionModel(KerasModel):
    """analysis → entropy coder → synthesis; pixels are sRGB 0–255, NHWC, of any size.

    Subclasses state the wiring of the three in their constructor and are registered under a name
    (see `register`). Their `config` holds the constructor's arguments, from which
    `models.build(name, **config)` builds an equal model. Every constructor has the arguments
    `lmbda` and `distortion`.
    """

    many_rates = False
    """Whether a model codes at rates of 0 to 100, or only at the rate of its lambda."""

    registered_name = ""
    """Name of the class in the registry; `register` sets it."""

    frozen_dtype = tf.bfloat16
    """Dtype of the synthesis of a frozen model, on every machine."""

    halo = HALO  # latents that its transforms' filters reach beyond a tile

    def __init__(
        self,
        analysis: Chain,
        synthesis: Chain,
        coder: FactorizedPrior | LatentCoder,
        name: str | None = None,
    ) -> None:
        name = name or vars(type(self)).get("registered_name") or type(self).__name__
        config = {"lmbda": None, "distortion": "mse", **dict(getattr(self, "_config", ()))}
        super().__init__(name=name)
        check_parts(name, analysis, synthesis, coder)
        terms = parsed(config["distortion"])  # Raises an error for unknown metrics.
        self.analysis, self.synthesis, self.coder = analysis, synthesis, coder
        # Keras saves the weights of layers; a coder is an entropy model of tfc and no layer.
        self.coder_layers = coder.trainable_layers()
        lmbda = config["lmbda"]
        self.lmbda = float(default_lambda(terms) if lmbda is None else lmbda)
        self.distortion = config["distortion"]
        self._config = tuple({**config, "lmbda": self.lmbda}.items())
        self.set_bfloat16("auto")
        self(tf.zeros([1, 64, 64, 3]))
        for network in (analysis, synthesis):
            check_state(network, f"{name}, {network.name}")

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compiles the model, and loads the weights of the metrics in its distortion."""
        prepare(parsed(self.distortion))
        super().compile(*arguments, **options)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments from which `models.build` builds an equal model."""
        return dict(self._config)

    def set_bfloat16(self, setting: str) -> None:
        """Sets whether networks multiply in bfloat16: "on", "off", or "auto" (if it is faster).

        The synthesis of a frozen model keeps its maps in `frozen_dtype` with every setting, mostly
        bfloat16, so that pixels differ by one grey level, rarely two, between machines. "off"
        only multiplies in float32 (see `tfc_models.layers.multiply`).
        """
        self._bfloat16 = setting
        dtype = compute_dtype(setting)
        self.analysis_dtype = dtype
        self.synthesis_dtype = self.frozen_dtype if self.frozen else dtype
        self.synthesis.multiply_in_float32 = dtype == tf.float32
        self.coder.network_dtype = dtype

    @property
    def bfloat16(self) -> str:
        """Setting of `set_bfloat16`."""
        return self._bfloat16

    @property
    def latent_channels(self) -> int:
        """Number of channels of the latents."""
        assert self.analysis.filters is not None
        return self.analysis.filters

    def digest(self) -> bytes:
        """Returns four bytes that identify a frozen model's weights and tables."""
        if not self.frozen:
            raise RuntimeError("only a frozen model has a digest: call freeze() first.")
        return digest(self.state())

    def to_latents(self, images: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        """Returns latents, float32, of images whose sides are multiples of 16."""
        x = (tf.cast(images, tf.float32) - 127.5) / 255.0
        return tf.cast(self.analysis(tf.cast(x, self.analysis_dtype)), tf.float32)

    def to_images(
        self,
        latents: tf.Tensor,
        rate: tf.Tensor | None = None,
        before: Before | None = None,
        synthesis: Chain | None = None,
    ) -> tf.Tensor:
        """Returns images, float32 and not clipped to 0–255, of latents.

        Args:
            latents: quantized latents.
            rate: rate setting, for models of many rates.
            before: see `Chain`.
            synthesis: used in place of the model's own.
        """
        synthesis = synthesis or self.synthesis
        x_hat = synthesis(tf.cast(latents, self.synthesis_dtype), before=before)
        return tf.cast(x_hat, tf.float32) * 255.0 + 127.5

    def call(
        self,
        inputs: tf.Tensor,
        training: bool = False,
        rate: tf.Tensor | float | None = None,
    ) -> Output:
        """Codes images; `rate` (0–100, one for all or one each) is for models of many rates."""
        if rate is not None and not self.many_rates:
            raise ValueError(f"{self.name} has one rate, that of its lambda; got rate={rate}.")
        shape = tf.shape(inputs)
        y = self.to_latents(pad_to_multiple(inputs, STRIDE), rate)
        y_hat, bits = self.coder(y, training, rate)
        return Output(self.to_images(y_hat, rate)[:, : shape[1], : shape[2]], bits)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of `example_losses`."""
        return "loss", "bpp", *parsed(self.distortion)

    def example_losses(self, images: tf.Tensor, training: bool) -> Losses:
        """Returns the loss (bits per pixel + lambda · distortion) and its parts, by example."""
        output = self(images, training=training)
        shape = tf.shape(images)
        bpp = tf.add_n(list(output.bits.values())) / tf.cast(shape[1] * shape[2], tf.float32)
        distortion, parts = distortions(parsed(self.distortion), images, output.reconstruction)
        return {"loss": bpp + self.lmbda * distortion, "bpp": bpp, **parts}

    def variable_groups(self) -> list[str]:
        """Returns the learning-rate group of each of `trainable_variables`.

        transforms: analysis and synthesis; blocks: residual blocks in them, which start as zero;
        gains: tables per rate; densities: the factorized prior; entropy: everything else in the
        coder.
        """
        groups = {}
        for network in (self.analysis, self.synthesis):
            groups.update(network.variable_groups("transforms"))
        for layer in self.coder_layers:
            groups.update(layer.variable_groups("entropy"))
        return [groups[v.ref()] for v in self.trainable_variables]

    @property
    def frozen(self) -> bool:
        """Whether the model is ready to code, and no longer trains."""
        return self.coder.frozen

    def freeze(self, state: dict[str, Any] | None = None, images: tf.Tensor | None = None) -> None:
        """Builds coding tables, exact integer networks and folded kernels. Idempotent.

        Args:
            state: result of `state()` of a frozen model, whose tables and integers are used.
            images: typical images, which set the range of the exact networks' activations;
                None: noise with the spectrum of photos.
        """
        if self.frozen:
            return
        # Rounds weights to the precision of files first, so that a file gives the same integers.
        self.assign_state(storable(self.state()))
        self._plain_state = storable(self.state())
        for name, value in self._plain_state.items():
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{name} holds values that are not numbers: training diverged.")
        if state is None:
            calibration = photo_like_noise() if images is None else images
            bfloat16 = self.bfloat16
            self.set_bfloat16("off")  # Ranges must not depend on the machine.
            self._freeze_coder(pad_to_multiple(calibration, STRIDE), images is not None)
            self.set_bfloat16(bfloat16)
        else:
            self.coder.freeze(part_of(state, "coder/"))
        for layer in (*self.analysis.layers, *self.synthesis.layers):
            layer.freeze()
        self.set_bfloat16(self.bfloat16)
        # Keras would keep the training step that it traced before.
        self.train_function = None
        self.trainable = False

    @property
    def plain_state(self) -> dict[str, Any]:
        """Learned values of a frozen model before freezing."""
        if not self.frozen:
            raise RuntimeError("only a frozen model keeps the values before freezing.")
        return dict(self._plain_state)

    def _freeze_coder(self, images: tf.Tensor, representative: bool) -> None:
        self.coder.freeze(y=self.to_latents(images), representative=representative)

    def _named_layers(self) -> dict[str, Any]:
        networks = {"analysis": self.analysis, "synthesis": self.synthesis}
        named = {f"{n}/{layer.name}": layer for n, net in networks.items() for layer in net.layers}
        named.update({f"hyper_{k}": v for k, v in self.coder.layers_by_name().items()})
        return named

    def state(self) -> dict[str, Any]:
        """Returns the learned values by name, and tables and integers once frozen."""
        coder = {f"coder/{k}": v for k, v in self.coder.state().items()}
        if self.frozen:
            return {**self._plain_state, **storable(coder)}
        layers = self._named_layers().items()
        return {**{f"{n}/{k}": v for n, la in layers for k, v in la.state().items()}, **coder}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the learned values that `state` returned."""
        self.require_unfrozen("take other weights")
        check_fit(self.state(), state, self.name)
        for name, layer in self._named_layers().items():
            layer.assign_state(part_of(state, f"{name}/"))
        self.coder.assign_state(part_of(state, "coder/"))
