"""The linear start, and training, publishing and coding with the programs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import socket
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import programs
from tests.conftest import SMALL, completed, cropped, photo
from tfc_models import models, zoo
from tfc_models.codec import Codec
from tfc_models.training import config as configs
from tfc_models.training.linear_start import linear_start, quantization_step
from tfc_models.zoo import files

ROOT = pathlib.Path(__file__).parents[2]


def crops() -> np.ndarray:
    image = photo()
    tiles = [image[i : i + 128, j : j + 128] for i in range(0, 384, 64) for j in range(0, 384, 64)]
    return np.stack(tiles).astype(np.float32)


def test_the_linear_start_is_an_invertible_transform():
    tf.keras.utils.set_random_seed(0)
    model = models.build("mbt2018-mean", channels=64, latents=96, lmbda=0.01)
    model.set_bfloat16("off")
    random = float(tf.reduce_mean(tf.square(model(crops()[:4]).reconstruction - crops()[:4])))
    kept = linear_start(model, crops())
    assert 0.97 < kept <= 1.0
    y = model.to_latents(crops()[:4])
    linear = float(tf.reduce_mean(tf.square(model.to_images(tf.round(y)) - crops()[:4])))
    assert linear < 0.1 * random
    # Rounding adds about step²/12 for each coefficient that is larger than a step.
    assert linear < 1.5 * quantization_step(0.01) ** 2 / 12


# gained-stem4 is always tested, because its networks start differently from the sampled ones.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.sampled] * (name != "gained-stem4"))
        for name in models.names()
        if name != "hific"
    ],
)
def test_all_models_except_hific_have_a_linear_start(name):
    tf.keras.utils.set_random_seed(0)
    model = models.build(name, channels=48, latents=96)
    model.set_bfloat16("off")
    linear_start(model, crops())
    image = crops()[:4]
    # Without rounding, only the truncated components are lost, because all other layers are near
    # the identity.
    back = model.to_images(model.to_latents(image))
    assert float(tf.reduce_mean(tf.square(back - image))) < 60.0
    for training in (True, False):
        bits = sum(tf.reduce_sum(b) for b in model(image, training=training).bits.values())
        assert float(bits) < 4.0 * image.size / 3


def test_a_missing_linear_start_is_reported_in_one_line(folder, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from tfc_models.training.config import Config\n"
        f"CONFIG = Config(model='hific', arguments={SMALL['hific']}, steps=1)\n"
    )
    flags = [f"--config={path}", f"--data={folder}", f"--workdir={tmp_path / 'out'}"]
    said = run("training.main", *flags, code=1)
    (line,) = [line for line in said.splitlines() if "hific" in line]
    assert "has no linear start" in line and "start=random" in line


def run(module: str, *flags: str, code: int = 0) -> str:
    return completed([sys.executable, "-m", module, *flags], code).stderr


@pytest.mark.parametrize("program", ["main", "gan", "realism", "sources"])
def test_help_lists_the_flags_of_a_program(program):
    """absl exits with 1 after --help."""
    said = completed([sys.executable, "-m", f"training.{program}", "--help"], 1).stdout
    assert "--config:" in said and "--workdir:" in said
    assert ("--data:" in said) == (program != "sources")


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Images of several sizes and modes in nested folders, one too small and one damaged."""
    path = tmp_path / "images"
    (path / "more").mkdir(parents=True)
    for i, crop in enumerate(crops()[::6]):
        large = np.kron(crop, np.ones([2, 2 + i % 2, 1])).astype(np.uint8)
        Image.fromarray(large).convert("L" if i == 2 else "RGB").save(path / "more" / f"{i}.png")
    Image.fromarray(crops()[0].astype(np.uint8)[:40]).save(path / "small.jpg")
    (path / "broken.png").write_bytes(b"not an image")
    return path


SMALL_RUN = [
    *("--config=mbt2018_mean", "--set=arguments.channels=8"),
    *("--set=arguments.latents=12", "--set=crop=64", "--set=batch=4", "--set=log_steps=5"),
    "--set=bfloat16=off",
]


@pytest.mark.slow
def test_the_programs_train_publish_and_code(folder, tmp_path):
    train = [*SMALL_RUN, f"--data={folder}", f"--workdir={tmp_path / 'out'}"]
    apart = tmp_path / "apart"
    apart.mkdir()
    for size in (200, 90):  # The second is too small for MS-SSIM.
        Image.fromarray(cropped(size, size + 30)).save(apart / f"{size}.png")
    said = run("training.main", *train, f"--validation={apart}", "--steps=10")
    for text in (
        "not used",
        "small.jpg: 40 pixels",
        "broken.png",
        "2 of 8 files so far",
        "start-up: ",
        "linear start ",
        "first step, traced and compiled: ",
        "step 10",
        "validation: ",
        "finished: 0.",
    ):
        assert text in said
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))
    rows = (tmp_path / "out" / "validation.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,rate,bpp,psnr") and rows[1].startswith("10,")
    assert "nan" not in rows[1]
    assert "the budget is used up" in run("training.main", *train, "--steps=10")
    assert "resuming from step 10" in run("training.main", *train, "--steps=12")
    publish = [
        f"--weights={tmp_path / 'out' / 'weights.npz'}",
        "--name=small",
        f"--calibration={folder / 'more'}",
        f"--validation={folder / 'more'}",
        "--selected=nothing",
        f"--folder={tmp_path}",
        "--default",
    ]
    for version in (1, 2):
        run("training.publish", *publish)
        entry = json.loads((tmp_path / "index.json").read_text())[-1]
        assert (entry["version"], entry["default"]) == (version, True)
    codec = Codec(zoo.build_model(files.read(tmp_path / entry["file"])), entry["name"])
    assert codec.digest == entry["digest"]
    image = cropped(70, 50)
    assert codec.decompress(codec.compress(image)).shape == image.shape
    assert "| mean |" in (tmp_path / "small.v2.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set=nonsense=1"], "--set takes key=value"),
        (["--steps=3", "--minutes=1"], "not both"),
        (["--steps=3", "--data=/nowhere"], "no images in /nowhere"),
        (["--set=arguments.depth=3", "--steps=3"], "depth"),
        (["--set=rates.blocks=fast", "--steps=3"], "rates.blocks must be a number"),
        ([f"--set=rates.{kind}=0" for kind in configs.RATES], "nothing to train"),
        (["--set=batch=two", "--steps=3"], "batch must be of type int; got 'two'"),
        (["--set=warmup=-1", "--steps=3"], "warmup must be a fraction"),
        (["--set=validation_rates=(0,200)", "--steps=3"], "validation_rates must be 0 to 100"),
        (["--steps=3", "--validation=DATA/more"], "images of --validation are also in --data"),
        (["--steps=3", "--validation=DATA/none"], "no images in"),
    ],
)
def test_errors_of_training_are_reported_in_one_line(folder, tmp_path, arguments, says):
    arguments = [argument.replace("DATA", str(folder)) for argument in arguments]
    train = [*SMALL_RUN, f"--data={folder}", f"--workdir={tmp_path / 'out'}", *arguments]
    said = run("training.main", *train, code=1)
    assert says in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--folder=/nowhere"], "there is no folder /nowhere"),
        (["--weights=/nowhere.npz"], "nowhere.npz"),
        (["--validation=/typo", "--selected=nothing"], "no images in /typo"),
        (["--validation=/typo"], "state with --selected"),
        (["--calibration=EMPTY"], "no images in"),
    ],
)
def test_errors_of_publishing_are_reported_in_one_line(tmp_path, arguments, says):
    (tmp_path / "empty").mkdir()
    flags = {
        "--name": "x",
        "--folder": str(tmp_path),
        "--weights": str(ROOT / "tests" / "golden" / "bls2017.npz"),
        "--calibration": str(tmp_path / "empty"),
    }
    flags.update(a.replace("EMPTY", str(tmp_path / "empty")).split("=") for a in arguments)
    said = run("training.publish", *(f"{k}={v}" for k, v in flags.items()), code=1)
    assert says in said.splitlines()[-1] and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.mark.exhaustive
def test_two_workers_take_the_same_step_as_one(folder, tmp_path):
    """One SGD step on the same four crops, in one process and in two."""
    train = [
        *SMALL_RUN,
        *("--set=optimizer=sgd", "--set=arguments.quantization=round", "--set=warmup=0"),
        *("--steps=1", f"--data={folder / 'more'}"),
    ]
    run("training.main", *train, f"--workdir={tmp_path / 'one'}")
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.bind(("localhost", 0))
        ports = [sock.getsockname()[1] for sock in (first, second)]
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    workers = []
    for i in range(2):
        task = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        flags = [*train, "--strategy=multiworker", f"--workdir={tmp_path / 'two'}"]
        environment = {**os.environ, "TF_CONFIG": task}
        workers.append(programs.Program("-m", "training.main", *flags, environment=environment))
    # The outputs are read in parallel, because the workers wait for each other.
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda w: w.communicate(), [stack.enter_context(w) for w in workers])
        for worker, (_, said) in zip(workers, found):
            assert worker.wait(programs.LONGEST) == 0, said[-2000:]
    one, two = (
        tf.train.load_checkpoint(str(tmp_path / name / "checkpoints")) for name in ("one", "two")
    )
    names = [n for n in one.get_variable_to_shape_map() if n.startswith("average/")]
    assert len(names) > 30
    for name in names:
        np.testing.assert_allclose(two.get_tensor(name), one.get_tensor(name), rtol=1e-4, atol=1e-6)
