"""Critics: inputs, spectral norms and classification."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import cropped
from tfc_models.perceptual import (
    Belief,
    Pim,
    PimBands,
    PimBandsConfig,
    PimConfig,
)
from tfc_models.realism import (
    BeliefCritic,
    PatchCritic,
    SpectralConv2D,
    divergence_named,
)

PHOTO = cropped(96, 112)


def patches(count: int, seed: int, noisy: bool) -> tf.Tensor:
    """Returns 32×32 patches of a photo, with or without noise."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, [64, 80], (count, 2))
    found = np.stack([PHOTO[y : y + 32, x : x + 32] for y, x in corners]).astype(np.float32)
    return tf.constant(found + noisy * rng.normal(0, 40, found.shape).astype(np.float32))


def test_spectral_norm_becomes_1_and_gradients_pass_through_the_division():
    tf.keras.utils.set_random_seed(0)
    layer = SpectralConv2D(6, 3)
    inputs = tf.random.stateless_normal([2, 8, 8, 4], (1, 2))
    for _ in range(200):
        layer(inputs, training=True)
    gain = np.linalg.svd(layer._matrix().numpy(), compute_uv=False)[0]
    assert float(layer._gain()) == pytest.approx(gain, rel=1e-3)
    before = layer.direction.numpy()
    outputs = layer(inputs)
    np.testing.assert_array_equal(layer.direction, before)
    # The output does not depend on the scale of the kernel.
    layer.kernel.assign(7.0 * layer.kernel)
    np.testing.assert_allclose(layer(inputs), outputs, rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(inputs)))
    along = tf.reduce_sum(tape.gradient(loss, layer.kernel) * layer.kernel)
    assert abs(float(along)) < 1e-3 * float(loss)


def test_a_patch_critic_reads_latents_without_gradients_to_them():
    tf.keras.utils.set_random_seed(0)
    critic = PatchCritic((8, 12, 16))
    images = patches(2, 0, False)[:, :30, :27]
    latents = tf.Variable(tf.random.stateless_normal([2, 2, 2, 5], (3, 4)))
    with tf.GradientTape() as tape:
        tape.watch(images)
        numbers = critic(images, latents)
    assert numbers.shape == [2, 8, 7]
    of_images, of_latents = tape.gradient(numbers, [images, latents])
    assert of_latents is None and np.any(of_images.numpy() != 0)
    assert not np.allclose(critic(images, -latents), numbers, atol=1e-4)
    plain = PatchCritic((8,), conditional=False)
    assert plain(images).shape == [2, 30, 27]
    with pytest.raises(ValueError, match="a conditional critic reads latents"):
        critic(images)
    with pytest.raises(ValueError, match="does not read latents"):
        plain(images, latents)
    with pytest.raises(ValueError, match="a layer or more"):
        PatchCritic(())


def single_gaussians() -> PimBands:
    return PimBands(PimBandsConfig(frontend="laplacian", width=4, hidden=6))


def mixtures() -> Pim:
    return Pim(PimConfig(frontend="laplacian", width=4, dimensions=4, components=3))


@pytest.mark.parametrize(("encoder", "variables"), [(single_gaussians, 6), (mixtures, 7)])
def test_a_belief_critic_does_not_train_its_encoder(encoder, variables):
    model = encoder()
    critic = BeliefCritic(model, hidden=5)
    numbers = critic(patches(2, 0, False))
    places = sum(side.shape[1] * side.shape[2] for side in model.features(patches(1, 0, False)))
    assert numbers.shape == [2, places]
    of_encoder = {id(v) for v in model.variables}
    assert not of_encoder & {id(v) for v in critic.variables}
    assert len(critic.trainable_variables) == model.band_count * variables


def test_a_belief_critic_does_not_depend_on_the_order_of_components():
    """Components exchanged in the last layer of the encoder leave the density unchanged."""
    tf.keras.utils.set_random_seed(0)
    model = PimBands(PimBandsConfig(frontend="laplacian", width=4, hidden=6, components=3))
    critic, images = BeliefCritic(model, hidden=5), patches(2, 0, False)
    before = critic(images).numpy()
    columns = [*range(20, 30), *range(10), *range(10, 20), 32, 30, 31]
    for network in model._marginals:
        for variable in network.layers[-1].variables:
            variable.assign(tf.gather(variable, columns, axis=-1))
    np.testing.assert_allclose(critic(images), before, rtol=1e-4, atol=1e-3 * before.std())


def test_a_belief_critic_reads_the_mixture_as_a_distribution():
    """Split components give the same mixture; moved components give another."""
    tf.keras.utils.set_random_seed(0)
    critic, draw = BeliefCritic(mixtures(), hidden=5), np.random.default_rng(0)
    means = draw.normal(size=[2, 4, 4, 3, 4]).astype(np.float32)
    logits = draw.normal(size=[2, 4, 4, 3]).astype(np.float32)
    halves = logits - np.float32([np.log(2.0), 0.0, 0.0])
    split = Belief(
        tf.constant(np.concatenate([means, means[..., :1, :]], -2)),
        tf.constant(np.concatenate([halves, halves[..., :1]], -1)),
    )
    belief = Belief(tf.constant(means), tf.constant(logits))
    center = belief.mean()[..., None, :]
    wider = Belief(center + 2.0 * (belief.means - center), belief.logits)
    numbers = [critic.of([b] * 3).numpy() for b in (belief, split, wider)]
    np.testing.assert_allclose(numbers[1], numbers[0], atol=1e-4)
    assert np.abs(numbers[2] - numbers[0]).mean() > 0.1 * numbers[0].std()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("patch", "gan"), ("patch", "pearson"), ("belief", "gan")],
)
def test_critics_learn_to_distinguish_noisy_images(kind, name):
    """The bound rises from its value for equal sets, also on patches held out."""
    tf.keras.utils.set_random_seed(0)
    if kind == "patch":
        critic = PatchCritic((12, 16), conditional=False)
    else:
        critic = BeliefCritic(mixtures(), hidden=8, points=3)
    divergence = divergence_named(name)
    optimizer = tf.keras.optimizers.legacy.Adam(5e-3)

    @tf.function
    def step(real: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            bound = divergence.bound(critic(real, training=True), critic(other, training=True))
            loss = -bound
        gradients = tape.gradient(loss, critic.trainable_variables)
        optimizer.apply_gradients(zip(gradients, critic.trainable_variables))
        return bound

    for i in range(70):
        step(patches(8, 2 * i, False), patches(8, 2 * i + 1, True))
    held = [
        divergence.bound(critic(patches(24, 999, b)), critic(patches(24, 998, True)))
        for b in (False, True)
    ]
    assert float(held[0]) > float(held[1]) + 0.05
