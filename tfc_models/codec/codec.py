"""The codec: picture → file → picture, in one graph each way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models import remote, zoo
from tfc_models.codec import container, graph
from tfc_models.codec.container import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_MAX_SIDE,
    DEFAULT_QUALITY,
    LARGEST_QUALITY,
    BitstreamError,
    UnknownModelError,
)
from tfc_models.layers import pad_to_multiple, tiled
from tfc_models.models import STRIDE, CompressionModel
from tfc_models.models.realism import RealismDecoder
from tfc_models.zoo import decoders

PICTURE = tf.TensorSpec([None, None, 3], tf.uint8)
GREY_OR_RGB = tf.TensorSpec([None, None, None], tf.uint8)
# Latents are fingerprinted as integers of this fraction: means are multiples of 1/64.
LATENT_UNITS = 64.0
LARGEST_LATENT = 2.0**23
REALISM_RANGE = "realism is a number from 0 to 1; got "


class Codec(tf.Module):
    """A frozen model with a file format: what the command line and the servers call.

    >>> codec = Codec(models.build("mbt2018-mean"))   # or tfc_models.load(name)
    >>> data = codec.compress(picture)
    >>> picture = codec.decompress(data)

    Args:
        model: frozen on the way in if it was not. A frozen model does not train: to go on
            training, give a copy (`models.build` and `assign_state`).
        name: what files will name as the model they need; the model's own by default.
        pictures: passed on to `model.freeze`.
        realism: a decoder of more realism for the same files; or its weights file, or an entry
            of the zoo that has one: these are read when they are first needed.
    """

    def __init__(
        self,
        model: CompressionModel,
        name: str | None = None,
        pictures: tf.Tensor | None = None,
        realism: RealismDecoder | str | os.PathLike[str] | zoo.Entry | None = None,
    ) -> None:
        super().__init__(name="codec")
        if not isinstance(model, CompressionModel):
            raise TypeError(f"Codec takes a model; for the zoo's, tfc_models.load({model!r}).")
        self.model_name = name or model.name
        container.pack_name(self.model_name)
        model.freeze(pictures=pictures)
        self.model = model
        self.digest_bytes = model.digest()
        if isinstance(realism, RealismDecoder) and realism.base is not model:
            raise ValueError(f"the realism decoder is for another model than this {model.name}.")
        if isinstance(realism, (str, os.PathLike)):
            remote.check_there(realism, "a realism decoder")
        self._realism = realism
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
        self._decompress_sharp = tf.function(
            self._decompress_one,
            input_signature=[*arguments, tf.TensorSpec([], tf.float32)],
            autograph=False,
        )

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the weights, as files carry it."""
        return self.digest_bytes.hex()

    @property
    def many_rates(self) -> bool:
        """Whether `compress` takes a quality."""
        return self.model.many_rates

    @property
    def has_realism(self) -> bool:
        """Whether `decompress` takes a realism above 0."""
        return self._realism is not None

    def realism_decoder(self) -> RealismDecoder:
        """The decoder of more realism, read if it was not; or one line about why there is none."""
        if self._realism is None:
            raise ValueError(
                f"{self.model_name} (weights {self.digest}) has no realism decoder: "
                "give the file of one, or decompress at realism 0."
            )
        if isinstance(self._realism, zoo.Entry):
            self._realism = zoo.realism_of(self._realism)
        if not isinstance(self._realism, RealismDecoder):
            self._realism = decoders.build(decoders.read(self._realism), self.model)
        return self._realism

    def compress(self, picture: np.ndarray, quality: int | None = None) -> bytes:
        """A file for an sRGB picture.

        Args:
            picture: uint8, height × width × 3, or height × width of a grey picture.
            quality: 0 to 100, of a model of many rates; by default 50.
        """
        picture = np.asarray(picture)
        is_picture = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not is_picture:
            raise ValueError(
                "a picture is a uint8 array of height × width × 3, or height × width if grey; "
                f"got {picture.dtype} of shape {picture.shape}."
            )
        if not 1 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= container.MAX_SIDE:
            raise ValueError(
                f"a picture has sides of 1 to {container.MAX_SIDE}; got {picture.shape}."
            )
        pixels = tf.constant(picture[..., None] if picture.ndim == 2 else picture)
        try:
            return self._compress(pixels, self.rate_setting(quality)).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(reason(error)) from None

    def rate_setting(self, quality: int | None) -> int:
        """What a file says for a quality, or one line about why there is none such."""
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
    ) -> np.ndarray:
        """The picture in a file, uint8, height × width × 3; of a grey one height × width.

        Args:
            data: the file.
            max_pixels: what is larger is refused.
            max_side: likewise.
            realism: 0, as near to the original as the model gets, to 1, as real as it looks: of
                models that have a realism decoder.

        Raises:
            BitstreamError: whatever is wrong with the file, in one line.
        """
        arguments = _limited(data, max_pixels, max_side)
        decode = self._decompress
        if amount := checked_realism(realism):
            self.realism_decoder()  # Read here, where it may say what is wrong with it.
            decode, arguments = self._decompress_sharp, (*arguments, tf.constant(amount))
        try:
            picture = decode(*arguments).numpy()
        except tf.errors.OpError as error:
            raise BitstreamError(reason(error)) from None
        return picture[..., 0] if picture.shape[2] == 1 else picture

    def latents(
        self,
        data: bytes,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_side: int = DEFAULT_MAX_SIDE,
    ) -> np.ndarray:
        """The decoded latents in a file, height/16 × width/16 × channels."""
        try:
            return self._decode(*_limited(data, max_pixels, max_side))[0][0].numpy()
        except tf.errors.OpError as error:
            raise BitstreamError(reason(error)) from None

    def _compress_one(self, picture: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        height, width = tf.shape(picture)[0], tf.shape(picture)[1]
        picture = graph.checked(picture, height * width > 0, "the picture has no pixels")
        channels = tf.shape(picture)[2]
        grey = tf.equal(channels, 1)
        known = grey | tf.equal(channels, 3)
        picture = graph.checked(picture, known, "a picture has one channel or three")
        picture = tf.ensure_shape(tf.repeat(picture, tf.where(grey, 3, 1), axis=2), PICTURE.shape)
        padded = pad_to_multiple(picture[None], STRIDE)
        latents = tf.TensorSpec([None, None, self.model.latent_channels], tf.float32)
        setting = tf.cast(rate, tf.float32)

        def to_latents(pixels: tf.Tensor) -> tf.Tensor:
            return self.model.to_latents(pixels, setting)

        y = tiled(to_latents, padded, STRIDE, 1, latents, halo=self.model.halo)
        # A comparison with NaN is false; the range coder would never come back from one.
        codable = tf.reduce_all(tf.abs(y) < LARGEST_LATENT)
        y = graph.checked(y, codable, "the weights give latents that cannot be coded")
        strings, y_hat = self.model.coder.encode(y, setting)
        return graph.write(
            self.model_name,
            self.digest_bytes,
            height,
            width,
            rate,
            tf.where(grey, container.GREY, 0),
            tuple(s[0] for s in strings),
            tf.cast(y_hat * LATENT_UNITS, tf.int32),
        )

    def _latents(
        self, data: tf.Tensor, max_pixels: tf.Tensor, max_side: tf.Tensor
    ) -> tuple[tf.Tensor, graph.Fields]:
        coder = self.model.coder
        largest = LARGEST_QUALITY if self.many_rates else 0
        streams = len(coder.parts)
        fields = graph.read(
            data, self.model_name, self.digest_bytes, streams, max_pixels, max_side, largest
        )
        shape = tf.stack([-(-fields.height // STRIDE), -(-fields.width // STRIDE)])
        rate = tf.cast(fields.rate, tf.float32)
        y_hat = coder.decompress(tuple(s[None] for s in fields.streams), shape, rate)
        integers = tf.cast(y_hat * LATENT_UNITS, tf.int32)
        sizes = fields.height, fields.width, fields.rate
        found = graph.latent_fingerprint(integers, *sizes, fields.flags)
        same = tf.equal(found, fields.latent_fingerprint)
        y_hat = graph.checked(y_hat, same, "damaged: the decoded latent has another fingerprint")
        return y_hat, fields

    def _decompress_one(
        self,
        data: tf.Tensor,
        max_pixels: tf.Tensor,
        max_side: tf.Tensor,
        realism: tf.Tensor | None = None,
    ) -> tf.Tensor:
        y_hat, fields = self._latents(data, max_pixels, max_side)
        rate = tf.cast(fields.rate, tf.float32)

        def decoded(to_pictures: Callable[[tf.Tensor], tf.Tensor], halo: int) -> tf.Tensor:
            def pixels(latents: tf.Tensor) -> tf.Tensor:
                return tf.saturate_cast(tf.round(to_pictures(latents)), tf.uint8)

            return tiled(pixels, y_hat, 1, STRIDE, PICTURE, halo=halo)

        def faithful() -> tf.Tensor:
            return decoded(lambda latents: self.model.to_pictures(latents, rate), self.model.halo)

        def sharp() -> tf.Tensor:
            decoder = self.realism_decoder()
            return decoded(
                lambda latents: decoder.to_pictures(latents, rate, realism), decoder.halo
            )

        picture = faithful() if realism is None else tf.cond(realism > 0.0, sharp, faithful)
        picture = picture[0, : fields.height, : fields.width]
        grey = tf.equal(tf.bitwise.bitwise_and(fields.flags, container.GREY), container.GREY)
        picture = tf.cond(grey, lambda: _channel_mean(picture), lambda: picture)
        return tf.ensure_shape(picture, GREY_OR_RGB.shape)

    def save(
        self,
        path: str,
        bfloat16: str = "off",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_side: int = DEFAULT_MAX_SIDE,
        quality: int | None = None,
    ) -> None:
        """Writes a SavedModel that needs only the op library (see `register_ops`).

        Signatures: `compress` (also `serving_default`) and `decompress` take and give
        vectors of strings, picture files and bitstreams; `compress_tensor` and
        `decompress_tensor` take and give one uint8 picture, of three channels or of one. Of a
        model of many rates, `compress_at_quality` also takes a quality (0–100) for each picture.
        Of a model with a realism decoder, `decompress_at_realism` also takes a realism (0–1) for
        each file, or one for all, by default 0. A decoder that cannot be read is an error, as
        who expects that signature would miss it: `Codec(codec.model, codec.model_name)` has none.

        Args:
            path: the folder to write.
            bfloat16: "off" runs on any processor; "on" only where bfloat16 convolutions do;
                "auto" chooses for this machine.
            max_pixels: what its decoder accepts, and its encoder.
            max_side: the longest side, likewise.
            quality: of a model of many rates, what `compress` compresses at.

        Picture files are what TensorFlow decodes: PNG, JPEG, BMP, and the first frame of a
        GIF, grey or RGB, 8 or 16 bits; grey ones decode to one channel. Unlike
        `pictures.read` it does not turn by EXIF or convert ICC profiles. Alpha that is not
        opaque is refused, but for a PNG's tRNS chunk, which TensorFlow drops.
        """
        before = self.model.bfloat16
        self.model.set_bfloat16(bfloat16)
        try:
            exported = _Exported(self, max_pixels, max_side, quality)
            tf.saved_model.save(exported, str(path), signatures=exported.functions)
        finally:
            self.model.set_bfloat16(before)


class _Exported(tf.Module):
    """The signatures of a codec, and of its variables only those that they read."""

    def __init__(self, codec: Codec, max_pixels: int, max_side: int, quality: int | None) -> None:
        super().__init__(name="codec")
        max_pixels = tf.constant(max_pixels, tf.int64)
        max_side = tf.constant(max_side, tf.int64)

        rate = tf.constant(codec.rate_setting(quality))
        faithful = tf.constant(0.0)
        # Functions of their own: traced, saved and loaded once, and not for each signature.
        encode = tf.function(codec._compress_one, autograph=False)
        decode = tf.function(codec._decompress_one, autograph=False)

        def compress_file(data: tf.Tensor, rate: tf.Tensor = rate) -> tf.Tensor:
            return encode(_decoded_picture(data, max_pixels, max_side), rate)

        def compress_pair(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            data, quality = pair
            known = (quality >= 0) & (quality <= LARGEST_QUALITY)
            line = f"quality is a whole number from 0 to {LARGEST_QUALITY}; got "
            return compress_file(
                data, graph.checked(quality, known, line, tf.strings.as_string(quality))
            )

        def decompress_file(data: tf.Tensor, realism: tf.Tensor | None = None) -> tf.Tensor:
            picture = decode(data, max_pixels, max_side, realism)
            # A sixth of the default's time (which is twice the decoder's), a twentieth more bytes.
            return tf.io.encode_png(picture, compression=1)

        def decompress_pair(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            data, realism = pair
            known = (realism >= 0.0) & (realism <= 1.0)
            number = tf.strings.as_string(realism)
            return decompress_file(data, graph.checked(realism, known, REALISM_RANGE, number))

        def each(one: Any, values: Any) -> tf.Tensor:
            return tf.map_fn(one, values, fn_output_signature=tf.string, parallel_iterations=1)

        def compress(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"bitstream_bytes": each(compress_file, image_bytes)}

        def decompress(bitstream_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"image_bytes": each(decompress_file, bitstream_bytes)}

        def compress_tensor(image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"bitstream_bytes": encode(image, rate)}

        def compress_at_quality(image_bytes: tf.Tensor, quality: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"bitstream_bytes": each(compress_pair, (image_bytes, quality))}

        def decompress_at_realism(
            bitstream_bytes: tf.Tensor, realism: tf.Tensor = faithful
        ) -> dict[str, tf.Tensor]:
            of_each = tf.broadcast_to(realism, tf.shape(bitstream_bytes))
            return {"image_bytes": each(decompress_pair, (bitstream_bytes, of_each))}

        def decompress_tensor(bitstream_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"image": decode(bitstream_bytes, max_pixels, max_side)}

        strings, string = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.string)
        specs = {
            compress: {"image_bytes": strings},
            decompress: {"bitstream_bytes": strings},
            compress_tensor: {"image": GREY_OR_RGB},
            decompress_tensor: {"bitstream_bytes": string},
        }
        if codec.many_rates:
            numbers = tf.TensorSpec([None], tf.int32)
            specs[compress_at_quality] = {"image_bytes": strings, "quality": numbers}
        if codec.has_realism:
            codec.realism_decoder()  # Read outside of graphs.
            anything = tf.TensorSpec(None, tf.float32)  # One for each, or one for all.
            specs[decompress_at_realism] = {"bitstream_bytes": strings, "realism": anything}
        self.functions, used = {}, {}
        for function, inputs in specs.items():
            named = [tf.TensorSpec(v.shape, v.dtype, k) for k, v in inputs.items()]
            # Not the concrete function, which does not know its defaults.
            traced = tf.function(function, input_signature=named, autograph=False)
            used.update({v.ref(): v for v in traced.get_concrete_function().variables})
            self.functions[function.__name__] = traced
        self.functions["serving_default"] = self.functions["compress"]
        self.used_variables = list(used.values())


def checked_realism(realism: float) -> float:
    """A number from 0 to 1, or one line about what it is instead."""
    is_number = isinstance(realism, (int, float, np.integer, np.floating))
    if not is_number or isinstance(realism, bool) or not 0.0 <= realism <= 1.0:
        raise ValueError(f"{REALISM_RANGE}{realism}.")
    return float(realism)


def _limited(data: bytes, max_pixels: int, max_side: int) -> tuple[tf.Tensor, ...]:
    """Arguments of the decoding graph."""
    limits = []
    for name, limit in (("max_pixels", max_pixels), ("max_side", max_side)):
        if not isinstance(limit, (int, np.integer)) or limit < 1:
            raise ValueError(f"{name} is a whole number from 1 on; got {limit!r}.")
        limits.append(tf.constant(min(int(limit), 2**62), tf.int64))
    return tf.constant(container.as_bytes(data)), *limits


def _decoded_picture(data: tf.Tensor, max_pixels: tf.Tensor, max_side: tf.Tensor) -> tf.Tensor:
    """A picture file as uint8, RGB or grey; see `Codec.save` for which."""
    too_large = "the picture is over the limit of this model"
    claimed = graph.claimed_size(data)
    within = (claimed[0] * claimed[1] <= max_pixels) & (tf.reduce_max(claimed) <= max_side)
    data = graph.checked(data, within, too_large)  # Before a decoder believes it.
    picture = tf.io.decode_image(data, channels=0, expand_animations=False)
    shape = tf.shape(picture, tf.int64)
    channels = shape[2]
    within = (shape[0] * shape[1] <= max_pixels) & (tf.reduce_max(shape[:2]) <= max_side)
    picture = graph.checked(picture, within, too_large)
    colours = tf.where(channels > 2, tf.constant(3, tf.int64), 1)
    opaque = tf.reduce_all(picture[..., colours:] == 255)
    picture = graph.checked(
        picture, opaque, "the picture has transparency: flatten it on a background first"
    )[..., :colours]
    return tf.ensure_shape(picture, GREY_OR_RGB.shape)


def _channel_mean(picture: tf.Tensor) -> tf.Tensor:
    """Rounded mean of the three channels, as a picture of one channel."""
    total = tf.reduce_sum(tf.cast(picture, tf.int32), axis=2, keepdims=True)
    return tf.cast((total + 1) // 3, tf.uint8)


def reason(error: tf.errors.OpError) -> str:
    """The one line that says what is wrong, out of TensorFlow's many."""
    found = re.search(rf"{graph.ERROR}([^\]\n]*)", error.message or "")
    if found:
        return f"{found.group(1).strip()}."
    return "damaged: a stream in it cannot be decoded."


def load(name: str = "default", realism: str | os.PathLike[str] | None = None) -> Codec:
    """A codec of the zoo by name, or from a weights file by path.

    Args:
        name: of the zoo, or a path or https address of weights.
        realism: weights of a realism decoder, in place of the zoo's: a path or https address.
    """
    weights, entry_name = zoo.find(name)
    entry = zoo.entry_of(name)
    known = entry if entry and entry.realism else None
    return Codec(zoo.build_model(weights), name=entry_name, realism=realism or known)


def codec_for(data: bytes, realism: str | os.PathLike[str] | None = None) -> Codec:
    """The codec of the zoo that made a file, or an error that says which one it needs."""
    header = container.inspect(data)
    for entry in zoo.entries():
        if entry.name == header.model and entry.digest == header.digest:
            # By its entry: its name may have a newer version since.
            model = zoo.build_model(zoo.read(entry))
            known = entry if entry.realism else None
            return Codec(model, name=entry.name, realism=realism or known)
    raise UnknownModelError(
        f"made with model {header.model} (weights {header.digest}), which is not in the zoo "
        f"({', '.join(f'{e.name} {e.digest}' for e in zoo.entries())}): load its weights file."
    )
