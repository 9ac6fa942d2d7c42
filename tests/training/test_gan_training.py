"""Training of HiFiC: loss, rate controller, and both stages run as programs."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.util import event_pb2

from tests.conftest import GOLDEN, SMALL, completed, cropped
from tfc_models import metrics, models, zoo
from tfc_models.codec import Codec
from tfc_models.training import config as configs
from tfc_models.training import configs as named_configs
from tfc_models.training import run_identity
from tfc_models.training.hific import GanRun, GanTrainer
from tfc_models.training.hific_config import HificTraining
from tfc_models.training.stopped import TrainingStopped
from tfc_models.zoo import files

NAME = "hific"
CONFIG = HificTraining(
    model=NAME,
    arguments={**SMALL[NAME], "blocks": 1, "quantization": "round"},
    steps=6,
    batch=2,
    crop=80,
    optimizer="sgd",
    perceptual="2*nlpd",
    adversarial=0.15,
    critic_widths=(4, 8),
    bfloat16="off",
    warmup=0.0,
)


def build_trainer(**changes) -> GanTrainer:
    config = dataclasses.replace(CONFIG, **changes)
    tf.keras.utils.set_random_seed(config.seed)
    model = models.build(config.model, **config.arguments)
    model.set_bfloat16(config.bfloat16)
    trainer = GanTrainer(model, config)
    trainer.reset_average()
    return trainer


def crops(count: int = 2) -> tf.Tensor:
    image = cropped(80, 80 * count)
    return tf.constant(np.stack(np.split(image, count, axis=1)))


@pytest.mark.parametrize(("target", "lmbda"), [(1e-3, 0.1 / 64), (100.0, 0.2)])
def test_the_loss_matches_the_paper(target, lmbda):
    trainer, batch = build_trainer(target=target, opening=0.0), crops()
    model, images = trainer.model, batch.numpy().astype(np.float64)
    output = model(tf.cast(batch, tf.float32), training=True)
    decoded = output.reconstruction
    pixels = 80 * 80
    bpp = np.mean(sum(bits.numpy() for bits in output.bits.values())) / pixels
    mse = np.mean((decoded.numpy() - images) ** 2)
    seen = np.mean(metrics.nlpd(tf.cast(batch, tf.float32), decoded))
    latents = model.coder(model.to_latents(batch), True)[0]
    numbers = trainer.critic(decoded, latents).numpy().astype(np.float64)
    said = np.mean(np.logaddexp(0.0, -numbers))  # -log D
    expected = 0.1 * 2.0**-5 * (bpp / lmbda + 0.75 * mse) + 2.0 * seen + 0.15 * said
    losses = trainer.train_step(batch, tf.zeros([2]))
    found = {name: float(value) for name, value in losses.items()}
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["adversarial"] == pytest.approx(said, rel=1e-4)
    assert found["bpp"] == pytest.approx(bpp, rel=1e-4)
    assert found["above_target"] == (lmbda < 0.1)
    coded = model(tf.cast(batch, tf.float32), training=False).bits.values()
    quantized = np.mean(sum(bits.numpy() for bits in coded)) / pixels
    assert found["quantized_bpp"] == pytest.approx(quantized, rel=1e-4)


@pytest.mark.parametrize(
    ("fraction", "bpp", "target", "lmbda"),
    [
        (0.0, 0.21, 0.20, 2 * 0.1 / 64),
        (0.049, 0.19, 0.20, 2 * 0.2),
        (0.05, 0.19, 0.14, 0.1 / 64),
        (0.9, 0.141, 0.14, 0.1 / 64),
        (0.9, 0.139, 0.14, 0.2),
    ],
)
def test_the_controller_sets_the_rate_weight_by_the_target(fraction, bpp, target, lmbda):
    trainer = build_trainer(adversarial=0.0)
    trainer.before_step(fraction)
    found = trainer._rate_control(tf.constant(bpp))
    assert float(found["target"]) == pytest.approx(target)
    assert float(found["rate_weight"]) == pytest.approx(1.0 / lmbda)
    assert float(found["above_target"]) == (bpp > target)


def test_learning_rates_fall_in_one_step():
    config = dataclasses.replace(CONFIG, rate=1e-4, critic_rate=3e-4, head_start=0.1)
    assert config.learning_rates(0.05) == {"model": 0.0, "critic": 3e-4}
    assert config.learning_rates(0.49) == {"model": 1e-4, "critic": 3e-4}
    later = {"model": pytest.approx(1e-5), "critic": pytest.approx(3e-5)}
    assert config.learning_rates(0.5) == later and config.learning_rates(1.0) == later


@pytest.mark.usefixtures("eager")
def test_model_and_critic_are_updated_by_their_own_losses():
    def after(model: float, critic: float, **changes) -> tuple[list, list]:
        trainer = build_trainer(**changes)
        trainer.train_step(crops(), tf.constant([model, critic]))
        groups = trainer.groups["model"], trainer.groups["critic"]
        return tuple([v.numpy() for v in group] for group in groups)

    def same(ours: list, theirs: list) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(ours, theirs))

    still, of_model = after(0.0, 0.0), after(1e-2, 0.0)
    of_critic, both = after(0.0, 1e-2), after(1e-2, 1e-2)
    assert same(still[1], of_model[1]) and same(still[0], of_critic[0])
    assert not same(still[0], of_model[0]) and not same(still[1], of_critic[1])
    # The two updates of a step are independent.
    assert same(both[0], of_model[0]) and same(both[1], of_critic[1])
    # The model depends on the weight of the adversarial loss, and the critic does not.
    louder = after(1e-2, 1e-2, adversarial=5.0)
    assert not same(both[0], louder[0]) and same(both[1], louder[1])


def test_a_stage_starts_from_the_weights_of_the_previous_one(tmp_path):
    path = tmp_path / "weights.npz"
    files.save(build_trainer(seed=1).model, path)
    trainer = build_trainer(start=str(path))
    trainer.start("")
    found = files.read(path).state
    assert all(np.allclose(v, found[k], rtol=1e-3) for k, v in trainer.model.state().items())
    for arguments in ({**CONFIG.arguments, "blocks": 2}, {**CONFIG.arguments, "channels": 3}):
        with pytest.raises(ValueError, match=r"other networks|weights to start from have"):
            build_trainer(start=str(path), arguments=arguments).start("")
    with pytest.raises(ValueError, match=r"mbt2018-mean\.npz has other networks than the"):
        build_trainer(start=str(GOLDEN / "mbt2018-mean.npz")).start("")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"start": "linear"}, "start must be random or a weights file"),
        ({"target": 0.0}, "target must be above 0"),
        ({"lambda_above": float("nan")}, "lambda_above must be above 0"),
        ({"opening_target": -1.0}, "opening_target must be above 0"),
        ({"squared": -0.1}, "squared must be 0 or more"),
        ({"opening": 1.5}, "opening must be a fraction"),
        ({"perceptual": "nothing"}, "distortion is one of"),
        ({"scale": "much"}, "scale must be of type float"),
    ],
)
def test_invalid_settings_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(CONFIG, **changes)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    path = tmp_path / "images"
    path.mkdir()
    for i in range(3):
        Image.fromarray(cropped(100 + 10 * i, 130)).save(path / f"{i}.png")
    return path


def run(config: str, *flags: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "training.gan", f"--config={config}"]
    return completed([*command, *flags], code).stderr


def flags_of(folder: pathlib.Path, **changes) -> list[str]:
    """Returns the flags of a run that takes seconds."""
    values = {"crop": 80, "batch": 2, "log_steps": 1, "perceptual": "nlpd", **changes}
    arguments = {f"arguments.{k}": v for k, v in CONFIG.arguments.items()}
    return [f"--data={folder}", *(f"--set={k}={v}" for k, v in {**values, **arguments}.items())]


def events(workdir: pathlib.Path) -> dict[str, list[int]]:
    """Returns the steps in TensorBoard's logs by name."""
    found: dict[str, list[int]] = {}
    for path in sorted((workdir / "tensorboard").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


@pytest.mark.slow
def test_the_program_trains_a_stage(folder, tmp_path):
    flags = [*flags_of(folder, critic_widths="(4,8)"), f"--workdir={tmp_path}"]
    said = run("hific_gan", *flags, "--steps=1")
    assert re.search(r"step 1 .* critic_accuracy [0-9.]+", said)
    shown = events(tmp_path)
    for name in ("critic_loss", "critic_accuracy", "collapsed", "adversarial", "rate_weight"):
        assert shown[f"training/{name}"] == [1]
    assert files.read(tmp_path / "weights.npz").model == NAME
    with pytest.raises(ValueError, match=r"holds a run with another .*critic"):
        run_identity.check(tmp_path, dataclasses.replace(CONFIG, adversarial=0.0))


@pytest.mark.exhaustive
def test_the_program_trains_both_stages(folder, tmp_path):
    first, out, judging = (tmp_path / name for name in ("first", "out", "judging"))
    judging.mkdir()
    for side in (40, 200):  # The first is too small for MS-SSIM.
        Image.fromarray(cropped(side, side + 30)).save(judging / f"{side}.png")
    flags = flags_of(folder)
    flags += [f"--workdir={first}", f"--validation={judging}", "--steps=1"]
    said = run("hific", *flags)
    assert re.search(r"validation: [0-9.]+ bpp .* nlpd [0-9.]+", said)
    header, row = (first / "validation.csv").read_text().splitlines()
    assert header == "step,seconds,rate,bpp,psnr,ms_ssim,nlpd" and "nan" not in row
    shown = set(events(first))
    assert {"validation/bpp", "validation/psnr", "validation/nlpd"} <= shown
    assert not any("critic" in name for name in shown)
    second = [*flags_of(folder, critic_widths="(4,8)"), f"--workdir={out}"]
    run("hific_gan", *second, "--steps=2", f"--set=start={first / 'weights.npz'}")
    said = run("hific_gan", *second, "--steps=3")
    assert "resuming from step 2" in said and re.search(r"step 3 .* critic_accuracy [0-9.]+", said)
    shown = events(out)
    for name in ("critic_loss", "critic_accuracy", "adversarial", "loss", "bpp", "mse", "nlpd"):
        assert shown[f"training/{name}"] == [1, 2, 3]
    for name in ("quantized_bpp", "rate_weight", "above_target", "target"):
        assert shown[f"training/{name}"] == [1, 2, 3]
    codec = Codec(zoo.build_model(files.read(out / "weights.npz")))
    image = cropped(70, 50)
    assert codec.decompress(codec.compress(image)).shape == image.shape
    with pytest.raises(ValueError, match=r"holds a run with another .*critic"):
        run_identity.check(out, dataclasses.replace(CONFIG, adversarial=0.0))


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
@pytest.mark.usefixtures("eager")
@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(folder, tmp_path):
    changes = {
        "arguments": {**SMALL[NAME], "blocks": 1},
        "optimizer": "adam",
        "rate": 1e-3,
        "steps": 4,
    }

    def resume(name: str) -> GanRun:
        run = GanRun(build_trainer(**changes), tmp_path / name, str(folder), None)
        run.trainer._compiled = run.trainer.train_step  # Compiling takes longer than running.
        run.restore()
        return run

    def stop(losses) -> None:
        if first.trainer.steps_taken == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, first = resume("whole"), resume("parts")
    whole.train()
    first.trainer.after_step = stop
    with pytest.raises(TrainingStopped, match="saved at step 2"):
        first.train()
    second = resume("parts")
    second.train()
    for ours, theirs in zip(
        (*second.trainer.variables, *second.trainer.critic.variables),
        (*whole.trainer.variables, *whole.trainer.critic.variables),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


TWO_REPLICAS = """
import numpy as np, tensorflow as tf
from tests.training.test_gan_training import build_trainer, crops
(cpu,), halves = tf.config.list_physical_devices("CPU"), tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [halves, halves])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rates, batch, changes = tf.constant([1e-3, 1e-2]), crops(4), {"batch": 4, "target": 1e-3}
one = build_trainer(**changes)
with strategy.scope():
    two = build_trainer(**changes)
parts = strategy.experimental_distribute_values_from_function(
    lambda context: tf.split(batch, 2)[context.replica_id_in_sync_group]
)
for _ in range(2):
    losses, found = one.train_step(batch, rates), two.train_step(parts, rates)
    for name in losses:
        np.testing.assert_allclose(found[name], losses[name], rtol=2e-3, err_msg=name)
    for kind in one.groups:
        for ours, theirs in zip(two.groups[kind], one.groups[kind]):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-3, atol=1e-5)
print("the same")
"""


@pytest.mark.exhaustive
def test_two_replicas_take_the_same_steps_as_one():
    assert "the same" in completed([sys.executable, "-c", TWO_REPLICAS], 0).stdout


@pytest.mark.slow
def test_missing_metric_weights_are_reported_in_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.delenv(metrics.LPIPS_VARIABLE, raising=False)
    flags = flags_of(folder, perceptual="lpips")
    said = run("hific", *flags, f"--workdir={tmp_path / 'out'}", "--steps=1", code=1)
    says = "LPIPS needs its weights: .* docs/metrics.md"
    assert re.search(says, said.splitlines()[-1]) and "Traceback" not in said
    assert not (tmp_path / "out" / "config.json").exists()


def test_variable_rate_models_are_refused():
    with pytest.raises(ValueError, match="gained-stem4 is a variable-rate model"):
        build_trainer(model="gained-stem4", arguments=SMALL["gained-stem4"])


# Settings of the paper, with our additions disabled.
PAPER = {
    **{"steps": 1_000_000, "batch": 8, "crop": 256, "optimizer": "adam"},
    **{"rate": 1e-4, "warmup": 0.0, "decay": 0.5, "last_rate": 0.1},
    **{"scale": 0.003125, "squared": 0.75, "perceptual": "lpips"},
    **{"target": 0.14, "lambda_above": 0.0015625, "lambda_below": 0.2},
    **{"opening": 0.05, "opening_lambda": 2.0, "opening_target": 0.20 / 0.14},
    **{"downscale": 1.3333, "clip_norm": 1e9, "spike": 1e9, "average": 0.0},
    "arguments": {"channels": 60, "latents": 220, "hyper": 320, "blocks": 9},
}
CRITIC = {
    **{"adversarial": 0.15, "critic_rate": 1e-4, "head_start": 0.0, "divergence": "gan"},
    **{"critic": "patch", "critic_widths": (64, 128, 256, 512)},
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hific", {**PAPER, "adversarial": 0.0}), ("hific_gan", {**PAPER, **CRITIC})],
)
def test_the_configs_state_the_flags_for_the_paper_s_settings(name, expected):
    path = named_configs.find(name)
    said = re.findall(r"--set '?([^\s']+)", path.read_text())
    changes = [change for change in said if not change.startswith("start=")]
    found = dataclasses.asdict(configs.read(str(path), [*changes, "steps=1000000"], HificTraining))
    assert {key: found[key] for key in expected} == expected
