"""Properties of every registered model."""

from __future__ import annotations

import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GOLDEN, SMALL, cropped, golden_model, without_graphs
from tfc_models import inspect, models, zoo
from tfc_models.codec import Codec
from tfc_models.layers import pad_to_multiple, tiled
from tfc_models.zoo import files

ROOT = pathlib.Path(__file__).parents[2]
SIZES = [(1, 1), (7, 255), (255, 7), (261, 387)]


@functools.cache
def untrained(name: str) -> models.CompressionModel:
    """Returns a small model, for tests that do not change it."""
    return models.build(name, **SMALL[name])


def test_every_registered_model_is_on_the_list():
    assert sorted(SMALL) == models.names()
    assert len(OF_PAPERS) == 6
    for suffix in ("npz", "tfcm", "png"):
        assert sorted(path.stem for path in GOLDEN.glob(f"*.{suffix}")) == models.stable_names()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="mbt2018-mean"):
        models.build("mbt2019")


@pytest.mark.sampled
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images_of_any_size_decode_to_their_size(codec, size):
    image = cropped(*size)
    decoded = codec.decompress(codec.compress(image))
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (65, 70)], ids=str)
def test_training_and_evaluation_give_a_reconstruction_and_bits_of_each_example(model_name, size):
    model = untrained(model_name)
    images = tf.stack([cropped(*size), cropped(*size)])
    for training in (True, False):
        output = model(images, training=training)
        assert output.reconstruction.shape == images.shape
        assert set(output.bits) == set(model.coder.streams)
        for bits in output.bits.values():
            assert bits.shape == [2]
            assert np.all(bits.numpy() > 0)


def test_quantized_forward_pass_and_coding_give_the_same_latent_bit_for_bit(codec):
    check_that_coding_keeps_latents(codec, (66, 100))


@pytest.mark.sampled
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_coding_keeps_latents_of_unusual_sizes(codec, size):
    check_that_coding_keeps_latents(codec, size)


def check_that_coding_keeps_latents(codec, size) -> None:
    model = codec.model
    image = cropped(*size)
    batch = tf.constant(np.stack([image, image[::-1, ::-1]]))
    y = model.to_latents(pad_to_multiple(batch, models.STRIDE))
    forward, _ = model.coder(y, training=False)
    strings = model.coder.compress(y)
    decoded = model.coder.decompress(strings, tf.shape(y)[1:3])
    np.testing.assert_array_equal(forward.numpy(), decoded.numpy())
    encoded = model.coder.encode(y)
    np.testing.assert_array_equal(encoded[1].numpy(), decoded.numpy())


def test_real_size_matches_the_estimate_within_one_percent_and_16_bytes(codec):
    check_size_of_file(codec, (128, 192))


@pytest.mark.sampled
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_real_size_matches_the_estimate_for_unusual_sizes(codec, size):
    check_size_of_file(codec, size)


def check_size_of_file(codec, size) -> None:
    image = cropped(*size)
    data = codec.compress(image)
    bits = codec.model(tf.constant(image[None]), training=False).bits
    estimate = sum(float(part[0]) for part in bits.values()) / 8
    header = inspect(data)
    assert sum(header.stream_bytes) <= 1.01 * estimate + 16
    assert header.bytes_total - sum(header.stream_bytes) <= 40


@pytest.mark.sampled("gained-checkerboard")
def test_a_checkpoint_in_the_middle_of_training_saves_and_loads(model_name, tmp_path):
    def started():
        model = models.build(model_name, **SMALL[model_name])
        return model, tf.keras.optimizers.Adam(1e-3)

    model, optimizer = started()
    images = tf.constant(np.stack([cropped(64, 64), cropped(64, 64)[::-1]]), tf.float32)

    def step(model, optimizer):
        tf.random.set_seed(7)
        with tf.GradientTape() as tape:
            loss = model.losses_of(images, training=True)["loss"]
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return float(loss)

    step(model, optimizer)
    path = tf.train.Checkpoint(model=model, optimizer=optimizer).save(str(tmp_path / "ckpt"))
    expected = [step(model, optimizer) for _ in range(2)]
    restored, restored_optimizer = started()
    restored_optimizer.build(restored.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=restored, optimizer=restored_optimizer)
    checkpoint.restore(path).assert_consumed()
    assert [step(restored, restored_optimizer) for _ in range(2)] == pytest.approx(expected)


@pytest.mark.sampled("bls2017", "gained-checkerboard")
def test_training_improves_the_loss_and_a_frozen_model_refuses_it(model_name):
    tf.keras.utils.set_random_seed(0)
    model = models.build(model_name, **SMALL[model_name], lmbda=0.01)
    images = tf.constant(cropped(64, 64)[None], tf.float32)
    # Building a graph takes longer than a dozen eager steps.
    eager = model_name not in ("bls2017", "mbt2018-mean")
    optimizer = tf.keras.optimizers.Adam(2e-3)
    model.compile(optimizer=optimizer, run_eagerly=eager, jit_compile=False)
    dataset = tf.data.Dataset.from_tensors(images).repeat(12)

    def loss():
        # Evaluated at one rate: models of many rates draw a rate in every training step.
        return float(model.losses_of(images, training=False)["loss"])

    before = loss()
    model.fit(dataset, epochs=2, steps_per_epoch=6, verbose=0)
    assert loss() < before
    model.freeze()
    with pytest.raises(RuntimeError, match="does not train"):
        model(images, training=True)
    with pytest.raises(RuntimeError, match="does not train"):
        model.fit(dataset, epochs=1, steps_per_epoch=1, verbose=0)
    with pytest.raises(RuntimeError, match="does not take other weights"):
        model.assign_state(model.state())


@pytest.mark.sampled("gained-checkerboard")
def test_weights_that_are_not_finite_are_refused(model_name):
    model = models.build(model_name, **SMALL[model_name])
    name = next(k for k in model.state() if k.startswith("analysis/") and k.endswith("/bias"))
    state = {k: np.array(v) for k, v in model.state().items()}
    model.assign_state({**state, name: state[name] * np.nan})
    with pytest.raises(ValueError, match=name):
        Codec(model)
    broken = Codec(models.build(model_name, **SMALL[model_name]))
    bias = next(v for v in broken.model.analysis.variables if v.name.endswith("bias:0"))
    bias.assign(bias * np.nan)
    with without_graphs(), pytest.raises(ValueError, match="cannot be coded"):
        broken.compress(cropped(20, 20))


def test_every_variable_gets_a_gradient(model_name):
    model = untrained(model_name)
    with tf.GradientTape() as tape:
        loss = model.losses_of(tf.constant(cropped(64, 64)[None], tf.float32), training=True)[
            "loss"
        ]
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    assert [v.name for v, g in zip(variables, gradients) if g is None] == []


def distributions_and_quantizations():
    """Yields all pairs. Without --exhaustive, each distribution and quantization is in one."""
    for i, quantization in enumerate(("noise", "round", "mixed")):
        for j, distribution in enumerate(("gaussian", "laplace")):
            marks = [pytest.mark.exhaustive] if (i + j) % 2 else []
            yield pytest.param(distribution, quantization, marks=marks)


@pytest.mark.parametrize(("distribution", "quantization"), distributions_and_quantizations())
@pytest.mark.parametrize(
    "name", ["bmshj2018-hyperprior", "hific", "mbt2018-mean", "mbt2018", "ms2020", "elic2022"]
)
def test_hyperpriors_support_every_distribution_and_quantization(name, distribution, quantization):
    model = models.build(name, **SMALL[name], distribution=distribution, quantization=quantization)
    y = tf.random.stateless_normal([2, 5, 6, 12], [1, 2]) * 4
    y_hat, bits = model.coder(y, training=True)
    again, _ = model.coder(y, training=True)
    # Rounding is deterministic, noise is not.
    assert bool(tf.reduce_all(y_hat == again)) == (quantization != "noise")
    # Channel slices add a predicted residual correction.
    assert float(tf.reduce_max(tf.abs(y_hat - y))) <= (1.0001 if name == "ms2020" else 0.5001)
    assert np.all(bits["y"].numpy() > 0)


@pytest.mark.sampled("mbt2018-mean")
@pytest.mark.parametrize("name", ["bmshj2018-hyperprior", "mbt2018-mean", "mbt2018"])
def test_laplacian_latents_are_coded(name):
    model = models.build(name, **SMALL[name], distribution="laplace")
    codec = Codec(model)
    for size in SIZES:
        image = cropped(*size)
        data = codec.compress(image)
        assert codec.decompress(data).shape == image.shape
        bits = sum(float(b[0]) for b in model(image[None].astype(np.float32)).bits.values())
        assert len(data) <= 1.01 * bits / 8 + 16 + 40


def test_tiles_decode_to_the_whole_image(codec):
    """The image has three rows and three columns of tiles, the last ones incomplete."""
    model, tile = codec.model, 16  # latents; a codec's tiles have 64
    images = pad_to_multiple(tf.constant(cropped(560, 620)[None]), models.STRIDE)
    latents = tf.TensorSpec([None, None, model.latent_channels], tf.float32)
    y = model.to_latents(images)
    parts = tiled(model.to_latents, images, models.STRIDE, 1, latents, tile, model.halo)
    np.testing.assert_allclose(parts, y, atol=1e-4)
    whole = model.to_images(y)
    pixels = tf.TensorSpec([None, None, 3], tf.float32)
    parts = tiled(model.to_images, y, 1, models.STRIDE, pixels, tile, model.halo)
    # The feature maps of the synthesis are bfloat16.
    assert float(tf.reduce_mean(tf.abs(parts - whole))) < 0.01
    assert float(tf.reduce_max(tf.abs(parts - whole))) < 4.0


RELOAD = """
import json, sys
import tensorflow as tf
from tfc_models import register_ops
register_ops()
loaded = tf.saved_model.load(sys.argv[1])
data, image = open(sys.argv[2], "rb").read(), open(sys.argv[3], "rb").read()
files = loaded.signatures["serving_default"](image_bytes=tf.constant([image, image]))
files = files["bitstream_bytes"].numpy()
pngs = loaded.signatures["decompress"](bitstream_bytes=tf.constant([data, *files]))
pngs = pngs["image_bytes"].numpy()
for i, png in enumerate(pngs):
    open(f"{sys.argv[4]}/{i}.png", "wb").write(png)
open(f"{sys.argv[4]}/0.tfcm", "wb").write(files[0])
tensor = loaded.signatures["decompress_tensor"](bitstream_bytes=tf.constant(data))["image"]
pixels = tf.io.decode_png(image, 3)
again = loaded.signatures["compress_tensor"](image=pixels)["bitstream_bytes"].numpy()
rates = loaded.signatures.get("compress_at_quality")
sizes = rates and [len(file) for file in rates(
    image_bytes=tf.constant([image] * 3), quality=tf.constant([0, 50, 100])
)["bitstream_bytes"].numpy()]
print(json.dumps({
    "sizes": sizes,
    "tfc": "tensorflow_compression" in sys.modules,
    "tensor": bool(tf.reduce_all(tensor == tf.io.decode_png(pngs[0]))),
    "same": bool(again == files[0] == files[1]),
    "signatures": sorted(loaded.signatures),
}))
"""


@pytest.mark.sampled("gained-stem4")
def test_a_saved_model_works_in_a_process_that_only_registered_the_op_library(
    codec, model_name, exported, tmp_path
):
    image = cropped(97, 130)
    Image.fromarray(image).save(tmp_path / "picture.png")
    data = codec.compress(image)
    (tmp_path / "file.tfcm").write_bytes(data)
    exported(model_name, tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", RELOAD, "1", "file.tfcm", "picture.png", "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    output = json.loads(run.stdout)
    sizes = output.pop("sizes")
    if codec.many_rates:
        assert sizes == [len(codec.compress(image, quality)) for quality in (0, 50, 100)]
        output["signatures"].remove("compress_at_quality")
    else:
        assert sizes is None
    assert output == {
        "tfc": False,
        "tensor": True,
        "same": True,
        "signatures": [
            "compress",
            "compress_tensor",
            "decompress",
            "decompress_tensor",
            "serving_default",
        ],
    }
    decoded = codec.decompress(data).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "0.png")).astype(int) - decoded).max() <= 1
    expected_image = codec.decompress((tmp_path / "0.tfcm").read_bytes()).astype(int)
    assert (
        np.abs(np.asarray(Image.open(tmp_path / "1.png")).astype(int) - expected_image).max() <= 1
    )


def test_the_golden_file_decodes_to_its_stored_image(codec, model_name):
    if model_name not in models.stable_names():
        pytest.skip(f"{model_name} is not stable: it has no golden file.")
    data = (GOLDEN / f"{model_name}.tfcm").read_bytes()
    expected = np.asarray(Image.open(GOLDEN / f"{model_name}.png")).astype(int)
    # decompress compares the latents with the fingerprint in the file, so they are exact.
    decoded = codec.decompress(data).astype(int)
    assert np.abs(decoded - expected).max() <= 1


OF_PAPERS = sorted(path.stem for path in (GOLDEN / "gdn").glob("*.tfcm"))


@pytest.mark.parametrize("name", OF_PAPERS)
def test_golden_files_of_the_papers_form_of_gdn_decode_to_their_stored_images(name):
    """The older golden files use GDN1."""
    weights = files.read(GOLDEN / "gdn" / f"{name}.npz")
    assert weights.config["gdn"] == "gdn"
    assert files.read(GOLDEN / f"{name}.npz").config["gdn"] == "gdn1"
    model = zoo.build_model(weights)
    model.set_bfloat16("off")
    data = (GOLDEN / "gdn" / f"{name}.tfcm").read_bytes()
    expected = np.asarray(Image.open(GOLDEN / "gdn" / f"{name}.png")).astype(int)
    with without_graphs():
        decoded = Codec(model).decompress(data).astype(int)
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.sampled("elic2022", "gained-checkerboard")
def test_a_weights_file_gives_the_same_codec(model_name, tmp_path):
    model = models.build(model_name, **SMALL[model_name])
    codec = Codec(model)
    files.save(model, tmp_path / "weights.npz")
    loaded = zoo.build_model(files.read(tmp_path / "weights.npz"))
    loaded.set_bfloat16(model.bfloat16)
    again = Codec(loaded)
    assert again.digest == codec.digest
    with without_graphs():
        data = codec.compress(cropped(40, 50))
        np.testing.assert_array_equal(codec.decompress(data), again.decompress(data))


@pytest.mark.sampled("mbt2018-universal")
def test_images_agree_between_machines_with_and_without_bfloat16(codec, model_name):
    """Feature maps are rounded alike; only the order of sums may change a pixel by a grey level."""
    if model_name not in models.stable_names():
        pytest.skip("deep networks with random weights amplify a sum's last bit")
    model = golden_model(model_name)
    model.set_bfloat16("on")
    native = Codec(model)
    try:
        data = native.compress(cropped(300, 400))
    except tf.errors.OpError:
        pytest.skip("this processor has no bfloat16 convolutions to compare with")
    images = [one.decompress(data).astype(int) for one in (codec, native)]
    difference = np.abs(images[0] - images[1])
    assert np.mean(difference > 0) < 0.01
    assert np.mean(difference > 1) < 1e-4 and difference.max() <= 2
