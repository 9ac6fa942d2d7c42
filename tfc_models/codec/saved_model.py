"""Export of a codec as a SavedModel, and its signatures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

import tensorflow as tf

from tfc_models.codec import graph
from tfc_models.codec.container import LARGEST_QUALITY
from tfc_models.codec.refinement import Refiner, checked_effort
from tfc_models.codec.tuning import Tuning, squared_error_weight, tuning_of
from tfc_models.models.distortion import distortions

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec

GREY_OR_RGB = tf.TensorSpec([None, None, None], tf.uint8)
REALISM_RANGE = "realism is a number from 0 to 1; got "


def save(
    codec: Codec,
    path: str,
    bfloat16: str,
    max_pixels: int,
    max_side: int,
    quality: int | None,
    max_effort: int,
    tune: str | None,
) -> None:
    """Writes a SavedModel; see `Codec.save`."""
    before = codec.model.bfloat16
    codec.model.set_bfloat16(bfloat16)
    try:
        effort = checked_effort(max_effort)
        exported = Exported(codec, max_pixels, max_side, quality, effort, tune)
        tf.saved_model.save(exported, str(path), signatures=exported.functions)
    finally:
        codec.model.set_bfloat16(before)


class Exported(tf.Module):
    """Module with the signatures of a codec, and only the variables that they read."""

    def __init__(
        self,
        codec: Codec,
        max_pixels: int,
        max_side: int,
        quality: int | None,
        max_effort: int,
        tune: str | None,
    ) -> None:
        super().__init__(name="codec")
        max_pixels = tf.constant(max_pixels, tf.int64)
        max_side = tf.constant(max_side, tf.int64)

        rate = tf.constant(codec.rate_setting(quality))
        faithful = tf.constant(0.0)
        # Separate functions are traced, saved and loaded once, not per signature.
        encode = tf.function(codec._compress_one, autograph=False)
        decode = tf.function(codec._decompress_one, autograph=False)

        def compress_file(data: tf.Tensor, rate: tf.Tensor = rate) -> tf.Tensor:
            return encode(_decoded_image(data, max_pixels, max_side), rate)

        def checked_quality(quality: tf.Tensor) -> tf.Tensor:
            known = (quality >= 0) & (quality <= LARGEST_QUALITY)
            line = f"quality is a whole number from 0 to {LARGEST_QUALITY}; got "
            return graph.checked(quality, known, line, tf.strings.as_string(quality))

        def compress_pair(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            data, quality = pair
            return compress_file(data, checked_quality(quality))

        def compress_triple(triple: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            data, quality, effort = triple
            known = (effort >= 0) & (effort <= max_effort)
            line = f"effort is a whole number from 0 to {max_effort}; got "
            effort = graph.checked(effort, known, line, tf.strings.as_string(effort))
            image = _decoded_image(data, max_pixels, max_side)
            setting = checked_quality(quality) if codec.many_rates else rate
            return compress_with_effort(image, setting, effort)

        def decompress_file(
            data: tf.Tensor, realism: tf.Tensor | None = None, fast: bool = False
        ) -> tf.Tensor:
            image = decode(data, max_pixels, max_side, realism, fast)
            # A sixth of the default's time (which is twice the decoder's), a twentieth more bytes.
            return tf.io.encode_png(image, compression=1)

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

        def decompress_fast(bitstream_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            one = functools.partial(decompress_file, fast=True)
            return {"image_bytes": each(one, bitstream_bytes)}

        def decompress_tensor(bitstream_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"image": decode(bitstream_bytes, max_pixels, max_side)}

        def compress_at_effort(
            image_bytes: tf.Tensor, effort: tf.Tensor, quality: tf.Tensor | None = None
        ) -> dict[str, tf.Tensor]:
            if quality is None:
                quality = tf.fill(tf.shape(image_bytes), rate)
            return {"bitstream_bytes": each(compress_triple, (image_bytes, quality, effort))}

        strings, string = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.string)
        numbers = tf.TensorSpec([None], tf.int32)
        specs: dict[Callable[..., dict[str, Any]], dict[str, Any]] = {
            compress: {"image_bytes": strings},
            decompress: {"bitstream_bytes": strings},
            compress_tensor: {"image": GREY_OR_RGB},
            decompress_tensor: {"bitstream_bytes": string},
        }
        if codec.many_rates:
            specs[compress_at_quality] = {"image_bytes": strings, "quality": numbers}
        if max_effort:
            tuning = tuning_of(tune, codec.model)
            compress_with_effort = _searching(codec, codec.refiner(tuning), tuning, encode, decode)
            specs[compress_at_effort] = {"image_bytes": strings, "effort": numbers}
            if codec.many_rates:
                specs[compress_at_effort]["quality"] = numbers
        if codec.has_realism:
            codec.realism_decoder()  # Files are read outside of graphs.
            anything = tf.TensorSpec(None, tf.float32)  # One per file, or one for all.
            specs[decompress_at_realism] = {"bitstream_bytes": strings, "realism": anything}
        if codec.has_fast:
            codec.fast_decoder()
            specs[decompress_fast] = {"bitstream_bytes": strings}
        self.functions, used = {}, {}
        for function, inputs in specs.items():
            named = [tf.TensorSpec(v.shape, v.dtype, k) for k, v in inputs.items()]
            # Not the concrete function, which has no defaults.
            traced = tf.function(function, input_signature=named, autograph=False)
            used.update({v.ref(): v for v in traced.get_concrete_function().variables})
            self.functions[function.__name__] = traced
        self.functions["serving_default"] = self.functions["compress"]
        self.used_variables = list(used.values())


def _decoded_image(data: tf.Tensor, max_pixels: tf.Tensor, max_side: tf.Tensor) -> tf.Tensor:
    """Returns an image file as uint8, RGB or grey; see `Codec.save` for formats."""
    too_large = "the image is over the limit of this model"
    claimed = graph.claimed_size(data)
    within = (claimed[0] * claimed[1] <= max_pixels) & (tf.reduce_max(claimed) <= max_side)
    data = graph.checked(data, within, too_large)  # Checked before memory is allocated.
    image = tf.io.decode_image(data, channels=0, expand_animations=False)
    shape = tf.shape(image, tf.int64)
    channels = shape[2]
    within = (shape[0] * shape[1] <= max_pixels) & (tf.reduce_max(shape[:2]) <= max_side)
    image = graph.checked(image, within, too_large)
    colours = tf.where(channels > 2, tf.constant(3, tf.int64), 1)
    opaque = tf.reduce_all(image[..., colours:] == 255)
    image = graph.checked(
        image, opaque, "the image has transparency: flatten it on a background first"
    )[..., :colours]
    return tf.ensure_shape(image, GREY_OR_RGB.shape)


def _searching(
    codec: Codec,
    refiner: Refiner,
    tuning: Tuning,
    encode: Callable[..., tf.Tensor],
    decode: Callable[..., tf.Tensor],
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function from an image, a rate setting and an effort to a file."""
    unlimited = tf.constant(2**62, tf.int64)

    def rgb(image: tf.Tensor) -> tf.Tensor:
        image = tf.repeat(image, tf.where(tf.equal(tf.shape(image)[2], 1), 3, 1), axis=2)
        return tf.cast(tf.ensure_shape(image, [None, None, 3]), tf.float32)[None]

    def compressed(image: tf.Tensor, rate: tf.Tensor, effort: tf.Tensor) -> tf.Tensor:
        setting = tf.cast(rate, tf.float32)
        pixels = tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float32)

        def cost_of(file: tf.Tensor) -> tf.Tensor:
            decoded = rgb(decode(file, unlimited, unlimited))
            bits = 8.0 * tf.cast(tf.strings.length(file), tf.float32) / pixels
            distortion, _ = distortions(tuning.weights, rgb(image), decoded)
            return bits + squared_error_weight(codec.model, setting) * distortion[0]

        def searched(plain: tf.Tensor) -> tf.Tensor:
            y = codec._analysed(image, rate)
            integers = refiner.search(rgb(image), y, setting, effort)
            file = codec._compress_symbols(image, rate, *integers)
            return tf.where(cost_of(file) < cost_of(plain), file, plain)

        plain = encode(image, rate)
        return tf.cond(effort > 0, lambda: searched(plain), lambda: plain)

    return compressed
