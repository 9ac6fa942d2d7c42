"""Layers: convolutions, normalization, padding, precision."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc

from tests.conftest import SMALL
from tfc_models import models
from tfc_models.layers import (
    GDN,
    Chain,
    ChannelNorm,
    Conv2D,
    Residual,
    Upsampling,
    bfloat16_pays,
    compute_dtype,
    convolved,
    leaky_relu,
    pad_to_multiple,
    precision,
    relu,
)
from tfc_models.layers.conv import fourier_basis
from tfc_models.layers.precision import bfloat16_instructions
from tfc_models.training import config as configs


@pytest.mark.parametrize(
    ("size", "stride"),
    [(5, 2), (9, 4), (3, 2), (4, 2), (7, 3), (8, 4), (13, 8), (2, 2), (3, 3), (6, 5), (16, 2)],
)
def test_polyphase_upsampling_equals_the_transposed_convolution(size, stride):
    maps = tf.random.stateless_normal([2, 6, 7, 4], [1, 2])
    kernel = tf.random.stateless_normal([size, size, 4, 3], [3, 4])
    plan = Upsampling.of(size, stride)
    phases = convolved(maps, plan.kernel(kernel), 1, plan.padding)
    expected = tf.nn.conv2d_transpose(
        maps, tf.transpose(kernel, [0, 1, 3, 2]), [2, 6 * stride, 7 * stride, 3], stride, "SAME"
    )
    np.testing.assert_allclose(plan.images(phases), expected, atol=1e-4)


@pytest.mark.parametrize(("size", "stride", "taps"), [(5, 2, 3), (9, 4, 3), (4, 2, 2), (13, 8, 2)])
def test_upsampling_multiplies_by_few_zeros(size, stride, taps):
    kernel = Upsampling.of(size, stride).kernel(tf.zeros([size, size, 8, 6]))
    assert kernel.shape == [taps, taps, 8, 6 * stride**2]


@pytest.mark.parametrize("kernel", ["rdft", "plain"])
@pytest.mark.parametrize(("down", "up"), [(1, 1), (2, 1), (1, 2)])
def test_freezing_a_convolution_changes_no_output(kernel, down, up):
    layer = Conv2D(6, 5, down=down, up=up, kernel=kernel, activation=tf.nn.relu)
    maps = tf.random.stateless_normal([1, 8, 10, 4], [1, 2])
    before = layer(maps)
    assert before.shape == [1, 8 * up // down, 10 * up // down, 6]
    layer.freeze()
    assert layer.trainable_variables == []
    np.testing.assert_allclose(layer(maps), before, atol=1e-5)
    with pytest.raises(RuntimeError, match="frozen"):
        layer.kernel  # noqa: B018


@pytest.mark.parametrize("kernel", ["rdft", "plain"])
def test_states_of_convolutions_load_into_both_parameterizations(kernel):
    source, target = Conv2D(6, 5, kernel="rdft"), Conv2D(6, 5, kernel=kernel)
    maps = tf.random.stateless_normal([1, 8, 8, 4], [1, 2])
    expected = source(maps)
    target(maps)
    target.assign_state(source.state())
    np.testing.assert_allclose(target(maps), expected, atol=1e-5)


def test_an_adam_step_on_the_rdft_differs_from_one_on_the_kernel():
    layers = [Conv2D(4, 5, kernel=kernel, use_bias=False) for kernel in ("rdft", "plain")]
    maps = tf.random.stateless_normal([1, 8, 8, 3], [1, 2])
    for layer in layers:
        layer(maps)
    layers[1].assign_state(layers[0].state())
    np.testing.assert_allclose(layers[0].kernel, layers[1].kernel, atol=1e-5)
    for layer in layers:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(maps)))
        variables = layer.trainable_variables
        gradients = tape.gradient(loss, variables)
        tf.keras.optimizers.Adam(0.01).apply_gradients(zip(gradients, variables))
    assert float(tf.reduce_max(tf.abs(layers[0].kernel - layers[1].kernel))) > 1e-3


@pytest.mark.parametrize("arguments", [{"down": 2, "up": 2}, {"kernel": "fft"}])
def test_invalid_arguments_of_convolutions_are_refused(arguments):
    with pytest.raises(ValueError, match=r"down or up|rdft, plain"):
        Conv2D(4, 5, **arguments)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("form", "alpha", "epsilon"), [("gdn", 2, 0.5), ("gdn1", 1, 1)])
def test_gdn_equals_tfcs_gdn_in_both_forms_also_when_frozen(form, alpha, epsilon, inverse):
    actual = GDN(form, inverse=inverse)
    reference = tfc.GDN(inverse=inverse, alpha_parameter=alpha, epsilon_parameter=epsilon)
    assert isinstance(actual, tfc.GDN)
    maps = tf.random.stateless_normal([2, 4, 5, 6], [1, 2])
    gamma = tf.random.stateless_uniform([6, 6], [3, 4])
    actual(maps)
    reference(maps)
    beta = tf.linspace(0.5, 2.0, 6)
    actual.assign_state({"beta": beta, "gamma": gamma})
    reference.beta_parameter.variable.assign(tfc.GDNParameter(beta, minimum=1e-6).variable)
    reference.gamma_parameter.variable.assign(tfc.GDNParameter(gamma, minimum=0).variable)
    expected = reference(maps)
    np.testing.assert_allclose(actual(maps), expected, atol=1e-5)
    half = actual(tf.cast(maps, tf.bfloat16))
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half, tf.float32), expected, rtol=0.03, atol=0.03)
    actual.freeze()
    assert actual.trainable_variables == []
    np.testing.assert_allclose(actual(maps), expected, atol=1e-5)


def test_the_papers_form_of_gdn_is_the_default_of_layers_models_and_their_configs():
    """The 2017 and 2018 papers use squares and a root; tfc's default uses neither."""
    assert GDN().form == "gdn"
    papers = [name for name in SMALL if name.startswith(("bls2017", "bmshj2018", "mbt2018"))]
    assert len(papers) == 6
    for name in papers:
        assert models.build(name, **SMALL[name]).config["gdn"] == "gdn"
        config = configs.read(name, [])
        assert config.arguments["gdn"] == "gdn"


def some_norm(activation=None) -> ChannelNorm:
    norm = ChannelNorm(activation)
    norm.build([None, None, None, 6])
    norm.assign_state({"scale": np.linspace(0.5, 2.0, 6), "offset": np.linspace(-1.0, 1.0, 6)})
    return norm


def normalized(maps: np.ndarray) -> np.ndarray:
    """Returns the normalization of each pixel, computed by NumPy."""
    out = np.empty(maps.shape)
    for place in np.ndindex(maps.shape[:3]):
        pixel = maps[place].astype(np.float64)
        out[place] = (pixel - pixel.mean()) / np.sqrt(np.var(pixel, ddof=1) + 1e-3)
    return out * np.linspace(0.5, 2.0, 6) + np.linspace(-1.0, 1.0, 6)


@pytest.mark.parametrize("activation", [None, relu])
def test_channel_norm_equals_numpy_also_when_frozen(activation):
    norm = some_norm(activation)
    maps = np.random.default_rng(0).normal(size=[2, 3, 5, 6]) * 3.0 + 7.0
    # Variances near 0 and of 0, where ε matters.
    maps[0, 0, 0] *= 1e-3
    maps[0, 0, 1] = 4.0
    maps = maps.astype(np.float32)
    expected = normalized(maps)
    expected = expected if activation is None else np.maximum(expected, 0.0)
    got = norm(maps)
    np.testing.assert_allclose(got, expected, atol=2e-4)
    norm.freeze()
    assert norm.trainable_variables == []
    np.testing.assert_array_equal(norm(maps), got)


def test_statistics_of_channel_norm_are_float32_in_every_dtype():
    # Beside a mean of 1000, bfloat16 cannot represent a deviation of 8.
    maps = np.random.default_rng(0).integers(-2, 3, [1, 4, 4, 6]) * 8.0 + 1024.0
    half = tf.cast(maps, tf.bfloat16)
    got = some_norm()(half)
    assert got.dtype == tf.bfloat16
    expected = normalized(tf.cast(half, tf.float32).numpy())
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, rtol=2**-8, atol=1e-3)


def test_channel_norm_gives_the_same_values_in_a_tile_and_in_the_whole_image():
    norm, maps = some_norm(), tf.random.stateless_normal([1, 8, 8, 6], [1, 2])
    np.testing.assert_allclose(norm(maps)[:, 2:5, 3:], norm(maps[:, 2:5, 3:]), atol=1e-6)


def test_channel_norm_refuses_a_single_channel():
    with pytest.raises(ValueError, match="two channels"):
        ChannelNorm()(tf.zeros([1, 2, 2, 1]))


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_residual_layers_add_their_input_also_when_nested(dtype):
    inner = [
        Residual([Conv2D(6, 3, name="conv"), ChannelNorm(name="n")], name=f"r{i}") for i in "ab"
    ]
    outer = Residual(inner, name="all")
    maps = tf.cast(tf.random.stateless_normal([1, 5, 4, 6], [1, 2]), dtype)
    before = outer(maps)
    assert before.dtype == dtype
    within = maps
    for residual in inner:
        within = within + residual.layers[1](residual.layers[0](within))
    np.testing.assert_array_equal(before, maps + within)
    state = outer.state()
    assert len(state) == 8 and {"ra/conv/kernel", "rb/n/offset"} <= set(state)
    fresh = [
        Residual([Conv2D(6, 3, name="conv"), ChannelNorm(name="n")], name=f"r{i}") for i in "ab"
    ]
    other = Residual(fresh, name="all")
    other(maps)
    other.assign_state(state)
    other.multiply_in_float32 = True
    assert other.multiply_in_float32 and fresh[1].layers[0].multiply_in_float32
    other.freeze()
    assert other.trainable_variables == []
    tolerance = 1e-5 if dtype == tf.float32 else 0.1
    np.testing.assert_allclose(
        tf.cast(other(maps), tf.float32), tf.cast(before, tf.float32), atol=tolerance
    )


def test_a_chain_computes_in_the_dtype_of_its_input():
    chain = Chain([Conv2D(4, 3), GDN(), Conv2D(2, 5, up=2)], name="chain")
    maps = tf.random.stateless_normal([1, 4, 4, 3], [1, 2])
    assert chain(maps).dtype == tf.float32
    assert chain(tf.cast(maps, tf.bfloat16)).dtype == tf.bfloat16
    assert chain(maps).dtype == tf.float32


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 3)])
def test_padding_repeats_the_border(height, width, known):
    maps = tf.random.stateless_normal([1, height, width, 2], [1, 2]).numpy()
    size = (height, width) if known else (None, None)
    traced = tf.function(lambda x: pad_to_multiple(x, 4), [tf.TensorSpec([1, *size, 2])])
    padded = traced(maps).numpy()
    assert padded.shape == (1, -(-height // 4) * 4, -(-width // 4) * 4, 2)
    expected = np.pad(maps, [(0, 0), (0, -height % 4), (0, -width % 4), (0, 0)], mode="edge")
    np.testing.assert_array_equal(padded, expected)


def test_the_bfloat16_switch():
    assert compute_dtype("on") == tf.bfloat16
    assert compute_dtype("off") == tf.float32
    assert compute_dtype("auto") == (tf.bfloat16 if bfloat16_pays() else tf.float32)
    with pytest.raises(ValueError, match="on, off, auto"):
        compute_dtype("yes")


NATIVE = "processor: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n"
BOTH = {"avx512_bf16", "amx_bf16"}


@pytest.mark.parametrize(
    ("cpuinfo", "environment", "expected"),
    [
        (NATIVE, {}, BOTH),
        (NATIVE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, BOTH),
        (NATIVE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, {"avx512_bf16"}),
        (NATIVE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, set()),
        (NATIVE, {"TF_ENABLE_ONEDNN_OPTS": "0"}, set()),
        ("flags : fpu avx512f amx_bf16", {}, {"amx_bf16"}),
        ("flags : fpu avx512f avx512_bf16", {}, {"avx512_bf16"}),
        ("flags : fpu avx512f", {}, set()),
        ("", {}, set()),
    ],
)
def test_auto_depends_on_the_machine_and_its_settings_and_not_on_time(
    cpuinfo, environment, expected
):
    assert bfloat16_instructions(cpuinfo, environment) == expected


@pytest.mark.parametrize(("flags", "setting"), [("amx_bf16", "on"), ("avx512_bf16", "off")])
def test_gradients_are_in_bfloat16_only_where_they_are_faster(flags, setting, monkeypatch):
    monkeypatch.setattr(precision, "_cpuinfo", lambda: f"flags : {flags}")
    monkeypatch.setattr(precision, "bfloat16_pays", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert precision.setting_for_gradients("auto") == setting
    assert precision.setting_for_gradients("on") == "on"
    assert precision.setting_for_gradients("off") == "off"


@pytest.mark.parametrize("isa", ["SSE41", "AVX2"])
def test_a_processor_without_bfloat16_silently_gets_float32(isa):
    """oneDNN raises an error for bfloat16 convolutions there; "auto" must detect it."""
    run = subprocess.run(
        [sys.executable, "-c", "from tfc_models.layers import compute_dtype as d; print(d().name)"],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "float32"


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("form", "alpha", "epsilon"), [("gdn", 2, 0.5), ("gdn1", 1, 1)])
def test_the_gradients_of_both_forms_of_gdn_are_those_of_tfc(form, alpha, epsilon, inverse):
    tf.keras.utils.set_random_seed(1)
    actual = GDN(form, inverse=inverse)
    expected = tfc.GDN(inverse=inverse, alpha_parameter=alpha, epsilon_parameter=epsilon)
    x = tf.random.normal([2, 5, 6, 7]) * 3.0
    wanted = tf.random.normal(x.shape)
    gradients = []
    for layer in (actual, expected):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        gradients.append(tape.gradient(y, [x, *layer.trainable_variables], wanted))
    for mine, other in zip(*gradients):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_gradient_of_the_leaky_relu(dtype):
    x = tf.constant([-4.0, -0.5, 0.5, 4.0], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = leaky_relu(x)
    np.testing.assert_array_equal(tf.cast(y, tf.float32), [-0.5, -0.0625, 0.5, 4.0])
    np.testing.assert_array_equal(
        tf.cast(tape.gradient(y, x), tf.float32), [0.125, 0.125, 1.0, 1.0]
    )


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_the_fourier_basis_is_orthonormal_and_fourier(size):
    basis = fourier_basis(size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size**2), atol=1e-6)
    # The spectrum of each row is one frequency and its negative.
    power = np.abs(np.fft.fft2(basis.reshape(-1, size, size))) ** 2
    power += np.roll(power[:, ::-1, ::-1], (1, 1), (1, 2))
    assert (np.sum(power > 1e-4, axis=(1, 2)) <= 2).all()
