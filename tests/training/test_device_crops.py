"""Crops on the device, in the runner of exported steps."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.training.test_portable import environment, exported, jax_python, pictures  # noqa: F401
from training.portable import step, values

SIDE = 32
PIXELS = 2**25

CUT = """
import json, pathlib, sys
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import crops, device_crops, image_files
given = json.loads(sys.argv[1])
try:
    images = device_crops.load(
        image_files.find(given["folder"]), image_files.read, given["side"], given["megapixels"], 2
    )
except crops.DataError as error:
    sys.exit(str(error))
cut = jax.jit(device_crops.cut, static_argnames=("seed", "batch", "side", "downscale"))
batches = [
    cut(images, np.uint32(n), seed=given["seed"], batch=64, side=given["side"],
        downscale=given["downscale"])
    for n in given["steps"]
]
np.savez(given["output"], crops=np.array(batches), capacity=len(images.pixels))
"""

REDUCE = """
import sys
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import device_crops
given = np.load(sys.argv[1])
print(json.dumps(device_crops._reduced(given["pixels"], given["sizes"], 32).tolist()))
"""


def coordinates(height: int, width: int, number: int) -> np.ndarray:
    """Returns an image whose pixels are its number, their row and their column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, number), rows, columns], -1).astype(np.uint8)


SIZES = [(40, 200), (SIDE, SIDE), (100, 100), (200, 180)]


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    path = tmp_path / "images"
    path.mkdir()
    for i, size in enumerate(SIZES):
        Image.fromarray(coordinates(*size, i)).save(path / f"{i}.png")
    Image.fromarray(coordinates(SIDE - 1, 200, 9)).save(path / "small.png")
    (path / "damaged.png").write_bytes(b"not an image")
    return path


class Cutter:
    """Crops the images of a folder in a process with jax."""

    def __init__(self, python: str, folder: pathlib.Path, output: pathlib.Path) -> None:
        self._python, self._output = python, output
        step.copy_programs(output.parent)
        self._given = {"folder": str(folder), "side": SIDE, "megapixels": None, "seed": 3}
        self._given |= {"downscale": 1.0, "steps": [0, 1, 2, 3], "output": str(output)}

    def process(self, **changes) -> subprocess.CompletedProcess[str]:
        given = json.dumps({**self._given, **changes})
        return subprocess.run(
            [self._python, "-c", CUT, given],
            env=environment(),
            cwd=self._output.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    def crops(self, **changes) -> np.ndarray:
        done = self.process(**changes)
        assert done.returncode == 0, done.stderr
        with np.load(self._output) as arrays:
            self.capacity = int(arrays["capacity"])
            return arrays["crops"]


@pytest.fixture
def cutter(jax_python, folder, tmp_path) -> Cutter:  # noqa: F811
    return Cutter(jax_python, folder, tmp_path / "crops.npz")


def test_crops_are_within_images_and_reach_all_positions(cutter):
    crops = cutter.crops(steps=list(range(40))).reshape(-1, SIDE, SIDE, 3).astype(int)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mirrored = crops[:, 0, 0, 2] > crops[:, 0, -1, 2]
    assert 0.4 < mirrored.mean() < 0.6
    crops = np.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)
    corners = crops[:, 0, 0]
    np.testing.assert_array_equal(crops[..., 1], corners[:, 1, None, None] + rows)
    np.testing.assert_array_equal(crops[..., 2], corners[:, 2, None, None] + columns)
    assert (crops[..., 0] == corners[:, 0, None, None]).all()
    pixels = np.array([height * width for height, width in SIZES])
    for i, (height, width) in enumerate(SIZES):
        found = corners[corners[:, 0] == i]
        # Proportional to its number of pixels.
        assert abs(len(found) / len(corners) - pixels[i] / pixels.sum()) < 0.04
        most = np.array([height - SIDE, width - SIDE])
        assert (found[:, 1:] <= most).all()
        if i:
            assert (found[:, 1:].min(axis=0) <= 0.1 * most).all()
            assert (found[:, 1:].max(axis=0) >= 0.9 * most).all()


def test_seed_and_step_determine_a_crop(cutter):
    every = cutter.crops(downscale=2.0)
    assert cutter.capacity == PIXELS
    again = cutter.crops(downscale=2.0, steps=[2, 3], megapixels=1.0)
    assert cutter.capacity == 1_000_000  # The capacity does not matter.
    np.testing.assert_array_equal(again, every[2:])
    assert (every[0] != every[1]).any()
    assert (cutter.crops(downscale=2.0, seed=4) != every).any()


def test_half_of_the_crops_are_scaled_down(cutter):
    crops = cutter.crops(downscale=2.0, steps=list(range(10))).reshape(-1, SIDE, SIDE, 3)
    large = crops[crops[:, 0, 0, 0] == 3].astype(float)
    factors = np.abs(large[:, 0, -1, 2] - large[:, 0, 0, 2]) / (SIDE - 1)
    assert 0.3 < np.mean(np.abs(factors - 1.0) < 0.02) < 0.7
    assert factors.min() > 0.99 and 1.7 < factors.max() < 2.05


def test_scaling_down_is_pillows_box_filter(jax_python, tmp_path):  # noqa: F811
    rng = np.random.default_rng(0)
    sizes = np.array([32, 33, 40, 47, 64])
    pixels = rng.integers(256, size=[5, 64, 64, 3], dtype=np.uint8)
    np.savez(tmp_path / "given.npz", pixels=pixels, sizes=sizes)
    step.copy_programs(tmp_path)
    done = subprocess.run(
        [jax_python, "-c", f"import json\n{REDUCE}", tmp_path / "given.npz"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for image, size, ours in zip(pixels, sizes, json.loads(done.stdout)):
        box = Image.fromarray(image[:size, :size]).resize((32, 32), Image.Resampling.BOX)
        theirs = np.asarray(box, int)
        assert np.abs(np.array(ours) - theirs).max() <= 1


def test_unusable_images_are_logged_and_a_full_device_is_an_error(cutter, folder):
    said = cutter.process().stderr
    assert "damaged.png" in said and "small.png: 31 pixels on its short side" in said
    done = cutter.process(megapixels=0.05)
    assert "more than 0.05 megapixels" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    for name in range(len(SIZES)):
        (folder / f"{name}.png").unlink()
    assert "no usable images: all of 2" in cutter.process().stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def converted(jax_python, exported) -> pathlib.Path:  # noqa: F811
    subprocess.run([jax_python, exported / "convert.py"], check=True, env=environment())
    return exported


class Runner:
    """Runs the runner with crops on the device."""

    def __init__(self, python: str, folder: pathlib.Path, data: pathlib.Path, cache: str) -> None:
        self._command = [python, folder / "runner.py", f"--data={data}"]
        self._command += ["--crops=device", f"--compile_cache={cache}"]

    def begin(self, workdir: pathlib.Path, *flags: str) -> subprocess.Popen[str]:
        command = [*self._command, f"--workdir={workdir}", *flags]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )

    def run(self, workdir: pathlib.Path, *flags: str) -> tuple[int, str, str]:
        with self.begin(workdir, *flags) as process:
            output, errors = process.communicate()
        return process.returncode, output, errors


@pytest.fixture(scope="module")
def runner(jax_python, converted, pictures, tmp_path_factory) -> Runner:  # noqa: F811
    cache = tmp_path_factory.mktemp("compiled")
    made = Runner(jax_python, converted, pictures, str(cache))
    made.cache = cache
    return made


def final(workdir: pathlib.Path, folder: pathlib.Path) -> dict[str, np.ndarray]:
    path = workdir / "checkpoint.npz"
    digest = values.read_manifest(folder)["digest"]
    return values.read_checkpoint(path, path.read_bytes(), digest)[0]


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_values_of_an_uninterrupted_one(runner, converted, tmp_path):
    code, _, said = runner.run(tmp_path / "whole", "--split_mebibytes=0.01")
    assert code == 0, said
    with runner.begin(tmp_path / "parts") as process:
        assert "3 files" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert (process.returncode, said.strip()) == (143, "SIGTERM: saved at step 5.")
    code, output, _ = runner.run(tmp_path / "parts")
    assert code == 0 and "resuming from step 5" in output
    whole, parts = (final(tmp_path / name, converted) for name in ("whole", "parts"))
    assert int(whole["step"]) == 20
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)

    # The split averages equal those of the checkpoint.
    written = sorted((tmp_path / "whole").glob("average.npz.*"))
    assert len(written) > 1 and max(p.stat().st_size for p in written) <= 0.01 * 2**20
    model = step.load_trained_model(converted, tmp_path / "whole" / "average.npz")
    for i, variable in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(variable, whole[f"average/{i:03}"])

    # They differ from the host's crops.
    code, _, said = runner.run(tmp_path / "parts", "--crops=host", "--steps=30")
    assert (code, len(said.splitlines())) == (1, 1)
    assert "is of a run with --crops=device" in said


@pytest.mark.slow
def test_another_folder_uses_the_same_compiled_program(runner, jax_python, converted, tmp_path):  # noqa: F811
    runner.run(tmp_path / "first", "--steps=5")
    programs = {p.name for p in runner.cache.iterdir() if p.name.endswith("-cache")}
    assert any("call" in name for name in programs)
    others = tmp_path / "others"
    others.mkdir()
    Image.fromarray(coordinates(200, 180, 1)).save(others / "0.png")
    other = Runner(jax_python, converted, others, str(runner.cache))
    code, _, said = other.run(tmp_path / "second", "--steps=5")
    assert code == 0, said
    assert {p.name for p in runner.cache.iterdir() if p.name.endswith("-cache")} == programs


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--steps=0"], "--steps: must be above 0; got 0"),
        (["--minutes=inf"], "--minutes: must be above 0; got inf"),
        (["--threads=two"], "--threads: invalid int value: 'two'"),
        (["--decay=1.5"], "--decay: must be at least 0 and at most 1; got 1.5"),
        (["--device_megapixels=3000"], "at most 2147.48; got 3000"),
        (["--crops=host", "--device_megapixels=3"], "is for --crops=device"),
        (["--device_megapixels=0.01"], "more than 0.01 megapixels"),
    ],
)
def test_errors_are_reported_in_one_line(runner, tmp_path, flags, says):
    code, _, said = runner.run(tmp_path / "out", *flags)
    assert code in (1, 2) and says in said.splitlines()[-1]
    assert "Traceback" not in said


def test_an_unconverted_step_is_an_error(jax_python, exported, pictures, tmp_path):  # noqa: F811
    folder = tmp_path / "step"
    shutil.copytree(exported, folder, ignore=shutil.ignore_patterns("*.stablehlo"))
    made = Runner(jax_python, folder, pictures, str(tmp_path))
    code, _, said = made.run(tmp_path / "out")
    assert code == 1 and "convert.py first" in said.splitlines()[-1]
