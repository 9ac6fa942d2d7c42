"""Runs: configs, resuming, and safety against signals, full disks and NaNs."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import programs
from tests.conftest import ROOT, completed, cropped
from tfc_models import models
from tfc_models.training import config as configs
from tfc_models.training import configs as named_configs
from tfc_models.training import data, run_identity, source_codes
from tfc_models.training.config import Config
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.training.feature_config import TASKS, FeatureTraining
from tfc_models.training.hific_config import HificTraining
from tfc_models.training.loop import Run, _is_chief
from tfc_models.training.narrowing_config import NarrowingTraining
from tfc_models.training.stopped import MAX_NONFINITE_STEPS, TrainingStopped
from tfc_models.training.trainer import Trainer
from tfc_models.training.weight_config import WeightTraining
from tfc_models.training.weight_networks import NETWORKS
from tfc_models.zoo import files

# Building graphs takes longer than a few steps. Programs in other processes do build them.
# TensorFlow warns that functions of datasets still build them.
pytestmark = [
    pytest.mark.usefixtures("eager"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning"),
]
SMALL = {"channels": 8, "latents": 12}
STEPS = 8


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    path = tmp_path / "images"
    path.mkdir()
    for i in range(5):
        Image.fromarray(cropped(100 + 10 * i, 130)).save(path / f"{i}.png")
    return path


def new_run(workdir: pathlib.Path, folder: pathlib.Path, **changes) -> Run:
    config = Config(model="bls2017", arguments=SMALL, steps=STEPS, crop=64, batch=2)
    config = dataclasses.replace(config, **changes)
    tf.keras.utils.set_random_seed(config.seed)
    model = models.build(config.model, **config.arguments)
    model.set_bfloat16("off")
    trainer = Trainer(model, config)
    workdir.mkdir(exist_ok=True)
    run = Run(trainer, workdir, str(folder), None)
    if not run.restore():
        trainer.reset_average()
    return run


def values(run: Run) -> list[np.ndarray]:
    return [v.numpy() for v in (*run.trainer.variables, *run.trainer.average)]


def stop_at(run: Run, step: int, action) -> None:
    """Calls `action` after a step."""
    train = run.trainer.train

    def trained(batch, rates):
        losses = train(batch, rates)
        return action(losses) or losses if run.trainer.steps_taken == step else losses

    run.trainer.train = trained


def test_a_run_anneals_universal_quantization(tmp_path, folder):
    run = new_run(tmp_path / "run", folder, model="mbt2018-universal", start="random")
    seen, train = [], run.trainer.train

    def trained(batch, rates):
        seen.append(float(run.trainer.model.coder.quantization.alpha))
        return train(batch, rates)

    run.trainer.train = trained
    run.train()
    assert seen == [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]  # over the first half


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, folder):
    many = {"model": "gained-stem4"}  # It also draws a rate in every step.
    whole = new_run(tmp_path / "whole", folder, **many)
    whole.train()
    first = new_run(tmp_path / "parts", folder, **many)
    stop_at(first, 3, lambda losses: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingStopped, match="SIGTERM: saved at step 3") as stopped:
        first.train()
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    second = new_run(tmp_path / "parts", folder, **many)
    assert second.trainer.steps_taken == 3
    second.train()
    # Equal crops, rates, noise, moments and learning rates give equal weights.
    for ours, theirs in zip(values(second), values(whole)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_killed_process_resumes_from_its_last_checkpoint(tmp_path, folder):
    command = [
        *(sys.executable, "-m", "training.main", "--config=mbt2018_mean"),
        *("--set=arguments.channels=8", "--set=arguments.latents=12", "--set=crop=64"),
        *("--set=checkpoint_minutes=0.01", "--set=log_steps=5", "--set=batch=2", "--steps=100000"),
        *(f"--data={folder}", f"--workdir={tmp_path / 'out'}"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        # Waits for the second checkpoint, so that the kill may occur while the third is written.
        while not list((tmp_path / "out" / "checkpoints").glob("ckpt-2.index")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.kill()
    latest = tf.train.latest_checkpoint(str(tmp_path / "out" / "checkpoints"))
    step = int(tf.train.load_variable(latest, "step/.ATTRIBUTES/VARIABLE_VALUE"))
    assert step > 0
    assert files.read(tmp_path / "out" / "weights.npz").model == "mbt2018-mean"
    command[command.index("--steps=100000")] = f"--steps={step + 2}"
    done = completed(command, 0)
    assert f"resuming from step {step}" in done.stderr


def test_a_nonfinite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path, folder):
    run = new_run(tmp_path / "out", folder, steps=1000, checkpoint_minutes=0.0)

    train = run.trainer.train

    def diverging(batch, rates):
        weights = run.trainer.variables[0]
        weights.assign(weights * (np.nan if run.trainer.steps_taken == 2 else 1.0))
        return train(batch, rates)

    run.trainer.train = diverging
    with pytest.raises(TrainingStopped, match="the loss has not been finite since step 3: lower"):
        run.train()
    assert run.trainer.steps_taken == 2 + MAX_NONFINITE_STEPS
    again = new_run(tmp_path / "out", folder)
    assert again.trainer.steps_taken == 2
    assert all(np.all(np.isfinite(v)) for v in values(again)[:1])


def test_a_nonfinite_critic_loss_stops_the_run(tmp_path, folder):
    run = new_run(tmp_path / "out", folder, steps=1000)

    def train(batch, rates):
        run.trainer.step.assign_add(1)
        broken = run.trainer.steps_taken > 2
        return {"loss": 1.0, "norm": 1.0, "critic_norm": np.nan if broken else 1.0}

    run.trainer.train = train
    with pytest.raises(
        TrainingStopped, match="the critic's loss has not been finite since step 3: lower"
    ):
        run.train()


@pytest.mark.slow
def test_a_full_disk_stops_and_keeps_the_last_good_checkpoint(tmp_path, folder):
    """Simulates a full disk by a limit of 50 kB on files."""
    new_run(tmp_path / "out", folder, steps=2).train()
    before = sorted(p.name for p in (tmp_path / "out" / "checkpoints").iterdir())
    weights = (tmp_path / "out" / "weights.npz").read_bytes()
    code = (
        "import pathlib, resource, sys\n"
        "from tests.training.test_run import new_run, TrainingStopped\n"
        "run = new_run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), steps=4)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    run.train()\n"
        "except TrainingStopped as error:\n    print(error)\n"
    )
    done = programs.run("-c", code, str(tmp_path / "out"), str(folder))
    assert "cannot write to" in done.stdout, done.stderr[-2000:]
    assert "The last good checkpoint is" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out" / "checkpoints").iterdir()) == before
    assert (tmp_path / "out" / "weights.npz").read_bytes() == weights
    assert new_run(tmp_path / "out", folder).trainer.steps_taken == 2


def test_spikes_are_skipped(tmp_path, folder):
    run = new_run(tmp_path / "out", folder, optimizer="sgd")
    batch = tf.constant(np.stack([cropped(64, 64)] * 2))
    run.trainer.train(batch, run.config.rates)
    run.trainer.running_loss.assign(1e-6)
    before = [v.numpy() for v in run.trainer.variables]
    losses = run.trainer.train(batch, run.config.rates)
    assert float(losses["skipped"]) == 1.0
    for variable, value in zip(run.trainer.variables, before):
        np.testing.assert_array_equal(variable, value)


def test_groups_with_learning_rate_0_are_not_trained(tmp_path, folder):
    rates = {**configs.RATES, "transforms": 0.0, "blocks": 0.0, "gains": 0.0}
    run = new_run(tmp_path / "out", folder, model="gained-stem4", rates=rates)
    before = run.trainer.model.state()
    assert set(run.trainer.groups) == {"entropy", "densities"}
    run.trainer.train(tf.constant(np.stack([cropped(64, 64)] * 2)), rates)
    after = run.trainer.model.state()
    changed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert changed and not any(n.startswith(("analysis", "synthesis")) for n in changed)


def test_learning_rates_warm_up_wait_and_decay():
    config = Config(model="m", steps=1, head_start=0.2, warmup=0.1, decay=0.5, last_rate=0.1)
    peaks = config.rates

    def at(fraction: float, kind: str) -> float:
        return config.learning_rates(fraction)[kind] / peaks[kind]

    assert at(0.0, "entropy") == 0.0 and at(0.05, "entropy") == pytest.approx(0.5)
    assert at(0.15, "transforms") == 0.0 and at(0.25, "transforms") == pytest.approx(0.5)
    assert at(0.4, "transforms") == at(0.5, "entropy") == 1.0
    assert at(0.75, "gains") == pytest.approx(0.55)
    assert at(1.0, "gains") == at(2.0, "gains") == pytest.approx(0.1)


def test_weights_of_metrics_in_the_loss_must_not_change(tmp_path, monkeypatch):
    config = configs.Config("bls2017", {"distortion": "mse + 40*lpips"}, steps=1)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", np.array(name))
    monkeypatch.setenv("TFC_MODELS_LPIPS", str(tmp_path / "a.npz"))
    run_identity.write(tmp_path, config)
    run_identity.check(tmp_path, config)
    monkeypatch.setenv("TFC_MODELS_LPIPS", str(tmp_path / "b.npz"))
    with pytest.raises(ValueError, match="a run with another lpips: choose another"):
        run_identity.check(tmp_path, config)
    assert set(run_identity.identity_of(configs.Config("bls2017", steps=1))) == {
        "model",
        "optimizer",
    }
    # A critic without weight does not count, nor do names contained in other names.
    bands = {"distortion": "mse + 2*pim-bands"}
    assert {*run_identity.identity_of(configs.Config("bls2017", bands, steps=1))} >= {"pim-bands"}
    assert "pim" not in run_identity.identity_of(configs.Config("bls2017", bands, steps=1))
    idle = configs.RealismTraining("realism", perceptual="ssim", critic="pim", steps=1)
    assert not {"pim", "pim-bands", "ssim"} & {*run_identity.identity_of(idle)}
    busy = dataclasses.replace(idle, adversarial=0.1)
    assert "pim" in run_identity.identity_of(busy)


@pytest.mark.usefixtures("eager")
def test_validation_measures_the_metrics_in_the_distortion(tmp_path):
    Image.fromarray(cropped(64, 64)).save(tmp_path / "photo.png")
    model = models.build("bls2017", channels=4, latents=4, distortion="mse + 4*pim-bands + 10*ssim")
    trainer = Trainer(model, configs.Config("bls2017", steps=1))
    (tmp_path / "out").mkdir()
    run = Run(trainer, tmp_path / "out", str(tmp_path), str(tmp_path))
    run._validate()
    with (tmp_path / "out" / "validation.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["pim-bands"]) > 0.0 and 0.0 < float(row["ssim"]) < 1.0


def test_configs_are_read_and_changed():
    config = configs.read("mbt2018_mean", ["minutes=5", "arguments.lmbda=0.5", "rates.blocks=1e-5"])
    assert (config.steps, config.minutes, config.arguments["lmbda"]) == (0, 5, 0.5)
    assert config.rates["blocks"] == 1e-5
    for change in ("rates.all=1", "start=nowhere", "crop=100", "batch=0", "optimizer=lion"):
        with pytest.raises(ValueError, match=change.split("=")[0].split(".")[0]):
            configs.read("mbt2018_mean", [change])


@pytest.mark.parametrize("path", named_configs.names().values(), ids=lambda p: p.stem)
def test_every_config_states_its_command_machine_and_results(path):
    config = configs.read(str(path), [], configs.RunConfig)
    if isinstance(config, configs.SourceTraining):
        known, words = source_codes.MODELS, ("training.sources", "bits")
    elif isinstance(config, FeatureTraining):
        known, words = TASKS, ("training.features", "bits", "%")
    elif isinstance(config, WeightTraining):
        known, words = NETWORKS, ("training.weights", "bytes", "pruning")
    elif isinstance(config, configs.PimTraining):
        known, words = ("pim", "pim-bands"), ("training.pim", "nats")
    elif isinstance(config, configs.RealismTraining):
        known, words = models.names(), ("training.realism", "LPIPS", "dB")
    elif isinstance(config, NarrowingTraining):
        known, words = models.names(), ("training.narrow_decoder", "dB")
    elif isinstance(config, DecoderTraining):
        known, words = models.names(), ("training.decoder", "LPIPS", "dB")
    elif isinstance(config, HificTraining):
        known, words = models.names(), ("training.gan", "bpp", "dB")
    else:
        known, words = models.names(), ("training.main", "bpp", "dB")
    assert config.model in known
    text = path.read_text()
    for word in (f"python -m {words[0]}", f"--config {path.stem}", "cores", *words[1:]):
        assert word in text


def test_nonfinite_weights_are_never_saved(tmp_path, folder):
    run = new_run(tmp_path / "out", folder)

    def spoil(losses):
        run.trainer.variables[0].assign(run.trainer.variables[0] * np.nan)
        os.kill(os.getpid(), signal.SIGTERM)

    stop_at(run, 2, lambda losses: run._save())
    stop_at(run, 3, spoil)
    with pytest.raises(TrainingStopped, match="SIGTERM"):
        run.train()
    again = new_run(tmp_path / "out", folder)
    assert again.trainer.steps_taken == 2
    assert again.trainer.is_finite()


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(tmp_path, folder):
    run = new_run(tmp_path / "out", folder)
    for step in (2, 4):
        stop_at(run, step, lambda losses: run._save())
    stop_at(run, 4, lambda losses: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingStopped):
        run.train()
    files_of = sorted((tmp_path / "out" / "checkpoints").glob("ckpt-*.index"))
    files_of[-1].write_bytes(files_of[-1].read_bytes()[:100])
    assert 0 < new_run(tmp_path / "out", folder).trainer.steps_taken <= 4
    for path in (tmp_path / "out" / "checkpoints").glob("ckpt-*.index"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot be read: .*choose another --workdir"):
        new_run(tmp_path / "out", folder)


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        ({}, (None, None), True),
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), True),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), False),
        ({"chief": ["c:1"], "worker": ["a:1"]}, ("chief", 0), True),
        ({"chief": ["c:1"], "worker": ["a:1"]}, ("worker", 0), False),
    ],
)
def test_one_worker_writes_the_weights(cluster, task, chief):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
    )
    assert _is_chief(resolver) == chief


class SmallPhotos:
    """Defines and prepares a dataset of tensorflow-datasets in a folder."""

    def __init__(self, folder):
        import tensorflow_datasets as tfds

        class SmallPhotos(tfds.core.GeneratorBasedBuilder):
            """Photos of two sizes."""

            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = folder

            def _info(self):
                features = {"image": tfds.features.Image(shape=(None, None, 3))}
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples(3), "test": self._generate_examples(1)}

            def _generate_examples(self, count):
                for i in range(count):
                    yield i, {"image": cropped(80 + 20 * i, 90)}

        SmallPhotos(data_dir=folder).download_and_prepare()


def test_crops_of_a_tfds_dataset(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    SmallPhotos(tmp_path)
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    crops = list(data.crops("tfds:small_photos", 64, 1.0, 0).take(4))
    again = list(data.crops("tfds:small_photos", 64, 1.0, 0, first=2).take(2))
    assert {crop.shape for crop in crops} == {(64, 64, 3)}
    np.testing.assert_array_equal(crops[2:], again)
    (crop,) = data.crops("tfds:small_photos:test[:1]", 64, 1.0, 0).take(1)
    assert crop.shape == (64, 64, 3)
    with pytest.raises(data.DataError, match="no images of at least 128×128 pixels"):
        data.crops("tfds:small_photos", 128, 1.0, 0)
    for source, says in (("none_such", "none_such"), ("small_photos:holiday", "holiday")):
        with pytest.raises(data.DataError, match=says):
            data.crops(f"tfds:{source}", 64, 1.0, 0)
