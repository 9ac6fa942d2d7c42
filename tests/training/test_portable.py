"""Export of training steps to jax: contents, and equality with TensorFlow's step."""

from __future__ import annotations

import ast
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import SMALL, photo
from tfc_models import models, zoo
from tfc_models.training import data
from tfc_models.training.config import Config
from tfc_models.training.trainer import Trainer
from tfc_models.zoo import files
from training.portable import split_files, step, values

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"channels": 8, "latents": 12},
    start="random",
    steps=20,
    batch=2,
    crop=64,
    log_steps=1,
    rates={**Config("", steps=1).rates, "transforms": 1e-3},
)


def trainer() -> Trainer:
    tf.keras.utils.set_random_seed(1)
    model = models.build(CONFIG.model, **CONFIG.arguments)
    model.set_bfloat16("off")
    made = Trainer(model, CONFIG)
    made.start("")
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, corner in enumerate([0, 128, 256]):
        tile = photo()[corner : corner + 200, corner : corner + 160]
        Image.fromarray(tile).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("step")
    step.write(trainer(), folder, steps_per_call=5)
    return folder


def checkpoint(folder: pathlib.Path, path: pathlib.Path, digest: str = "") -> dict:
    """Writes a checkpoint with the initial values and other averages; returns the averages."""
    manifest = values.read_manifest(folder)
    found = values.initial(folder, manifest)
    found.update({k: v + 0.25 for k, v in found.items() if k.startswith("average/")})
    meta = {"digest": digest or manifest["digest"], "seconds": 1.0, "crops": "host"}
    path.write_bytes(values.checkpoint_bytes(found, meta))
    return found


@pytest.mark.slow
def test_the_compiled_step_equals_the_plain_one(pictures):
    plain, compiled = trainer(), trainer()
    call = tf.function(compiled.train_step, jit_compile=True, autograph=False)
    crops = data.crops(str(pictures), CONFIG.crop, CONFIG.downscale, CONFIG.seed)
    for i, batch in enumerate(crops.batch(CONFIG.batch).take(4)):
        rates = CONFIG.learning_rates((i + 5) / 20)
        expected = plain.train(batch, rates)
        losses = call(batch, tf.constant([rates[k] for k in compiled.groups]))
        for name, value in expected.items():
            np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    for ours, theirs in zip(compiled.average, plain.average):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    # Both make two draws per step, with equal results.
    np.testing.assert_array_equal(
        compiled.model.coder.noise.generator.state, plain.model.coder.noise.generator.state
    )


def test_the_manifest_describes_inputs_and_outputs(exported):
    manifest = values.read_manifest(exported)
    batch, rates, *variables = manifest["inputs"]
    assert (batch["shape"], batch["dtype"]) == ([2, 64, 64, 3], "uint8")
    assert rates["shape"] == [len(manifest["groups"])]
    assert manifest["losses"] == ["bpp", "loss", "mse", "norm", "skipped"]
    first = values.initial(exported, manifest)
    assert sorted(first) == sorted(v["name"] for v in variables)
    for variable in variables:
        array = first[variable["name"]]
        assert [list(array.shape), array.dtype.name] == [variable["shape"], variable["dtype"]]
    changed = {v["name"] for v in variables if v["output"] is not None}
    fresh = trainer()
    for i in range(len(fresh.variables)):
        assert {f"weights/{i:03}", f"average/{i:03}"} <= changed
    assert {"step", "running_loss"} <= changed
    # The state of the noise is an input, and determines all random numbers.
    assert sum(v["dtype"] == "int64" and v["shape"] == [3] for v in variables) == 2
    assert json.loads(json.dumps(CONFIG.schedule)) == manifest["schedule"]
    assert {p.name for p in exported.iterdir()} >= {
        "step.hlo",
        *(p.name for p in step.PORTABLE_FILES),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bls2017", "gained-stem4"])
def test_steps_of_single_and_variable_rate_models_are_exported(name, tmp_path):
    config = Config(name, SMALL[name], start="random", steps=1, batch=1, crop=176)
    tf.keras.utils.set_random_seed(1)
    model = models.build(name, **SMALL[name], distortion="ms-ssim")
    model.set_bfloat16("on")
    # The export fails if the compiled inputs differ from the traced ones.
    manifest = step.write(Trainer(model, config), tmp_path, steps_per_call=1)
    assert (manifest["computes_in"], len(manifest["losses"])) == ("bfloat16", 5)


def test_a_wrong_order_of_arguments_is_an_error():
    text = "HloModule step\n\nENTRY %main {\n  %a = u8[2]{0} parameter(0)\n"
    text += "  %b = f32[] parameter(1), metadata={}\n"
    inputs = [
        {"shape": [2], "dtype": "uint8", "output": None},
        {"shape": [], "dtype": "float32", "output": 1},
    ]
    step._check(text, inputs, losses=1)
    with pytest.raises(ValueError, match="parameter 0"):
        step._check(text, inputs[::-1], losses=1)
    with pytest.raises(ValueError, match="2 losses"):
        step._check(text, inputs, losses=2)


def test_a_checkpoint_is_converted_to_a_weights_file(exported, tmp_path):
    expected = checkpoint(exported, tmp_path / "checkpoint.npz")
    model = step.load_trained_model(exported, tmp_path / "checkpoint.npz")
    for i, variable in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(variable, expected[f"average/{i:03}"])
    files.save(model, tmp_path / "weights.npz")
    again = zoo.build_model(files.read(tmp_path / "weights.npz")).state()
    for name, value in model.state().items():
        np.testing.assert_allclose(again[name], value, rtol=1e-2, atol=1e-2)  # float16 in the file


def test_another_steps_checkpoint_is_refused(exported, tmp_path):
    checkpoint(exported, tmp_path / "checkpoint.npz", digest="0" * 64)
    with pytest.raises(ValueError, match="another step"):
        step.load_trained_model(exported, tmp_path / "checkpoint.npz")
    with pytest.raises(ValueError, match="not a checkpoint of the runner"):
        step.load_trained_model(exported, exported / "initial.npz")
    with pytest.raises(FileNotFoundError, match="no exported step"):
        step.load_trained_model(tmp_path, tmp_path / "checkpoint.npz")
    with pytest.raises(FileNotFoundError, match=r"no .*other.npz, and no other.npz.1-of-"):
        step.load_trained_model(exported, tmp_path / "other.npz")
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match="has format 1, not 2: export it again"):
        step.load_trained_model(tmp_path, tmp_path / "checkpoint.npz")


def test_an_export_omits_redundant_values(exported):
    """Moments are zero and averages equal the weights: more than two thirds of all values."""
    manifest = values.read_manifest(exported)
    first, made = values.initial(exported, manifest), trainer()
    with np.load(exported / "initial.npz") as arrays:
        stored = set(arrays.files)
        size = sum(arrays[name].nbytes for name in stored)
    assert not any(name.startswith("average/") for name in stored)
    assert size < 0.3 * sum(v.nbytes for v in first.values())
    for i, (weight, average) in enumerate(zip(made.variables, made.average)):
        np.testing.assert_array_equal(first[f"weights/{i:03}"], weight)
        np.testing.assert_array_equal(first[f"average/{i:03}"], average)


def test_weights_are_float16_if_exact_or_requested():
    rng = np.random.default_rng(0)
    rough = rng.normal(size=2000).astype(np.float16).astype(np.float32)
    fine = rng.normal(size=2000).astype(np.float32)
    found = {"weights/0": rough, "weights/1": fine, "weights/2": fine[:10], "weights/3": 1e6 * fine}
    found.update({"average/1": fine + 1, "optimizer/0": 0 * fine, "step": np.int64(3)})

    def dtypes(half: bool) -> dict[str, str]:
        kept, origins = values.compact(found, half)
        assert origins["optimizer/0"] == "zeros" and "optimizer/0" not in kept
        return {name: kept[name].dtype.name for name in kept}

    exact = dict.fromkeys(found, "float32") | {"weights/0": "float16", "step": "int64"}
    del exact["optimizer/0"]
    assert dtypes(False) == exact
    assert dtypes(True) == exact | {"weights/1": "float16", "average/1": "float16"}


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
def test_a_split_file_is_restored(tmp_path, limit):
    path, content = tmp_path / "average.npz", bytes(range(100))
    split_files.write(path, content * 2, limit)  # Earlier, longer contents.
    written = split_files.write(path, content, limit)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert max(p.stat().st_size for p in written) <= limit
    assert split_files.read(path) == content


def test_pieces_that_do_not_fit_together_are_refused(tmp_path):
    path = tmp_path / "average.npz"
    first, second, _ = split_files.write(path, bytes(30), 10)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=r"average\.npz\.2-of-3 is missing"):
        split_files.read(path)
    second.write_bytes(bytes(10))
    first.with_name("average.npz.1-of-1").write_bytes(bytes(10))
    with pytest.raises(FileNotFoundError, match="two sets"):
        split_files.read(path)


@pytest.mark.parametrize("path", step.PORTABLE_FILES, ids=lambda path: path.name)
def test_exported_programs_need_only_jax_numpy_and_pillow(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    found = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    packages = {module.split(".")[0] for module in found}
    ours = {path.stem for path in step.PORTABLE_FILES}
    allowed = {"jax", "jaxlib", "numpy", "PIL", *ours}
    if sys.version_info < (3, 10):
        pytest.skip("sys.stdlib_module_names came with Python 3.10")
    assert packages <= allowed | set(sys.stdlib_module_names)


@pytest.fixture(scope="module")
def jax_python() -> str:
    """Python with jax, in another environment than TensorFlow, because jax needs NumPy 2."""
    python = os.environ.get("TFC_MODELS_JAX_PYTHON")
    if not python:
        pytest.skip("needs TFC_MODELS_JAX_PYTHON, a Python with jax: `make portable-test` has one")
    # The tests may run in another folder than the one in which the variable was set.
    return str(pathlib.Path(python).absolute())


def environment() -> dict[str, str]:
    # Compilation takes longer than 20 steps of a small model.
    return {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PLATFORMS": "cpu"}


@pytest.mark.slow
def test_the_runner_takes_the_same_steps_as_the_trainer(jax_python, exported, pictures, tmp_path):
    """Compares 20 steps, interrupted by SIGTERM, to 20 steps of TensorFlow's graph."""
    subprocess.run([jax_python, exported / "convert.py"], check=True, env=environment())
    command = [jax_python, exported / "runner.py", f"--data={pictures}", f"--workdir={tmp_path}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        # Printed before the first call is compiled, after which the run handles the signal.
        assert "3 files" in run.stdout.readline()
        run.send_signal(signal.SIGTERM)
        errors = run.communicate()[1]
    assert (run.returncode, errors.strip()) == (143, "SIGTERM: saved at step 5.")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    assert "resuming from step 5" in done.stdout
    with (tmp_path / "losses.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))

    plain = trainer()
    crops = data.crops(str(pictures), CONFIG.crop, CONFIG.downscale, CONFIG.seed)
    for i, batch in enumerate(crops.batch(CONFIG.batch).take(20)):
        losses = plain.train(batch, CONFIG.learning_rates(i / 20))
        for name, value in losses.items():
            np.testing.assert_allclose(
                float(rows[i][name]), value, rtol=1e-3, err_msg=f"{name} of step {i + 1}"
            )
    model = step.load_trained_model(exported, tmp_path / "checkpoint.npz")
    for ours, theirs in zip(model.trainable_variables, plain.average):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
