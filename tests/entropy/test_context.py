"""Context models: causality, decoding orders, and the cost of exactness in rate."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL, cropped, golden_model
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.entropy import order
from tfc_models.entropy.parameters import SCALES, Outputs, fractions_per_scale, scale_of
from tfc_models.layers import MaskedConv2D, checkerboard_mask, raster_mask

AUTOREGRESSIVE = ["mbt2018", "gained-raster"]
CHANNELWISE = ["ms2020", "gained-channelwise"]
CONTEXTS = [*AUTOREGRESSIVE, "gained-checkerboard", *CHANNELWISE]


def latents_of(model: models.CompressionModel, *shape: int) -> tf.Tensor:
    rng = np.random.default_rng(1)
    return tf.constant(4.0 * rng.normal(size=[*shape, model.latent_channels]), tf.float32)


def test_masked_convolutions_have_the_masks_of_their_orders():
    assert raster_mask(5).sum() == 12 and raster_mask(5)[2, 2] == raster_mask(5)[2, 3] == 0
    assert checkerboard_mask(3).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert checkerboard_mask(5).sum() == 12


@pytest.mark.parametrize("kernel", ["plain", "rdft"])
def test_masked_taps_stay_zero_after_training(kernel):
    layer = MaskedConv2D(3, raster_mask(5), kernel=kernel)
    maps = tf.random.normal([1, 6, 6, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(maps)))
    gradients = tape.gradient(loss, layer.trainable_variables)
    tf.keras.optimizers.legacy.Adam(0.1).apply_gradients(zip(gradients, layer.trainable_variables))
    assert np.all(layer.kernel.numpy()[raster_mask(5) == 0] == 0)
    assert np.any(layer.kernel.numpy()[raster_mask(5) == 1] != 0)
    before = layer(maps)
    layer.freeze()
    np.testing.assert_allclose(layer(maps), before, atol=1e-5)


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
@pytest.mark.parametrize("training", [False, True])
def test_raster_predictions_depend_only_on_earlier_latents(name, training):
    model = models.build(name, **SMALL[name])
    y = latents_of(model, 1, 8, 8)
    z_hat = tf.round(model.coder.hyper_latents(y))

    def parameters(y: tf.Tensor) -> np.ndarray:
        noisy = y + 0.25 if training else None
        return np.concatenate(model.coder.parameters_for(y, z_hat, noisy=noisy)[:2], -1)[0]

    changed = y.numpy()
    changed[0, 4, 4] += 8.0
    difference = np.abs(parameters(tf.constant(changed)) - parameters(y)).max(-1) > 0
    rows, columns = np.nonzero(difference)
    assert difference[4, 5] and difference[5, 4]
    assert all(r > 4 or (r == 4 and c > 4) for r, c in zip(rows, columns))


def test_checkerboard_predictions_depend_only_on_the_other_colour():
    model = models.build("gained-checkerboard", **SMALL["gained-checkerboard"])
    y = latents_of(model, 1, 8, 8)
    z_hat = tf.round(model.coder.hyper_latents(y))

    def changed_by(row: int, column: int) -> np.ndarray:
        changed = y.numpy()
        changed[0, row, column] += 8.0
        pair = [
            np.concatenate(model.coder.parameters_for(tf.constant(v), z_hat)[:2], -1)[0]
            for v in (y, changed)
        ]
        return np.abs(pair[0] - pair[1]).max(-1) > 0

    assert not changed_by(4, 5).any()  # of the second colour
    rows, columns = np.nonzero(changed_by(4, 4))
    assert set(zip(rows, columns)) == {(3, 4), (5, 4), (4, 3), (4, 5)}


@pytest.mark.parametrize("name", CHANNELWISE)
@pytest.mark.parametrize("training", [False, True])
def test_slice_predictions_depend_only_on_earlier_slices(name, training):
    model = models.build(name, **SMALL[name])
    coder = model.coder
    y = latents_of(model, 1, 8, 8)
    z_hat = tf.round(coder.hyper_latents(y))
    noise = 0.25 if training and coder.quantization.mode != "round" else None

    def told(y: tf.Tensor) -> list[np.ndarray]:
        noisy = None if noise is None else y + noise
        return [part[0].numpy() for part in coder.parameters_for(y, z_hat, noisy=noisy)[:3]]

    before = told(y)
    ends = np.cumsum([0, *(part.channels for part in coder.prediction.slices)])
    for i, (first, end) in enumerate(zip(ends, ends[1:])):
        changed = y.numpy()
        changed[0, 4, 4, first:end] += 8.0
        index, mean, correction = (
            np.abs(a - b).max(axis=(0, 1)) > 0 for a, b in zip(told(tf.constant(changed)), before)
        )
        later = [np.s_[a:b] for a, b in zip(ends[i + 1 :], ends[i + 2 :])]
        for parameter in (index, mean):
            assert not parameter[:end].any()
            assert all(parameter[part].any() == (i < coder.prediction.support) for part in later)
        assert not correction[:first].any() and correction[first:end].any()
    assert np.abs(before[2]).max() <= 0.5


@pytest.mark.parametrize("name", CHANNELWISE)
def test_corrections_are_half_a_tanh_rounded_to_a_grid(name):
    coder = Codec(golden_model(name)).model.coder
    sums = np.linspace(-6.0, 6.0, 2001)
    result = coder.prediction.half_tanh(
        Outputs(tf.constant(sums * 2.0**10), np.full(1, 2.0**-10))
    ).numpy()
    assert np.abs(result - 0.5 * np.tanh(sums)).max() <= 1 / 64
    assert np.array_equal(result * 64, np.rint(result * 64))
    assert np.array_equal(result, -result[::-1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 8), (8, 5)])
def test_latents_of_a_wavefront_do_not_depend_on_each_other(shape):
    positions, ends = order.wavefronts(tf.constant(shape), 2)
    assert sorted(positions.numpy()) == list(range(shape[0] * shape[1]))
    done: set[tuple[int, int]] = set()
    taps = np.argwhere(raster_mask(5)) - 2
    for first, end in zip(ends[:-1].numpy(), ends[1:].numpy()):
        front = [divmod(int(i), shape[1]) for i in positions[first:end]]
        for y, x in front:
            near = {(y + dy, x + dx) for dy, dx in taps}
            inside = {(a, b) for a, b in near if 0 <= a < shape[0] and 0 <= b < shape[1]}
            assert inside <= done
        done.update(front)
    assert np.all(np.diff(ends) >= 0) and len(ends) - 1 == shape[1] + 3 * (shape[0] - 1)


def test_orders_of_a_checkerboard():
    for shape in ((1, 1), (3, 4), (5, 5)):
        maps = tf.random.stateless_normal([2, *shape, 3], [1, 2])
        groups = order.Checkerboard().groups(tf.constant(shape))
        for colour, group in enumerate(groups):
            assert all(sum(divmod(int(i), shape[1])) % 2 == colour for i in group.positions)
            inside = group.put(group.take(maps), tf.constant(shape))
            np.testing.assert_array_equal(inside, group.mask * maps)
        np.testing.assert_array_equal(groups[0].mask + groups[1].mask, np.ones([1, *shape, 1]))


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_image_of_a_batch_is_coded_at_its_own_rate(name):
    model = golden_model(name)
    model.set_bfloat16("off")
    codec = Codec(model)
    images = np.stack([cropped(80, 96), cropped(80, 96)[::-1], cropped(80, 96)[:, ::-1]])
    rate = tf.constant([0.0, 50.0, 100.0]) if model.many_rates else None
    y = model.to_latents(tf.constant(images, tf.float32), rate)
    strings, y_hat = codec.model.coder.encode(y, rate)
    decoded = codec.model.coder.decompress(strings, tf.shape(y)[1:3], rate)
    assert np.array_equal(decoded, y_hat)
    for i in range(3):
        own = None if rate is None else rate[i : i + 1]
        alone, _ = codec.model.coder.encode(y[i : i + 1], own)
        assert [s[0] for s in alone] == [s[i] for s in strings]


def test_rounding_means_to_fractions_costs_less_than_a_thousandth():
    """Compares a distribution over integers with the nearest one in the tables."""
    values, parts = np.arange(-2000, 2001), fractions_per_scale()
    means = np.linspace(0.0, 1.0, 41)
    extra, entropy = [], []
    for index in range(0, SCALES, 3):
        scale = float(scale_of(tf.constant(float(index))))

        def mass(mean: float, scale: float = scale) -> np.ndarray:
            bounds = (np.append(values, 2001) - 0.5 - mean) / scale
            cumulative = 0.5 * (1.0 + tf.math.erf(bounds / np.sqrt(2.0)).numpy())
            return np.maximum(np.diff(cumulative), 1e-30)

        for mean in means:
            true, used = mass(mean), mass(round(mean * parts[index]) / parts[index])
            entropy.append(-np.sum(true * np.log2(true)))
            extra.append(np.sum(true * np.log2(true / used)))
    extra, entropy = np.array(extra), np.array(entropy)
    # Where the entropy is almost 0, the absolute difference is bounded instead.
    assert np.mean(extra) < 1e-3 * np.mean(entropy)
    assert np.all(extra.reshape(-1, 41).mean(1) < 2e-3 * entropy.reshape(-1, 41).mean(1) + 1e-3)


def test_context_models_start_from_weights_without_context(tmp_path):
    from tfc_models.training.trainer import initialize_weights

    plain = golden_model("gained-stem4")
    config = plain.config
    image = tf.constant(cropped(96, 112)[None], tf.float32)
    plain.set_bfloat16("off")
    for name in ("gained-checkerboard", "gained-raster"):
        model = models.build(name, **config)
        learned = plain.state()
        initialize_weights(model, learned)
        model.set_bfloat16("off")
        fresh = models.build("gained-stem4", **config)
        initialize_weights(fresh, learned)
        fresh.set_bfloat16("off")
        for rate in (0.0, 70.0):
            one, other = (m(image, training=False, rate=rate).bits for m in (model, fresh))
            # The models differ only in rounding around means.
            tolerance = 1e-4 if name == "gained-checkerboard" else 0.2
            np.testing.assert_allclose(one["y"], other["y"], rtol=tolerance)
    with pytest.raises(ValueError, match="nothing in common"):
        initialize_weights(model, {"a": np.zeros(3)})


def test_more_slices_than_latents_are_refused():
    with pytest.raises(ValueError, match="slices is 1 to the number of latents, 12; got 13"):
        models.build("ms2020", channels=8, latents=12, slices=13)
    for option in ({"support": -1}, {"width": 1}, {"size": 0}):
        with pytest.raises(ValueError, match="support is 0 or more, width 2 or more and size 1"):
            models.build("ms2020", **{**SMALL["ms2020"], **option})
    with pytest.raises(ValueError, match="latents are 5 or more, one a slice; got 4"):
        models.build("gained-channelwise", channels=8, latents=4)
