"""Encoder effort: searches the integers of one image for a lower rate–distortion cost.

The analysis transform gives good latents for all images, but not the best integers for one image.
The search minimizes

    L(k, z) = bits(k | z) + bits(z) + λ · pixels · distortion

over the integers k of the latents and z of the hyper-latents. Decoders read the file as any other.

1. Hyper-latents: Adam on the bits alone, through rounding with a straight-through gradient.
2. Latents, in the order of decoding (`decoding_groups`). A change of one integer by δ = ±1
   changes L by about

       g·δ + ½·h·δ² + bits(k + δ) − bits(k),

   where g is the gradient of distortion and of the bits of other latents, and h the curvature
   of the distortion, one number per channel. The bits of the latent itself are exact. Each pass
   makes the changes with the largest predicted gains, at most a few per position because
   neighboring changes interact. Their number falls from pass to pass. The best integers of all
   passes are kept.

Means of later groups depend on earlier groups. While a group is searched, later groups therefore
remain real-valued targets that are rounded again in every pass.

Yang, Bamler, Mandt, "Improving Inference for Neural Image Compression" (NeurIPS 2020), minimize the
same cost by stochastic Gumbel annealing. This search needs fewer gradients. The networks of the
coder run in floating point here, and exactly when the file is written.

Images larger than a window are searched window by window. Latents around a window take part in its
cost and do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfc_models.codec.tuning import Tuning, squared_error_weight
from tfc_models.codec.windows import Latents, Place, window_counts
from tfc_models.entropy.parameters import ALL_CHANNELS, EntropyParameters
from tfc_models.layers import setting_for_gradients
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import distortions

LARGEST_EFFORT = 9
HYPER_STEPS = (0, 10, 10, 20, 20, 30, 30, 40, 40, 60)  # by effort
PASSES = (0, 2, 4, 8, 12, 18, 26, 36, 50, 70)  # by effort, over all groups of latents
HYPER_RATE = 0.03  # largest step of Adam
CHANNELS_PER_CHANGE = 64  # channels per change at one position in the first pass
LEAST_GAIN = 0.1  # bits
PROBE = 0.2  # size of the change that measures curvature
PASS_UNITS = 6  # units of work of a pass over latents, where a step of hyper-latents is one

Repeat = Callable[..., Any]


class Window(NamedTuple):
    """Part of an image, with what its search does not change."""

    image: tf.Tensor  # 1 × height × width × 3, float32, 0 to 255
    rate: tf.Tensor
    weight: tf.Tensor  # bits that one unit of distortion is worth
    free: tf.Tensor  # 1 where latents may change, 1 × rows × columns × 1
    hyper_free: tf.Tensor
    levels: tf.Tensor  # of the dither; unused by coders without it


class Coded(NamedTuple):
    """Latents as a decoder reconstructs them, with the bits of each."""

    symbols: tf.Tensor
    params: EntropyParameters | None
    decoded: tf.Tensor
    bits: tf.Tensor


def checked_effort(effort: int) -> int:
    """Returns the effort. Raises ValueError if there is no such level."""
    whole = isinstance(effort, int) and not isinstance(effort, bool)
    if not whole or not 0 <= effort <= LARGEST_EFFORT:
        raise ValueError(f"effort is a whole number from 0 to {LARGEST_EFFORT}; got {effort}.")
    return effort


class Refiner(tf.Module):
    """Search of integers for a frozen model and a distortion.

    Args:
        model: frozen model.
        tuning: the distortion.
    """

    def __init__(self, model: CompressionModel, tuning: Tuning) -> None:
        super().__init__(name="refiner")
        self._model, self._tuning = model, tuning
        self._differentiable = differentiable_copy(model)
        self._hyper = "z" in self._coder.streams
        step = tf.function(self._hyper_step, autograph=False, reduce_retracing=True)
        search = tf.function(self._pass, autograph=False, reduce_retracing=True)
        begin = tf.function(self._begin_group, autograph=False, reduce_retracing=True)
        measure = tf.function(self._curvature, autograph=False, reduce_retracing=True)
        self._compiled = {"step": step, "pass": search, "begin": begin, "curvature": measure}

    @property
    def _coder(self) -> Any:
        return self._differentiable.coder

    def ticks(self, height: int, width: int, effort: int) -> int:
        """Returns the units of work of a search; each takes about the same time."""
        windows = int(tf.reduce_prod(window_counts(tf.constant([height, width]))))
        groups = len(self._coder.decoding_groups(tf.constant([1, 1])))
        passes = groups * (-(-PASSES[effort] // groups) + 1)
        return windows * (PASS_UNITS * passes + (HYPER_STEPS[effort] + 1 if self._hyper else 0))

    def search(
        self,
        image: tf.Tensor,
        y: tf.Tensor,
        rate: tf.Tensor,
        effort: tf.Tensor,
        tick: Callable[[int], None] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns integers of the latents and of the hyper-latents.

        Args:
            image: 1 × height × width × 3, 0 to 255, not padded.
            y: latents from the analysis, not quantized.
            rate: rate setting of the file.
            effort: 1 to 9.
            tick: called after every step with its units of work; None compiles the whole search
                into one graph.
        """
        in_graph = tick is None
        raw: dict[str, Callable[..., Any]] = {
            "step": self._hyper_step,
            "pass": self._pass,
            "begin": self._begin_group,
            "curvature": self._curvature,
        }
        functions = raw if in_graph else self._compiled
        repeat = _repeat_in_graph if in_graph else _repeater(tick)
        shape = tf.shape(y)[1:3]
        rows, columns = tf.unstack(window_counts(shape))
        z = self._hyper_latents(y, rate)
        levels = self._levels(y)
        whole = Latents(y, tf.zeros_like(y), z)

        def one(i: tf.Tensor, whole: Latents) -> Latents:
            place = Place.of(i // columns, i % columns, shape)
            window, latents = self._cut(place, image, whole, levels, rate)
            result = self._searched(window, latents, effort, functions, repeat)
            return place.put(result, whole, self._hyper)

        windows = _repeat_in_graph if in_graph else _repeater(None)
        whole = windows(rows * columns, one, whole)
        return tf.round(whole.values), tf.round(whole.z)

    def _hyper_latents(self, y: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        if not self._hyper:
            return tf.zeros([1, 1, 1, 1])
        return tf.round(self._model.coder.hyper_latents(y, rate))

    def _levels(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the dither of the whole image; zeros for coders without."""
        levels = self._model.coder.dither_of(y) if self._hyper else None
        return tf.zeros(tf.shape(y)[:3], tf.int32)[..., None] if levels is None else levels

    def _cut(
        self,
        place: Place,
        image: tf.Tensor,
        whole: Latents,
        levels: tf.Tensor,
        rate: tf.Tensor,
    ) -> tuple[Window, Latents]:
        pixels = place.image(image)
        count = tf.cast(tf.reduce_prod(tf.shape(pixels)[1:3]), tf.float32)
        weight = count * squared_error_weight(self._model, rate)
        free, hyper_free = place.free()
        window = Window(pixels, rate, weight, free, hyper_free, place.latents(levels))
        z = place.hyper(whole.z) if self._hyper else whole.z
        return window, Latents(place.latents(whole.values), place.latents(whole.fixed), z)

    def _searched(
        self,
        window: Window,
        latents: Latents,
        effort: tf.Tensor,
        functions: dict[str, Callable[..., Any]],
        repeat: Repeat,
    ) -> Latents:
        """Returns the latents of a window with its free integers chosen."""
        if self._hyper:
            steps = tf.gather(tf.constant(HYPER_STEPS), effort)
            zero = tf.zeros_like(latents.z)
            start = latents.z, zero, zero, latents.z, tf.constant(float("inf"))
            _, _, _, best_z, _ = repeat(
                steps + 1, lambda i, s: functions["step"](window, latents, i, steps, *s), start
            )
            latents = latents._replace(z=best_z)
        curvature = functions["curvature"](window, latents)
        groups = len(self._coder.decoding_groups(tf.constant([1, 1])))
        passes = -(-tf.gather(tf.constant(PASSES), effort) // groups)
        for group in range(groups):
            own, latents = functions["begin"](window, latents, tf.constant(group))
            state = latents.values, latents.values, tf.constant(float("inf"))
            state = repeat(
                passes + 1,
                lambda i, s, o=own, la=latents: functions["pass"](
                    window, la, o, curvature, i, passes, *s
                ),
                state,
                PASS_UNITS,
            )
            latents = latents._replace(values=state[1])
        return latents

    def _code(self, window: Window, latents: Latents) -> Coded:
        """Predicts and quantizes; gradients reach targets and integers."""
        coder, (values, fixed, z) = self._coder, latents
        if self._hyper:
            coder.dither = window.levels

        def quantized(params: EntropyParameters | None, channels: slice) -> tf.Tensor:
            own, kept = values[..., channels], fixed[..., channels]
            rounded = coder.from_symbols(coder.symbols_of(own, params), params)
            tracked = own + tf.stop_gradient(rounded - own)
            return kept * coder.from_symbols(own, params) + (1.0 - kept) * tracked

        if not self._hyper:
            y_hat = quantized(None, ALL_CHANNELS)
            symbols = tf.stop_gradient(y_hat)
            return Coded(symbols, None, y_hat, coder.symbol_bits(symbols))
        shape, dither = tf.shape(values)[1:3], coder.dither_of(values)
        params = coder.predict(quantized, shape, _rounded(z), window.rate, dither)
        symbols = fixed * values + (1.0 - fixed) * coder.symbols_of(values, params)
        symbols = tf.stop_gradient(symbols)
        # The residual of a target changes with its parameters; that of an integer does not.
        residual = coder.quantization.normalized(tf.stop_gradient(values), params)
        moving = symbols + (1.0 - fixed) * (residual - tf.stop_gradient(residual))
        bits = coder.symbol_bits(moving, params)
        return Coded(symbols, params, params.corrected(quantized(params, ALL_CHANNELS)), bits)

    def _hyper_bits(self, z: tf.Tensor) -> tf.Tensor:
        if not self._hyper:
            return tf.constant(0.0)
        return tf.reduce_sum(self._coder.hyperprior.symbol_bits(_rounded(z)))

    def _distortion(self, window: Window, decoded: tf.Tensor) -> tf.Tensor:
        """Returns the distortion of a window in bits."""
        shape = tf.shape(window.image)
        images = self._differentiable.to_images(decoded, window.rate)
        images = tf.clip_by_value(images[:, : shape[1], : shape[2]], 0.0, 255.0)
        total, _ = distortions(self._tuning.weights, window.image, images)
        return window.weight * total[0]

    def _hyper_step(
        self,
        window: Window,
        latents: Latents,
        i: tf.Tensor,
        steps: tf.Tensor,
        z: tf.Tensor,
        first: tf.Tensor,
        second: tf.Tensor,
        best: tf.Tensor,
        least: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        """Performs one step of Adam on the bits."""
        with tf.GradientTape() as tape:
            tape.watch(z)
            coded = self._code(window, latents._replace(z=z))
            bits = tf.reduce_sum(coded.bits) + self._hyper_bits(z)
        gradient = tape.gradient(bits, z) * window.hyper_free
        best = tf.where(bits < least, tf.round(z), best)
        done = tf.cast(i, tf.float32) + 1.0
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * tf.square(gradient)
        size = HYPER_RATE * (1.0 - tf.cast(i, tf.float32) / tf.cast(steps, tf.float32))
        change = (first / (1.0 - 0.9**done)) / (tf.sqrt(second / (1.0 - 0.99**done)) + 1e-3)
        return z - size * change, first, second, best, tf.minimum(bits, least)

    def _curvature(self, window: Window, latents: Latents) -> tf.Tensor:
        """Returns the second derivative of the distortion, 1 × 1 × 1 × channels.

        It is the diagonal of the Hessian by Hutchinson's estimator with one random sign per latent,
        averaged over positions.
        """
        decoded = self._code(window, latents).decoded
        # Philox gives the same signs on every machine.
        bits = tf.random.stateless_uniform(
            tf.shape(decoded), [0, 0], None, None, tf.int32, "philox"
        )
        signs = tf.where(bits < 0, -1.0, 1.0)

        def gradient(at: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(at)
                distortion = self._distortion(window, at)
            return tape.gradient(distortion, at)

        step = PROBE * signs
        difference = gradient(decoded + step) - gradient(decoded - step)
        second = tf.reduce_mean(signs * difference, axis=(0, 1, 2), keepdims=True)
        return tf.maximum(second / (2.0 * PROBE), 0.0)

    def _begin_group(
        self, window: Window, latents: Latents, group: tf.Tensor
    ) -> tuple[tf.Tensor, Latents]:
        """Rounds the free latents of a group. Returns their mask and the latents."""
        symbols = self._code(window, latents).symbols
        masks = self._coder.decoding_groups(tf.shape(symbols)[1:3])
        masks = tf.stack([tf.broadcast_to(mask, tf.shape(symbols)) for mask in masks])
        own = tf.gather(masks, group) * window.free * (1.0 - latents.fixed)
        values = own * symbols + (1.0 - own) * latents.values
        return own, latents._replace(values=values, fixed=latents.fixed + own)

    def _pass(
        self,
        window: Window,
        latents: Latents,
        own: tf.Tensor,
        curvature: tf.Tensor,
        i: tf.Tensor,
        passes: tf.Tensor,
        values: tf.Tensor,
        best: tf.Tensor,
        least: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        """Keeps the integers if they are the best so far, and changes some of them."""
        with tf.GradientTape() as tape:
            tape.watch(values)
            coded = self._code(window, latents._replace(values=values))
            total = tf.reduce_sum(coded.bits) + self._hyper_bits(latents.z)
            total += self._distortion(window, coded.decoded)
        gradient = tape.gradient(total, values)
        best, least = tf.where(total < least, values, best), tf.minimum(total, least)

        step = self._coder.quantization.step(coded.params) if self._hyper else 1.0

        def rise(by: float) -> tf.Tensor:
            bits = self._coder.symbol_bits(coded.symbols + by, coded.params)
            return by * gradient + 0.5 * curvature * step**2 + bits - coded.bits

        up, down = rise(1.0), rise(-1.0)
        gain = tf.where(own > 0.0, -tf.minimum(up, down), -1.0)
        left = 1.0 - tf.cast(i, tf.float32) / tf.cast(passes, tf.float32)
        most = max(1, gain.shape[-1] // CHANNELS_PER_CHANGE)
        count = tf.cast(tf.math.ceil((most - 0.5) * tf.maximum(left, 0.0) ** 1.5), tf.int32)
        largest = tf.math.top_k(gain, most).values
        place = tf.clip_by_value(count - 1, 0, largest.shape[-1] - 1)
        least_gain = tf.maximum(tf.gather(largest, [place], axis=-1), LEAST_GAIN)
        change = tf.where(up < down, 1.0, -1.0)
        return values + tf.where(gain >= least_gain, change, 0.0), best, least


def _rounded(z: tf.Tensor) -> tf.Tensor:
    """Rounds, with the gradient of the identity."""
    return z + tf.stop_gradient(tf.round(z) - z)


def _repeat_in_graph(count: tf.Tensor, step: Callable[..., Any], state: Any, units: int = 1) -> Any:
    loose = tf.nest.map_structure(lambda v: tf.TensorShape([None] * v.shape.rank), state)
    loose = tf.nest.map_structure(
        lambda v, s: tf.TensorShape([*s[:-1], v.shape[-1]]) if v.shape.rank else s, state, loose
    )

    def body(i: tf.Tensor, state: Any) -> Any:
        return i + 1, step(i, state)

    return tf.while_loop(
        lambda i, _: i < count,
        body,
        (tf.constant(0), state),
        shape_invariants=(tf.TensorShape([]), loose),
        parallel_iterations=1,
    )[1]


def _repeater(tick: Callable[[int], None] | None) -> Repeat:
    """Returns a loop that reports the units of work of every step."""

    def repeat(count: tf.Tensor, step: Callable[..., Any], state: Any, units: int = 1) -> Any:
        for i in range(int(count)):
            state = step(tf.constant(i), state)
            if tick:
                tick(units)
        return state

    return repeat


def differentiable_copy(model: CompressionModel) -> CompressionModel:
    """Returns the floating-point networks of a frozen model, as before freezing."""
    copy = type(model)(**{**model.config, "kernel": "plain"})
    copy.assign_state(model.plain_state)
    copy.coder.anneal(1.0)
    copy.set_bfloat16(setting_for_gradients(model.bfloat16))
    copy.trainable = False
    return copy
