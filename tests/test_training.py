"""The linear start, and fit → publish → codec as a user runs them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import cropped, photo
from tfc_models import models, zoo
from tfc_models.codec import Codec
from tfc_models.zoo import files
from training.linear_start import linear_start, quantization_step

ROOT = pathlib.Path(__file__).parents[1]


def crops() -> np.ndarray:
    picture = photo()
    tiles = [
        picture[i : i + 128, j : j + 128] for i in range(0, 384, 64) for j in range(0, 384, 64)
    ]
    return np.stack(tiles).astype(np.float32)


def test_the_linear_start_is_a_transform_that_inverts():
    tf.keras.utils.set_random_seed(0)
    model = models.build("mbt2018-mean", channels=64, latents=96, lmbda=0.01)
    model.set_bfloat16("off")
    random = float(tf.reduce_mean(tf.square(model(crops()[:4]).reconstruction - crops()[:4])))
    kept = linear_start(model, crops())
    assert 0.97 < kept <= 1.0
    y = model.to_latents(crops()[:4])
    linear = float(tf.reduce_mean(tf.square(model.to_pictures(tf.round(y)) - crops()[:4])))
    assert linear < 0.1 * random
    # Rounding costs about step²/12 for each coefficient that is not below a step anyway.
    assert linear < 1.5 * quantization_step(0.01) ** 2 / 12


@pytest.mark.parametrize("name", models.names())
def test_every_model_has_a_linear_start(name):
    tf.keras.utils.set_random_seed(0)
    model = models.build(name, channels=48, latents=96)
    model.set_bfloat16("off")
    linear_start(model, crops())
    picture = crops()[:4]
    # Between the linear parts only normalizations, near the identity: without rounding the
    # picture comes back but for the components that were cut off.
    back = model.to_pictures(model.to_latents(picture))
    assert float(tf.reduce_mean(tf.square(back - picture))) < 60.0
    for training in (True, False):
        bits = sum(tf.reduce_sum(b) for b in model(picture, training=training).bits.values())
        assert float(bits) < 4.0 * picture.size / 3


def run(module: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.slow
def test_fit_resumes_and_publish_enters_the_zoo(tmp_path):
    for i, crop in enumerate(crops()[::6]):
        (tmp_path / "pictures" / "more").mkdir(parents=True, exist_ok=True)
        large = np.kron(crop, np.ones([3, 3, 1])).astype(np.uint8)
        Image.fromarray(large).save(tmp_path / "pictures" / "more" / f"{i}.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"not a picture")
    fit = [
        "--model=mbt2018-mean",
        "--channels=8",
        "--latents=12",
        "--crop=64",
        "--batch=2",
        f"--data={tmp_path / 'pictures'}",
        f"--workdir={tmp_path / 'out'}",
    ]
    run("training.fit", *fit, "--minutes=0.03")
    assert "going on from step" in run("training.fit", *fit, "--minutes=0.06")
    weights = tmp_path / "out" / "weights.npz"
    publish = [
        f"--weights={weights}",
        "--name=small-1",
        f"--calibration={tmp_path / 'pictures' / 'more'}",
        f"--validation={tmp_path / 'pictures' / 'more'}",
        f"--folder={tmp_path}",
        "--default",
    ]
    run("training.publish", *publish)
    (entry,) = json.loads((tmp_path / "index.json").read_text())
    codec = Codec(zoo.build_model(files.read(tmp_path / entry["file"])), entry["name"])
    assert (codec.digest, entry["default"]) == (entry["digest"], True)
    picture = cropped(70, 50)
    assert codec.decompress(codec.compress(picture)).shape == picture.shape
    assert "| mean |" in (tmp_path / "small-1.md").read_text()
