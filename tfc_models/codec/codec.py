"""Codec that compresses and decompresses images in one graph each."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfc_models.codec import container, graph, saved_model
from tfc_models.codec.container import (
    DEFAULT_QUALITY,
    LARGEST_QUALITY,
    BitstreamError,
)
from tfc_models.codec.decoders import (
    FastSource,
    OtherDecoders,
    RealismSource,
    checked_realism,
)
from tfc_models.codec.refinement import Refiner, checked_effort
from tfc_models.codec.saved_model import GREY_OR_RGB
from tfc_models.codec.tuning import (
    Tuning,
    check_size,
    distortion_of,
    squared_error_weight,
    tuning_of,
)
from tfc_models.decoder_choice import check_choice
from tfc_models.decoders import ReplacementDecoder
from tfc_models.images import as_rgb
from tfc_models.layers import pad_to_multiple, tiled
from tfc_models.limits import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE
from tfc_models.models import STRIDE, CompressionModel
from tfc_models.models.distortion import prepare
from tfc_models.realism import RealismDecoder

RGB_IMAGE = tf.TensorSpec([None, None, 3], tf.uint8)
# Latents are hashed as integers in this unit; means are multiples of 1/64.
LATENT_UNITS = 64.0
LARGEST_LATENT = 2.0**23


class Codec(tf.Module):
    """Frozen model with a file format, as used by the command line and the servers.

    >>> codec = Codec(models.build("mbt2018-mean"))   # or tfc_models.load(name)
    >>> data = codec.compress(image)
    >>> image = codec.decompress(data)

    Args:
        model: model, which is frozen if it was not. A frozen model does not train: to continue
            training, pass a copy (`models.build` and `assign_state`).
        name: model name that files contain; by default the model's own.
        images: argument of `model.freeze`.
        realism: realism decoder for the same files, its weights file, or a zoo entry that has
            one. Files are read on first use.
        fast: decoder with fewer channels for the same files, in the same forms.
        decodes: digests of other weights with the same coding tables and exact networks. Their
            files decode to the same latents.
    """

    def __init__(
        self,
        model: CompressionModel,
        name: str | None = None,
        images: tf.Tensor | None = None,
        realism: RealismSource = None,
        fast: FastSource = None,
        decodes: Sequence[str] = (),
    ) -> None:
        super().__init__(name="codec")
        if not isinstance(model, CompressionModel):
            raise TypeError(f"Codec takes a model; for the zoo's, tfc_models.load({model!r}).")
        self.model_name = name or model.name
        container.pack_name(self.model_name)
        model.freeze(images=images)
        self.model = model
        self.digest_bytes = model.digest()
        self._readable = self.digest_bytes, *(bytes.fromhex(digest) for digest in decodes)
        owner = f"{self.model_name} (weights {self.digest})"
        self._decoders = OtherDecoders(model, owner, realism, fast)
        self._compress = tf.function(
            self._compress_one,
            input_signature=[GREY_OR_RGB, tf.TensorSpec([], tf.int32)],
            autograph=False,
        )
        scalar = tf.TensorSpec([], tf.int64)
        arguments = [tf.TensorSpec([], tf.string), scalar, scalar]
        self._decompress = tf.function(
            self._decompress_one, input_signature=arguments, autograph=False
        )
        self._decode = tf.function(self._latents, input_signature=arguments, autograph=False)
        self._analyse = tf.function(
            self._analysed,
            input_signature=[GREY_OR_RGB, tf.TensorSpec([], tf.int32)],
            autograph=False,
        )
        hyper_channels = model.coder.hyperprior.channels if "z" in model.coder.streams else 1
        integers, hyper_integers = (
            tf.TensorSpec([1, None, None, channels], tf.float32)
            for channels in (model.latent_channels, hyper_channels)
        )
        self._write_symbols = tf.function(
            self._compress_symbols,
            input_signature=[GREY_OR_RGB, tf.TensorSpec([], tf.int32), integers, hyper_integers],
            autograph=False,
        )
        self._refiners: dict[Tuning, Refiner] = {}
        self._decompress_sharp = tf.function(
            self._decompress_one,
            input_signature=[*arguments, tf.TensorSpec([], tf.float32)],
            autograph=False,
        )
        self._decompress_fast = tf.function(
            functools.partial(self._decompress_one, fast=True),
            input_signature=arguments,
            autograph=False,
        )

    @property
    def digest(self) -> str:
        """Digest of the weights, in hexadecimal, as files contain it."""
        return self.digest_bytes.hex()

    @property
    def many_rates(self) -> bool:
        """Whether `compress` takes a quality."""
        return self.model.many_rates

    @property
    def has_realism(self) -> bool:
        """Whether `decompress` takes a realism above 0."""
        return self._decoders.has_realism

    @property
    def has_fast(self) -> bool:
        """Whether `decompress` takes the decoder "fast"."""
        return self._decoders.has_fast

    def realism_decoder(self) -> RealismDecoder:
        """Returns the realism decoder, read on first use. Raises ValueError if there is none."""
        return self._decoders.realism()

    def fast_decoder(self) -> ReplacementDecoder:
        """Returns the fast decoder, read on first use. Raises ValueError if there is none."""
        return self._decoders.fast()

    def compress(
        self,
        image: np.ndarray,
        quality: int | None = None,
        effort: int = 0,
        tune: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> bytes:
        """Returns the file of an sRGB image.

        Args:
            image: uint8, height × width × 3, or height × width of a grey image.
            quality: 0 to 100, for models of many rates; 50 by default.
            effort: 0, a single pass, to 9. Higher levels search better integers for this image
                (see `tfc_models.codec.refinement`): smaller files at equal quality, more time to
                encode, the same time to decode. Rate + λ · distortion never exceeds effort 0's.
            tune: distortion of the search: "psnr", "ms-ssim", "nlpd", "lpips", "pim", … or a sum
                such as "psnr + 2*lpips"; by default what the model was trained for.
            progress: called during a search with the units of work done and in total.
        """
        effort = checked_effort(effort)
        if tune is not None:
            tuning_of(tune, self.model)
            if not effort:
                raise ValueError("tune needs an effort above 0: a single pass has nothing to tune.")
        image = np.asarray(image)
        is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if image.dtype != np.uint8 or not is_image:
            raise ValueError(
                "an image is a uint8 array of height × width × 3, or height × width if grey; "
                f"got {image.dtype} of shape {image.shape}."
            )
        if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= container.MAX_SIDE:
            raise ValueError(f"an image has sides of 1 to {container.MAX_SIDE}; got {image.shape}.")
        pixels = tf.constant(image[..., None] if image.ndim == 2 else image)
        try:
            rate = self.rate_setting(quality)
            data = self._compress(pixels, rate).numpy()
            return self._refined(image, data, rate, effort, tune, progress) if effort else data
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(reason(error)) from None

    def refiner(self, tuning: Tuning) -> Refiner:
        """Returns the search of better integers for a distortion."""
        if tuning not in self._refiners:
            prepare(tuning.weights)
            self._refiners[tuning] = Refiner(self.model, tuning)
        return self._refiners[tuning]

    def _refined(
        self,
        image: np.ndarray,
        data: bytes,
        rate: int,
        effort: int,
        tune: str | None,
        progress: Callable[[int, int], None] | None,
    ) -> bytes:
        """Returns the file that a search found, or `data` if that costs less."""
        tuning = tuning_of(tune, self.model)
        check_size(tuning, image.shape)
        refiner = self.refiner(tuning)
        pixels = tf.constant(image[..., None] if image.ndim == 2 else image)
        y = self._analyse(pixels, rate)
        total, done = refiner.ticks(y.shape[1], y.shape[2], effort), 0

        def tick(units: int) -> None:
            nonlocal done
            done += units
            if progress:
                progress(done, total)

        setting = tf.constant(rate, tf.float32)
        rgb = as_rgb(image)
        symbols, z = refiner.search(rgb[None], y, setting, tf.constant(effort), tick)
        result = self._write_symbols(pixels, rate, symbols, z).numpy()

        def cost_of(file: bytes) -> float:
            decoded = as_rgb(self.decompress(file, 2**62, 2**62))
            distortion = distortion_of(tuning, rgb, decoded)
            bits = 8.0 * len(file) / (image.shape[0] * image.shape[1])
            return bits + float(squared_error_weight(self.model, setting)) * distortion

        return result if cost_of(result) < cost_of(data) else data

    def rate_setting(self, quality: int | None) -> int:
        """Returns the rate setting of a quality. Raises ValueError if there is none."""
        if not self.many_rates:
            if quality is not None:
                raise ValueError(
                    f"{self.model_name} has one rate: it takes no quality (got {quality})."
                )
            return 0
        if quality is None:
            return DEFAULT_QUALITY
        whole = isinstance(quality, (int, np.integer)) and not isinstance(quality, bool)
        if not whole or not 0 <= quality <= LARGEST_QUALITY:
            raise ValueError(
                f"quality is a whole number from 0 to {LARGEST_QUALITY}; got {quality}."
            )
        return int(quality)

    def decompress(
        self,
        data: bytes,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_side: int = DEFAULT_MAX_SIDE,
        realism: float = 0.0,
        decoder: str = "full",
    ) -> np.ndarray:
        """Returns the image in a file: uint8, height × width × 3, or height × width if grey.

        Args:
            data: the file.
            max_pixels: limit of pixels; larger images are refused.
            max_side: limit of the longer side.
            realism: 0, closest to the original, to 1, sharpest; needs a realism decoder above 0.
            decoder: "full", the model's own, or "fast", one with fewer channels; see
                `has_fast`.

        Raises:
            BitstreamError: the file cannot be decoded; the message states why in one line.
        """
        arguments = _limited(data, max_pixels, max_side)
        decode = self._decompress
        amount = checked_realism(realism)
        check_choice(decoder, amount)
        # Decoders are read here, where errors can be reported.
        if decoder == "fast":
            self.fast_decoder()
            decode = self._decompress_fast
        elif amount:
            self.realism_decoder()
            decode, arguments = self._decompress_sharp, (*arguments, tf.constant(amount))
        try:
            image = decode(*arguments).numpy()
        except tf.errors.OpError as error:
            raise BitstreamError(reason(error)) from None
        return image[..., 0] if image.shape[2] == 1 else image

    def latents(
        self,
        data: bytes,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_side: int = DEFAULT_MAX_SIDE,
    ) -> np.ndarray:
        """Returns the decoded latents in a file, height/16 × width/16 × channels."""
        try:
            return self._decode(*_limited(data, max_pixels, max_side))[0][0].numpy()
        except tf.errors.OpError as error:
            raise BitstreamError(reason(error)) from None

    def _compress_one(self, image: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        y = self._analysed(image, rate)
        encoded = self.model.coder.encode(y, tf.cast(rate, tf.float32))
        return self._file(image, rate, *encoded)

    def _compress_symbols(
        self, image: tf.Tensor, rate: tf.Tensor, symbols: tf.Tensor, z: tf.Tensor
    ) -> tf.Tensor:
        """Returns the file of given integers; only the shape of the image is used."""
        encoded = self.model.coder.encode_symbols(symbols, z, tf.cast(rate, tf.float32))
        return self._file(image, rate, *encoded)

    def _file(
        self,
        image: tf.Tensor,
        rate: tf.Tensor,
        strings: tuple[tf.Tensor, ...],
        y_hat: tf.Tensor,
    ) -> tf.Tensor:
        height, width, channels = tf.unstack(tf.shape(image))
        return graph.write(
            self.model_name,
            self.digest_bytes,
            height,
            width,
            rate,
            tf.where(tf.equal(channels, 1), container.GREY, 0),
            tuple(s[0] for s in strings),
            tf.cast(y_hat * LATENT_UNITS, tf.int32),
        )

    def _analysed(self, image: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """Returns latents of an image before quantization."""
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        image = graph.checked(image, height * width > 0, "the image has no pixels")
        channels = tf.shape(image)[2]
        grey = tf.equal(channels, 1)
        known = grey | tf.equal(channels, 3)
        image = graph.checked(image, known, "an image has one channel or three")
        image = tf.ensure_shape(tf.repeat(image, tf.where(grey, 3, 1), axis=2), RGB_IMAGE.shape)
        padded = pad_to_multiple(image[None], STRIDE)
        latents = tf.TensorSpec([None, None, self.model.latent_channels], tf.float32)
        setting = tf.cast(rate, tf.float32)

        def to_latents(pixels: tf.Tensor) -> tf.Tensor:
            return self.model.to_latents(pixels, setting)

        y = tiled(to_latents, padded, STRIDE, 1, latents, halo=self.model.halo)
        # Comparisons with NaN are false, and the range coder does not end on NaN.
        codable = tf.reduce_all(tf.abs(y) < LARGEST_LATENT)
        return graph.checked(y, codable, "the weights give latents that cannot be coded")

    def _latents(
        self, data: tf.Tensor, max_pixels: tf.Tensor, max_side: tf.Tensor
    ) -> tuple[tf.Tensor, graph.Fields]:
        coder = self.model.coder
        largest = LARGEST_QUALITY if self.many_rates else 0
        streams = len(coder.streams)
        fields = graph.read(
            data, self.model_name, self._readable, streams, max_pixels, max_side, largest
        )
        shape = tf.stack([-(-fields.height // STRIDE), -(-fields.width // STRIDE)])
        rate = tf.cast(fields.rate, tf.float32)
        y_hat = coder.decompress(tuple(s[None] for s in fields.streams), shape, rate)
        integers = tf.cast(y_hat * LATENT_UNITS, tf.int32)
        sizes = fields.height, fields.width, fields.rate
        result = graph.latent_fingerprint(integers, *sizes, fields.flags)
        same = tf.equal(result, fields.latent_fingerprint)
        y_hat = graph.checked(y_hat, same, "damaged: the decoded latent has another fingerprint")
        return y_hat, fields

    def _decompress_one(
        self,
        data: tf.Tensor,
        max_pixels: tf.Tensor,
        max_side: tf.Tensor,
        realism: tf.Tensor | None = None,
        fast: bool = False,
    ) -> tf.Tensor:
        y_hat, fields = self._latents(data, max_pixels, max_side)
        rate = tf.cast(fields.rate, tf.float32)

        def decoded(to_images: Callable[[tf.Tensor], tf.Tensor], halo: int) -> tf.Tensor:
            def pixels(latents: tf.Tensor) -> tf.Tensor:
                return tf.saturate_cast(tf.round(to_images(latents)), tf.uint8)

            return tiled(pixels, y_hat, 1, STRIDE, RGB_IMAGE, halo=halo)

        def faithful() -> tf.Tensor:
            synthesis = self.fast_decoder() if fast else self.model
            return decoded(lambda latents: synthesis.to_images(latents, rate), synthesis.halo)

        def sharp() -> tf.Tensor:
            decoder = self.realism_decoder()
            return decoded(lambda latents: decoder.to_images(latents, rate, realism), decoder.halo)

        image = faithful() if realism is None else tf.cond(realism > 0.0, sharp, faithful)
        image = image[0, : fields.height, : fields.width]
        grey = tf.equal(tf.bitwise.bitwise_and(fields.flags, container.GREY), container.GREY)
        image = tf.cond(grey, lambda: _channel_mean(image), lambda: image)
        return tf.ensure_shape(image, GREY_OR_RGB.shape)

    def save(
        self,
        path: str,
        bfloat16: str = "off",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_side: int = DEFAULT_MAX_SIDE,
        quality: int | None = None,
        max_effort: int = 0,
        tune: str | None = None,
    ) -> None:
        """Writes a SavedModel that needs only the op library (see `register_ops`).

        Signatures: `compress` (also `serving_default`) and `decompress` map vectors of strings,
        image files and bitstreams. `compress_tensor` and `decompress_tensor` map one uint8 image of
        three channels or one. Models of many rates also have `compress_at_quality`, with a quality
        from 0 to 100 per image. Models with a realism decoder also have `decompress_at_realism`,
        with a realism from 0 to 1 per file, or one for all (default: 0); models with a fast decoder
        have `decompress_fast`. A decoder that cannot be read raises an error;
        `Codec(codec.model, codec.model_name)` has none.

        Args:
            path: folder to write.
            bfloat16: "off" runs on any processor; "on" only where bfloat16 convolutions run; "auto"
                chooses for this machine.
            max_pixels: limit of pixels of decoder and encoder.
            max_side: limit of the longer side.
            quality: quality of `compress`, for models of many rates.
            max_effort: above 0, adds `compress_at_effort`, which takes an effort up to this value
                per image, and a quality for models of many rates; see `compress`.
            tune: distortion of the search in that signature.

        TensorFlow decodes the image files: PNG, JPEG, BMP, and the first frame of a GIF, grey or
        RGB, 8 or 16 bits. Grey files decode to one channel. Unlike `images.read`, it does not apply
        the EXIF orientation or convert ICC profiles. Alpha that is not opaque is refused, except
        for a PNG's tRNS chunk, which TensorFlow drops.
        """
        saved_model.save(self, path, bfloat16, max_pixels, max_side, quality, max_effort, tune)


def _limited(data: bytes, max_pixels: int, max_side: int) -> tuple[tf.Tensor, ...]:
    """Returns the arguments of the decoding graph."""
    limits = []
    for name, limit in (("max_pixels", max_pixels), ("max_side", max_side)):
        if not isinstance(limit, (int, np.integer)) or limit < 1:
            raise ValueError(f"{name} is a whole number from 1 on; got {limit!r}.")
        limits.append(tf.constant(min(int(limit), 2**62), tf.int64))
    return tf.constant(container.as_bytes(data)), *limits


def _channel_mean(image: tf.Tensor) -> tf.Tensor:
    """Returns the rounded mean of the three channels, as an image of one channel."""
    total = tf.reduce_sum(tf.cast(image, tf.int32), axis=2, keepdims=True)
    return tf.cast((total + 1) // 3, tf.uint8)


def reason(error: tf.errors.OpError) -> str:
    """Returns the line of a TensorFlow error that states the cause."""
    result = re.search(rf"{graph.ERROR}([^\]\n]*)", error.message or "")
    if result:
        return f"{result.group(1).strip()}."
    return "damaged: a stream in it cannot be decoded."
