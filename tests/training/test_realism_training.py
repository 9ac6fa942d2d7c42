"""Training of realism decoders, with and without a critic."""

from __future__ import annotations

import csv
import dataclasses
import logging
import sys
from collections.abc import Iterable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GOLDEN, completed, cropped, golden_model
from tfc_models.entropy.quantization import Noise
from tfc_models.realism import decoder_file
from tfc_models.training import fixed_model, realism, run_identity
from tfc_models.training.adversarial import COLLAPSE_STEPS, CollapseMonitor
from tfc_models.training.config import RealismTraining

BASE = GOLDEN / "gained-checkerboard.npz"


def build_trainer(**options) -> realism.RealismTrainer:
    defaults = {"model": "gained-checkerboard", "steps": 10, "base": str(BASE), "crop": 64}
    config = RealismTraining(**{**defaults, "perceptual": "ssim", **options})
    tf.keras.utils.set_random_seed(config.seed)
    base, digest = fixed_model.load_base(config.base)
    base.set_bfloat16("off")
    decoder = realism.RealismDecoder(base, **config.arguments)
    return realism.RealismTrainer(decoder, digest, config)


@pytest.fixture(scope="module")
def batch() -> tf.Tensor:
    pixels = cropped(64, 256)
    return tf.constant(np.stack([pixels[:, i * 64 : i * 64 + 64] for i in range(4)]))


def test_periodic_energy_keeps_periodic_patterns_and_little_noise():
    _y, x = np.mgrid[:128, :192]
    pattern = np.cos(2 * np.pi * x / 4)[None, ..., None].astype(np.float32)
    assert float(realism.periodic_energy(tf.constant(pattern))[0]) == pytest.approx(0.5)
    noise = np.random.default_rng(0).normal(size=[1, 128, 192, 3]).astype(np.float32)
    assert float(realism.periodic_energy(tf.constant(noise))[0]) == pytest.approx(1 / 64, rel=0.3)
    smooth = tf.constant((x / 192.0)[None, ..., None], tf.float32)
    assert float(realism.periodic_energy(smooth)[0]) < 1e-3


@pytest.mark.usefixtures("eager")
def test_the_periodic_penalty_is_part_of_the_loss(batch):
    plain, penalized = (build_trainer(periodic=weight) for weight in (0.0, 2.0))
    for trainer in (plain, penalized):
        state = {k: v.numpy() + 0.1 for k, v in trainer.model.state().items()}
        trainer.model.assign_state(state)
    off, on = (t.train(batch, {"model": 0.0}) for t in (plain, penalized))
    assert "periodic" not in off
    assert float(on["periodic"]) > 0.0
    assert float(on["loss"]) > float(off["loss"])
    with pytest.raises(ValueError, match="periodic"):
        RealismTraining(model="gained-checkerboard", steps=1, periodic=-1.0)


@pytest.mark.usefixtures("eager")
def test_only_the_decoder_and_the_critic_are_trained(batch):
    trainer = build_trainer(adversarial=0.1, critic_widths=(8, 8))
    base = [v.numpy() for v in trainer.model.base.variables]
    before = [v.numpy() for v in trainer.critic.trainable_variables]
    still = trainer.train(batch, {"model": 1e-3, "critic": 0.0})
    for variable, value in zip(trainer.critic.trainable_variables, before):
        np.testing.assert_array_equal(variable, value)
    decoder = [v.numpy() for v in trainer.variables]
    trainer.train(batch, {"model": 0.0, "critic": 1e-3})
    for variable, value in zip(trainer.variables, decoder):
        np.testing.assert_array_equal(variable, value)
    moved = (np.abs(v - w).max() for v, w in zip(trainer.critic.trainable_variables, before))
    assert max(moved) > 0.0
    for variable, value in zip(trainer.model.base.variables, base):
        np.testing.assert_array_equal(variable, value)
    assert {"adversarial", "critic_loss", "critic_accuracy", "mse", "ssim"} <= set(still)
    assert float(still["collapsed"]) == float(still["critic_skipped"]) == 0.0


def test_the_critic_learns_to_distinguish_blurred_from_real_images(batch):
    options = {"critic_widths": (16, 32), "realism": 1.0, "qualities": (0.0, 0.0)}
    trainer = build_trainer(adversarial=0.1, **options)
    rates = {"model": 0.0, "critic": 3e-3}
    seen = [trainer.train(batch, rates) for _ in range(120)]

    def mean(name: str, steps: slice) -> float:
        return float(np.mean([float(step[name]) for step in seen[steps]]))

    first, last = slice(5), slice(-5, None)
    assert mean("critic_loss", first) > 1.3 and mean("critic_loss", last) < 1.2
    assert mean("critic_accuracy", first) < 0.55 and mean("critic_accuracy", last) > 0.7


def test_training_reduces_the_perceptual_distance(batch):
    trainer = build_trainer(gamma=0.0, realism=1.0)
    seen = [float(trainer.train(batch, {"model": 3e-3})["ssim"]) for _ in range(25)]
    assert np.mean(seen[-5:]) < 0.95 * np.mean(seen[:5])


@pytest.mark.parametrize("loss", ["pearson", "reverse-kl", "jensen-shannon"])
def test_other_divergences_and_belief_critics_train(batch, loss):
    kind = "pim-bands" if loss == "jensen-shannon" else "patch"
    trainer = build_trainer(adversarial=0.1, critic=kind, divergence=loss, critic_widths=(8,))
    found = trainer.train_step(batch, tf.constant([1e-4, 1e-3]))
    assert all(np.isfinite(float(value)) for value in found.values())


def test_collapse_is_reported_once_until_it_ends():
    monitor = CollapseMonitor()

    def messages_for(accuracies: Iterable[float], learns: bool = True) -> list[str]:
        """Returns the messages of these steps."""
        messages = []
        for accuracy in accuracies:
            collapsed = monitor(tf.constant(accuracy, tf.float32), tf.constant(learns))
            assert float(collapsed) == (int(monitor.steps) >= COLLAPSE_STEPS)
            messages.append(monitor.message)
        return [line for line in messages if line]

    good, sure = [0.7], [1.0]
    rng = np.random.default_rng(0)  # On a batch, a critic at chance is often right.
    # During the head start, a high accuracy is intended.
    assert not messages_for(sure * 2 * COLLAPSE_STEPS, learns=False)
    assert not messages_for(sure * (COLLAPSE_STEPS - 5) + good * 50)
    (once,) = messages_for(sure * 2 * COLLAPSE_STEPS)
    assert "always right for 200 steps" in once
    (again,) = messages_for(good * 50 + rng.uniform(0.4, 0.6, 350).tolist())
    assert "no better than chance for 200 steps" in again and "indistinguishable" in again


def test_the_collapse_monitor_is_part_of_the_checkpoint(tmp_path, caplog):
    trainer = build_trainer(adversarial=0.1, critic_widths=(4,))
    trainer.collapse_monitor.steps.assign(COLLAPSE_STEPS - 1)
    trainer.collapse_monitor.right.assign(1.0)
    path = trainer.checkpoint.save(str(tmp_path / "kept"))
    trainer.collapse_monitor.steps.assign(0)
    trainer.checkpoint.restore(path).assert_consumed()
    assert float(trainer.collapse_monitor(tf.constant(1.0), tf.constant(True))) == 1.0
    with caplog.at_level(logging.WARNING):
        trainer.after_step({"collapsed": 1.0})
        trainer.after_step({"collapsed": 0.0})
    assert len([r for r in caplog.records if "collapse: the critic" in r.getMessage()]) == 1


def test_a_resumed_run_continues_the_random_sequence(batch, tmp_path):
    rates, options = tf.constant([1e-2]), {"arguments": {"blocks": (1, 0)}}
    whole, later = build_trainer(**options), build_trainer(**options)
    whole.train_step(batch, rates)
    path = whole.checkpoint.save(str(tmp_path / "kept"))
    whole.train_step(batch, rates)
    later.checkpoint.restore(path).assert_consumed()
    later.train_step(batch, rates)
    for ours, theirs in zip(later.variables, whole.variables):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_examples_are_weighted_by_their_rate_and_realism(batch):
    trainer = build_trainer(
        adversarial=0.1, critic_widths=(4,), realism=0.5, qualities=(80.0, 80.0)
    )
    base = trainer.model.base
    _, inputs = trainer._losses_and_critic_batch(batch)
    times = np.sqrt(base.lambda_at(tf.constant([80.0])) / base.lmbda)
    assert times > 1.5
    np.testing.assert_allclose(inputs.weights, np.repeat(0.5 * times, 4), rtol=1e-5)


def test_missing_metric_weights_are_an_error(monkeypatch):
    monkeypatch.delenv("TFC_MODELS_LPIPS", raising=False)
    with pytest.raises(ValueError, match=r"LPIPS needs its weights: .*TFC_MODELS_LPIPS"):
        build_trainer(perceptual="lpips")


def test_a_run_does_not_resume_with_other_settings(tmp_path):
    config = RealismTraining(model="gained-checkerboard", steps=1, adversarial=0.1)
    run_identity.write(tmp_path, config)
    for changes, words in (
        ({"divergence": "kl"}, "another divergence:"),
        ({"realism": 0.5}, "another realism:"),
        ({"base": str(GOLDEN / "gained-raster.npz")}, "another base:"),
        ({"adversarial": 0.0}, "another critic, divergence:"),
    ):
        with pytest.raises(ValueError, match=words):
            run_identity.check(tmp_path, dataclasses.replace(config, **changes))
    run_identity.check(tmp_path, dataclasses.replace(config, adversarial=0.2))


def test_single_rate_models_can_have_realism_decoders(batch):
    name = "mbt2018-mean"
    trainer = build_trainer(model=name, base=str(GOLDEN / f"{name}.npz"))
    before = [v.numpy() for v in trainer.variables]
    found = trainer.train_step(batch, tf.constant([1e-3]))
    assert np.isfinite(float(found["loss"])) and float(found["skipped"]) == 0.0
    assert any(np.any(v != w) for v, w in zip(trainer.variables, before))


def test_perceptual_metrics_are_evaluated_at_every_offset_and_scale(monkeypatch):
    tf.keras.utils.set_random_seed(0)
    images, noise = tf.reshape(tf.range(40.0 * 50.0), [1, 40, 50, 1]), Noise()
    sizes = {
        realism.randomly_cropped_and_scaled(noise, images, images)[1].shape[1:3] for _ in range(100)
    }
    assert len(sizes) > 10 and all(20 <= h <= 40 and 28 <= w <= 56 for h, w in sizes)
    monkeypatch.setattr(realism, "SCALE_RANGE", (1.0, 1.0))
    corners = set()
    for _ in range(150):
        first, second = realism.randomly_cropped_and_scaled(noise, images, images + 0.5)
        assert first.shape[1:3] == (25, 35)
        np.testing.assert_allclose(first + 0.5, second, rtol=1e-5)
        corners.add(round(float(first[0, 0, 0, 0])) % 50)
    assert corners == set(range(16))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": -1.0}, "gamma must be 0 or more"),
        ({"realism": 1.5}, "realism must be 0 to 1"),
        ({"qualities": (50.0, 10.0)}, "qualities must be a minimum and a maximum"),
        ({"validation_rates": (101.0,)}, "validation_rates must be 0 to 100"),
        ({"perceptual": "nlpd", "crop": 64}, "crop must be at least 97 for nlpd; got 64"),
        ({"perceptual": "nothing"}, "distortion is one of"),
        ({"divergence": "l2"}, "a divergence is one of"),
        ({"critic": "people"}, "critic must be one of patch, pim, pim-bands"),
        ({"adversarial": -0.1}, "adversarial must be 0 or more"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"critic_rate": -1.0}, "rate must be above 0"),
    ],
)
def test_invalid_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RealismTraining(model="gained-checkerboard", steps=10, **options)


def run(*flags: str, code: int = 0) -> str:
    return completed([sys.executable, "-m", "training.realism", *flags], code).stderr


@pytest.mark.slow
def test_the_program_trains_and_resumes_a_decoder(tmp_path):
    images, apart = tmp_path / "images", tmp_path / "apart"
    for folder, size in ((images, 150), (apart, 100)):
        folder.mkdir()
        Image.fromarray(cropped(size, size + 30)).save(folder / "a.png")
    flags = [
        *("--config=realism_critic", f"--data={images}", "--set=batch=2"),
        *(f"--validation={apart}", f"--set=base={BASE}", "--set=start=", "--set=crop=64"),
        *("--set=critic_widths=(8,8)", "--set=log_steps=2", "--set=validation_rates=(20.0,)"),
        "--set=arguments.blocks=(1,0)",
    ]
    flags += ["--set=perceptual=ssim", f"--workdir={tmp_path / 'out'}"]
    assert "critic_accuracy" in run(*flags, "--steps=4")
    assert "resuming from step 4" in run(*flags, "--steps=6")
    with (tmp_path / "out" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["step"], row["realism"]) for row in rows} == {
        (step, amount) for step in "46" for amount in ("0.0", "1.0")
    }
    weights, base = tmp_path / "out" / "weights.npz", golden_model("gained-checkerboard")
    decoder = decoder_file.build(decoder_file.read(weights), base)
    latents = tf.random.stateless_normal([1, 3, 4, base.latent_channels], [1, 2])
    faithful, sharp = (decoder.to_images(latents, 20.0, realism) for realism in (0.0, 1.0))
    np.testing.assert_array_equal(faithful, base.to_images(latents, 20.0))
    assert np.any(sharp != faithful)


def test_a_start_for_another_model_is_refused(tmp_path):
    weights = tmp_path / "raster.npz"
    other = golden_model("gained-raster")
    decoder_file.save(realism.RealismDecoder(other), other.digest().hex(), weights)
    trainer = build_trainer(start=str(weights))
    with pytest.raises(ValueError, match=r"raster\.npz is a realism decoder for gained-raster"):
        trainer.start("")
