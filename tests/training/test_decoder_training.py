"""Training of decoders that replace a model's synthesis."""

from __future__ import annotations

import csv
import dataclasses
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GOLDEN, completed, cropped, golden_codec, golden_model
from tfc_models.codec import Codec
from tfc_models.decoders import ReplacementDecoder, decoder_file, narrowed_state, widths_of
from tfc_models.training import decoder, run_identity
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.zoo import files

NAME = "gained-checkerboard"
BASE = GOLDEN / f"{NAME}.npz"


def build_trainer(**options) -> decoder.DecoderTrainer:
    settings = {"model": NAME, "steps": 10, "base": str(BASE), "crop": 64, "bfloat16": "off"}
    config = DecoderTraining(**{**settings, **options})
    tf.keras.utils.set_random_seed(config.seed)
    return decoder.build_trainer(config)


@pytest.fixture(scope="module")
def batch() -> tf.Tensor:
    pixels = cropped(64, 256)
    return tf.constant(np.stack([pixels[:, i * 64 : i * 64 + 64] for i in range(4)]))


def test_training_lowers_the_loss_and_changes_no_file(batch, tmp_path):
    image, codec = cropped(64, 256), golden_codec(NAME)
    file = codec.compress(image, 20)
    trainer = build_trainer(fixed_qualities=(20.0,), average=0.5)
    first, *_, last = (float(trainer.train(batch, {"model": 2e-3})["loss"]) for _ in range(20))
    assert last < 0.9 * first
    trainer.save_weights(tmp_path / "weights.npz")

    base = trainer.model.base
    base.freeze(files.read(BASE).state)
    after = Codec(base)
    assert after.digest == codec.digest and after.compress(image, 20) == file
    np.testing.assert_array_equal(after.latents(file), codec.latents(file))
    np.testing.assert_array_equal(after.decompress(file), codec.decompress(file))

    weights = decoder_file.read(tmp_path / "weights.npz")
    replacement = decoder_file.build(weights, codec.model)
    latents = tf.constant(codec.latents(file)[None])
    errors = [
        float(tf.reduce_mean((part.to_images(latents, 20.0) - image) ** 2))
        for part in (codec.model, replacement)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_qualities_are_stratified_over_the_range_or_over_a_list():
    count = tf.constant(400)
    spread = build_trainer(qualities=(10.0, 30.0))._sample_rates(count)
    assert np.all(np.diff(spread) > 0.0) and 10.0 <= spread[0] < 10.05 and 29.95 < spread[-1] <= 30
    drawn = build_trainer(fixed_qualities=(0.0, 35.0))._sample_rates(count).numpy().tolist()
    assert drawn == [0.0] * 200 + [35.0] * 200


def test_examples_are_weighted_by_their_rate(batch):
    trainer = build_trainer(fixed_qualities=(80.0,))
    base, losses = trainer.model.base, trainer._losses(batch)
    weight = np.sqrt(base.lambda_at(80.0) / base.lmbda)
    assert weight > 1.5
    assert float(losses["loss"]) == pytest.approx(weight * float(losses["mse"]), rel=1e-5)
    trainer = build_trainer(fixed_qualities=(80.0,), distortion="0.5*mse + 20*ssim")
    losses = {name: float(value) for name, value in trainer._losses(batch).items()}
    expected = weight * (0.5 * losses["mse"] + 20.0 * losses["ssim"])
    assert losses["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_resumed_run_gives_the_same_decoder(batch, tmp_path):
    rates = tf.constant([1e-3])
    whole, resumed = build_trainer(), build_trainer()
    whole.train_step(batch, rates)
    path = whole.checkpoint.save(str(tmp_path / "checkpoint"))
    whole.train_step(batch, rates)
    resumed.checkpoint.restore(path).assert_consumed()
    resumed.train_step(batch, rates)
    for actual, expected in zip(resumed.variables, whole.variables):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_training_starts_with_the_widths_and_weights_of_a_file(batch, tmp_path):
    model = golden_model(NAME)
    widths = widths_of(model.synthesis)
    halves = {name: np.arange(width // 2) for name, width in widths.items()}
    narrow = ReplacementDecoder(model, {name: len(kept) for name, kept in halves.items()})
    state = {k: v for k, v in model.plain_state.items() if k.startswith("synthesis/")}
    state = {k.partition("/")[2]: v for k, v in state.items()}
    narrow.assign_state(narrowed_state(model.synthesis, state, halves))
    decoder_file.save(narrow, model.digest().hex(), tmp_path / "narrow.npz")
    trainer = build_trainer(start=str(tmp_path / "narrow.npz"))
    trainer.start("")
    assert trainer.model.widths == narrow.widths
    for name, value in narrow.state().items():
        np.testing.assert_allclose(trainer.model.state()[name], value, rtol=2e-3, atol=1e-6)
    assert np.isfinite(float(trainer.train_step(batch, tf.constant([1e-3]))["loss"]))


def test_a_start_or_base_of_another_model_is_refused(tmp_path):
    other = golden_model("gained-raster")
    path = tmp_path / "raster.npz"
    decoder_file.save(ReplacementDecoder(other), other.digest().hex(), path)
    with pytest.raises(ValueError, match=r"raster\.npz is a decoder for gained-raster"):
        build_trainer(start=str(path))
    with pytest.raises(ValueError, match=r"the config is for gained-checkerboard; .* is gained-ra"):
        build_trainer(base=str(GOLDEN / "gained-raster.npz"))
    with pytest.raises(ValueError, match="there is no model 'nothing' in the zoo"):
        build_trainer(base="nothing")


def test_single_rate_models_can_have_replacement_decoders(batch):
    name = "mbt2018-mean"
    trainer = build_trainer(model=name, base=str(GOLDEN / f"{name}.npz"))
    before = [v.numpy() for v in trainer.variables]
    losses = trainer.train_step(batch, tf.constant([1e-3]))
    assert float(losses["loss"]) == float(losses["mse"]) and float(losses["skipped"]) == 0.0
    assert any(np.any(v != w) for v, w in zip(trainer.variables, before))


def test_a_run_does_not_resume_with_other_settings(tmp_path):
    config = DecoderTraining(NAME, steps=1, distortion="0.1*mse + pim-bands")
    run_identity.write(tmp_path, config)
    run_identity.check(tmp_path, dataclasses.replace(config, rate=1e-5))
    for changes, words in (
        ({"distortion": "0.2*mse + pim-bands"}, "another distortion:"),
        ({"base": str(GOLDEN / "gained-raster.npz")}, "another base:"),
    ):
        with pytest.raises(ValueError, match=words):
            run_identity.check(tmp_path, dataclasses.replace(config, **changes))
    assert {"pim-bands"} <= {*run_identity.identity_of(config)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.0}, "rate must be above 0"),
        ({"distortion": "nothing"}, "distortion is one of"),
        ({"distortion": "nlpd", "crop": 64}, "crop must be at least 65 for nlpd; got 64"),
        ({"arguments": {"widths": {}}}, "arguments must be empty"),
        ({"qualities": (50.0, 10.0)}, "qualities must be a minimum and a maximum"),
        ({"fixed_qualities": (101.0,)}, "fixed_qualities must be 0 to 100"),
        ({"validation_rates": (-1.0,)}, "validation_rates must be 0 to 100"),
    ],
)
def test_invalid_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DecoderTraining(NAME, steps=10, **options)


@pytest.mark.slow
def test_the_program_trains_and_resumes_a_decoder(tmp_path):
    images, others = tmp_path / "images", tmp_path / "others"
    for folder, size in ((images, 150), (others, 100)):
        folder.mkdir()
        Image.fromarray(cropped(size, size + 30)).save(folder / "a.png")
    flags = [
        *("--config=decoder", f"--data={images}", "--set=batch=2", f"--set=base={BASE}"),
        *(f"--validation={others}", "--set=crop=64", "--set=log_steps=2"),
        *("--set=validation_rates=(20.0,)", "--set=distortion=0.01*mse + ssim"),
        f"--workdir={tmp_path / 'out'}",
    ]

    def run(*more: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "training.decoder", *flags, *more]
        return completed(command, code).stderr

    assert "validation at quality 20: psnr" in run("--steps=2")
    assert "resuming from step 2" in run("--steps=4")
    assert "there is no model 'nothing'" in run(
        "--set=base=nothing", f"--workdir={tmp_path / 'no'}", code=1
    )
    with (tmp_path / "out" / "validation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["quality"]) for row in rows] == [("2", "20.0"), ("4", "20.0")]
    assert all(float(row["psnr"]) > 10.0 and 0.0 < float(row["ssim"]) < 1.0 for row in rows)
    weights = decoder_file.read(tmp_path / "out" / "weights.npz")
    assert decoder_file.build(weights, golden_model(NAME)).widths == widths_of(
        golden_model(NAME).synthesis
    )
