"""Composition of entropy coders: any order, quantization and rate adaptation work together."""

from __future__ import annotations

import itertools
import runpy

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import ROOT, SMALL, cropped, random_model
from tfc_models import models
from tfc_models.entropy import (
    Checkerboard,
    ContextPrediction,
    FixedRate,
    Gains,
    HyperPrediction,
    JointSlice,
    LatentCoder,
    MixtureRounding,
    Parallel,
    Raster,
    Rounding,
    SeparateSlice,
    UniversalQuantization,
)
from tfc_models.layers import Chain, Conv2D, MaskedConv2D, relu
from tfc_models.models.elic2022 import slice_widths

LATENTS = 6


def conv(filters, size, name, last=False, **options):
    return Conv2D(
        filters, size, activation=None if last else relu, kernel="plain", name=name, **options
    )


def joint(channels, order, first, components=1):
    spatial_context = None
    if type(order) is not Parallel:
        spatial_context = MaskedConv2D(8, order.mask(3), kernel="plain", name="near")
    channel_context = None if first else Chain([conv(8, 3, "conv", last=True)], name="across")
    outputs = channels * (2 if components == 1 else 3 * components)
    return JointSlice(
        [conv(8, 1, "mix"), conv(outputs, 1, "heads", True)],
        spatial_context,
        order,
        channel_context,
        components=components,
    )


def separate(channels):
    chains = [
        Chain([conv(8, 3, "conv0"), conv(channels, 3, "conv1", last=True)], name=name)
        for name in ("mean", "scale", "correction")
    ]
    return SeparateSlice(*chains)


PREDICTIONS = {
    "hyperprior": lambda: None,
    "checkerboard": lambda: [joint(LATENTS, Checkerboard(), True)],
    "raster": lambda: [joint(LATENTS, Raster(3), True)],
    "slices": lambda: [joint(2, Parallel(), True), joint(4, Parallel(), False)],
    "checkerboard in slices": lambda: [
        joint(2, Checkerboard(), True),
        joint(4, Checkerboard(), False),
    ],
    "raster in slices": lambda: [joint(2, Raster(3), True), joint(4, Raster(3), False)],
    "mixed slices": lambda: [separate(2), joint(1, Checkerboard(), False), separate(3)],
}
MIXTURES = {
    "raster": lambda: [joint(LATENTS, Raster(3), True, 3)],
    "checkerboard in slices": lambda: [
        joint(2, Checkerboard(), True, 2),
        joint(4, Checkerboard(), False, 2),
    ],
}
RATES = {"one rate": FixedRate, "gains": lambda: Gains(LATENTS, 4, 3)}


def coder_of(prediction, quantization, rates):
    tf.keras.utils.set_random_seed(0)
    features = [conv(8, 3, "conv0", up=2), conv(8, 3, "conv1", up=2)]
    slices = (MIXTURES if quantization == "mixture" else PREDICTIONS)[prediction]()
    if slices is None:
        features.append(conv(2 * LATENTS, 1, "heads", last=True))
        built = HyperPrediction(Chain(features, name="hyper_synthesis"))
    else:
        built = ContextPrediction(Chain(features, name="hyper_synthesis"), slices)
    if quantization == "universal":
        quantizer = UniversalQuantization()
    elif quantization == "mixture":
        quantizer = MixtureRounding(built.components, "mixed")
    else:
        quantizer = Rounding("mixed", around_means="raster" not in prediction)
    analysis = Chain([conv(4, 3, "conv0", down=2), conv(4, 3, "conv1", True, down=2)], name="h_a")
    return LatentCoder(analysis, 4, built, quantizer, RATES[rates]())


def cases():
    """Yields all compositions. Without --exhaustive, each prediction has one kind of rates."""
    for i, (prediction, rates) in enumerate(itertools.product(PREDICTIONS, RATES)):
        marks = [pytest.mark.exhaustive] if i % 4 in (1, 2) else []
        yield pytest.param(prediction, "rounding", rates, marks=marks)
        if "raster" not in prediction:
            yield pytest.param(prediction, "universal", rates, marks=marks)
    for prediction in MIXTURES:
        yield prediction, "mixture", "one rate"


@pytest.mark.parametrize(("prediction", "quantization", "rates"), cases())
def test_every_composition_decodes_what_it_encodes(prediction, quantization, rates):
    coder = coder_of(prediction, quantization, rates)
    y = tf.random.stateless_normal([2, 5, 6, LATENTS], [1, 2]) * 3.0
    rate = None if rates == "one rate" else tf.constant([10.0, 80.0])
    y_hat, bits = coder(y, training=True, rate=rate)
    assert y_hat.shape == y.shape and all(np.all(np.isfinite(v)) for v in bits.values())
    coder.freeze(y=y, rate=rate)
    estimate = coder(y, rate=rate)
    strings, expected = coder.encode(y, rate)
    np.testing.assert_array_equal(estimate[0], expected)
    decoded = coder.decompress(strings, tf.shape(y)[1:3], rate)
    np.testing.assert_array_equal(decoded, expected)
    limit = (1.1 if quantization == "universal" else 0.51) + 0.5 * ("mixed" in prediction)
    assert np.abs(decoded - y).max() <= limit
    for i in range(2):
        size = len(strings[1].numpy()[i])
        assert size <= 1.01 * float(estimate[1]["y"][i]) / 8 + 16
    symbols = coder.symbols_of(
        y, coder.parameters_for(y, tf.round(coder.hyper_latents(y, rate)), rate)
    )
    again, _ = coder.encode_symbols(symbols, tf.round(coder.hyper_latents(y, rate)), rate)
    assert [s.numpy().tolist() for s in again] == [s.numpy().tolist() for s in strings]


def test_a_slice_depends_only_on_earlier_slices_and_its_first_checkerboard_half():
    coder = coder_of("checkerboard in slices", "rounding", "one rate")
    y = tf.random.stateless_normal([1, 8, 8, LATENTS], [1, 2]) * 3.0
    z = tf.round(coder.hyper_latents(y))

    def changed(row, column, channel):
        other = y.numpy()
        other[0, row, column, channel] += 8.0
        pairs = (coder.parameters_for(tf.constant(v), z) for v in (y, other))
        first, second = (np.abs(tf.stack(params[:2])) for params in pairs)
        return (np.abs(first - second)[:, 0] > 0).any(0)

    of_first_half = changed(4, 4, 0)
    assert of_first_half[..., 2:].any()  # the next slice
    own = np.argwhere(of_first_half[..., :2].any(-1))
    assert {tuple(p) for p in own} <= {(3, 4), (5, 4), (4, 3), (4, 5)} and len(own)
    assert not changed(4, 5, 0)[..., :2].any()  # the second half of the first slice
    assert not changed(4, 4, 5)[..., :2].any()  # no slice reads a later one
    masks = coder.decoding_groups(tf.constant([8, 8]))
    np.testing.assert_array_equal(sum(masks), np.ones([1, 8, 8, LATENTS]))
    assert len(masks) == 4


def test_features_are_the_same_in_tiles():
    """Residual blocks of small kernels need a larger overlap than the default."""
    model = random_model("cheng2020-anchor")
    model.freeze()
    prediction = model.coder.prediction
    z = tf.round(tf.random.stateless_normal([1, 20, 40, 8], [1, 2]) * 4.0)
    shape = tf.constant([80, 160])
    whole = prediction.features(tf.concat([z, z], 0), shape)  # Batches are not split into tiles.
    np.testing.assert_array_equal(prediction.features(z, shape)[0], whole[0][:1])


def test_initial_scales_follow_the_order_of_slices():
    coder = coder_of("slices", "rounding", "one rate")
    coder(tf.zeros([1, 8, 8, LATENTS]))
    coder.start_scales(np.arange(10.0, 10.0 + LATENTS))
    first, second = (part.scale_head.bias.numpy() for part in coder.prediction.slices)
    np.testing.assert_allclose(first, [-1.0, -0.875, 0.0, 0.0])
    np.testing.assert_allclose(second[:4], [-0.75, -0.625, -0.5, -0.375])
    np.testing.assert_array_equal(second[4:], np.zeros(4))


@pytest.mark.parametrize(
    ("quantization", "prediction", "message"),
    [
        (Rounding(), "raster", "a raster order needs"),
        (UniversalQuantization, "raster", "a raster order needs"),
    ],
)
def test_incompatible_parts_are_refused(quantization, prediction, message):
    quantization = quantization() if callable(quantization) else quantization
    features = Chain([conv(8, 3, "conv0", up=2), conv(8, 3, "conv1", up=2)], name="features")
    built = ContextPrediction(features, PREDICTIONS[prediction]())
    with pytest.raises(ValueError, match=message):
        LatentCoder(Chain([conv(4, 3, "conv0", down=4)], name="h_a"), 4, built, quantization)
    with pytest.raises(ValueError, match="if its order is not parallel"):
        JointSlice([conv(8, 1, "heads")], order=Checkerboard())
    spatial_context = MaskedConv2D(8, Checkerboard.mask(3), kernel="plain", name="near")
    with pytest.raises(ValueError, match="must be that of its order"):
        JointSlice([conv(8, 1, "heads")], spatial_context, Raster(3))
    with pytest.raises(ValueError, match="from 1×1 convolutions"):
        JointSlice([conv(8, 3, "heads")], spatial_context, Checkerboard())
    scales = HyperPrediction(Chain([conv(6, 5, "conv0", up=4)], name="h_s"), zero_mean=True)
    analysis = Chain([conv(4, 3, "conv0", down=4)], name="h_a")
    with pytest.raises(ValueError, match="needs a prediction with means"):
        LatentCoder(analysis, 4, scales, Rounding(), Gains(6, 4, 3))
    with pytest.raises(ValueError, match="mixtures of 1, the quantization of 2"):
        LatentCoder(analysis, 4, HyperPrediction(scales.networks.chains[0]), MixtureRounding(2))
    mixed = ContextPrediction(features, MIXTURES["checkerboard in slices"]())
    with pytest.raises(ValueError, match="mixtures have one rate"):
        LatentCoder(analysis, 4, mixed, MixtureRounding(2), Gains(6, 4, 3))
    with pytest.raises(ValueError, match="one number of components"):
        ContextPrediction(
            features, [joint(2, Parallel(), True), joint(4, Parallel(), False, components=2)]
        )
    with pytest.raises(ValueError, match="needs a prediction with means"):
        LatentCoder(analysis, 4, scales, UniversalQuantization())
    halved = Chain([conv(4, 3, "conv0", down=2)], name="h_a")
    with pytest.raises(ValueError, match="divides height and width by 4; this one by 2"):
        LatentCoder(halved, 4, scales, Rounding())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("elic2022", 33.6), ("cheng2020-anchor", 26.6), ("cheng2020-attn", 29.6)],
)
def test_models_have_the_parameter_counts_of_their_papers(name, millions):
    """Published implementations have 33.8, 26.6 and 29.6 million parameters."""
    count = sum(int(np.prod(v.shape)) for v in models.build(name).trainable_variables)
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_slices_of_elic_are_uneven():
    assert slice_widths(320) == [16, 16, 32, 64, 192]
    assert slice_widths(192) == [16, 16, 32, 64, 64]
    assert slice_widths(12) == [1, 1, 1, 3, 6]
    with pytest.raises(ValueError, match="latents are 5 or more"):
        slice_widths(4)


@pytest.mark.sampled("elic2022")
@pytest.mark.parametrize("name", ["elic2022", "cheng2020-anchor", "cheng2020-attn"])
def test_constructors_arguments_are_the_config(name):
    model = models.build(name, **SMALL[name], lmbda=0.02)
    assert model.config["lmbda"] == 0.02 and model.config["channels"] == 8
    again = models.build(name, **model.config)
    assert again.config == model.config
    state = random_model(name).state()
    again.assign_state({k: np.asarray(v) for k, v in state.items()})


def test_the_example_of_a_new_model_runs(tmp_path, capsys):
    Image.fromarray(cropped(130, 140)).save(tmp_path / "image.png")
    example = runpy.run_path(str(ROOT / "examples" / "new_model.py"))
    example["main"](str(tmp_path / "image.png"), str(tmp_path / "image.tfcm"), steps=40)
    printed = capsys.readouterr().out
    assert (tmp_path / "image.tfcm").stat().st_size == int(printed.split()[0])
    assert float(printed.split()[-2]) > 15.0
