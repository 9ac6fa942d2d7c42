"""Pairs of frames, and training of PIM and PIM-bands on them."""

from __future__ import annotations

import csv
import json
import logging
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import completed, cropped
from tfc_models.perceptual import PimBands, PimBandsConfig, load_pim, load_pim_bands
from tfc_models.training import frames
from tfc_models.training.config import PimTraining
from tfc_models.training.crops import DataError
from tfc_models.training.fog_overlays import apply_overlays
from tfc_models.training.frames import (
    Limits,
    crops_of_pairs,
    difference,
    find_pairs,
    with_equal_sizes,
)
from tfc_models.training.pim import OVERLAY_SEED, SHIPPED, PimTrainer

LIMITS = Limits(gap=(0.05, 0.25), motion=(1.0, 45.0), every=2.0, side=240)
SMALL = [f"--set=arguments.{a}" for a in ("frontend=laplacian", "width=4", "hidden=6")]
SMALL += ["--set=batch=3", "--set=crop=32"]


def moving(count: int, step: int = 2) -> list[np.ndarray]:
    """Frames of a camera that moves to the right."""
    photo = cropped(64, 80 + count * step)
    return [np.ascontiguousarray(photo[:, i * step : i * step + 80]) for i in range(count)]


@pytest.fixture
def table(tmp_path):
    """A pairs.csv of four pairs, whose files are in a folder next to it."""
    folder = tmp_path / "data"
    (folder / "pairs").mkdir(parents=True)
    names = []
    for i in range(4):
        scene = cropped(70 + i, 60 + 8 * i)
        for letter, frame in (("a", scene[:, :-4]), ("b", scene[:, 4:])):
            Image.fromarray(frame).save(folder / "pairs" / f"scene{i}_{letter}.png")
        names.append(f"scene{i}")
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["name"], *([name] for name in names)])
    return folder / "pairs.csv"


def test_pairs_of_a_table(table, tmp_path, caplog):
    pairs = find_pairs(str(table), tmp_path, LIMITS)
    assert find_pairs(str(table.parent), tmp_path, LIMITS) == pairs
    assert [path.name for path in pairs[0]] == ["scene0_a.png", "scene0_b.png"]
    pairs[1][1].unlink()
    with caplog.at_level(logging.WARNING):
        assert len(find_pairs(str(table), tmp_path, LIMITS)) == 3
    assert "1 pairs without files, e.g. scene1" in caplog.text


def test_pairs_of_folders_of_frames(tmp_path):
    """Frames without motion and frames of different scenes are not paired."""
    still, cut = [cropped(64, 80)] * 6, [cropped(64, 80), 255 - cropped(64, 80)] * 3
    for name, scene in (("moving", moving(12)), ("still", still), ("cut", cut)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(scene):
            Image.fromarray(frame).save(tmp_path / name / f"{i}.png")
    (tmp_path / "moving" / "5.png").write_bytes(b"not an image")
    pairs = find_pairs(str(tmp_path), tmp_path, LIMITS._replace(gap=(0.04, 0.1)))
    assert pairs and all(a.parent.name == b.parent.name == "moving" for a, b in pairs)
    gaps = {int(b.stem) - int(a.stem) for a, b in pairs}
    assert gaps <= {1, 2} and len(gaps) == 2


def test_pairs_of_videos(tmp_path):
    """A moving scene, a cut to a static one, and a file that is not a video."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    path = tmp_path / "walk.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in [*moving(60, 1), *[cropped(64, 80)[::-1]] * 40]:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        video.mux(stream.encode())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    limits = LIMITS._replace(gap=(0.1, 0.2), every=0.5, side=48)
    pairs = find_pairs(f"video:{tmp_path}/*.mp4", out, limits)
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 4 <= len(pairs) == len(rows) <= 7  # of three seconds
    for row in rows:
        assert row["scene"] == "walk.mp4" and 0.09 <= float(row["gap_s"]) <= 0.22
    a, b = (np.asarray(Image.open(path)) for path in pairs[0])
    assert a.shape == b.shape == (48, 60, 3) and difference(a, b) > 1.0
    # Extracted pairs are reused without reading the videos, but not for other limits.
    path.write_bytes(b"no video")
    assert find_pairs(f"video:{tmp_path}/*.mp4", out, limits) == pairs
    with pytest.raises(DataError, match="pairs of other videos or limits"):
        find_pairs(f"video:{tmp_path}/*.mp4", out, limits._replace(every=1.0))
    with pytest.raises(DataError, match="no videos match"):
        find_pairs(f"video:{tmp_path}/*.avi", tmp_path / "other", limits)
    with pytest.raises(DataError, match="has pairs within the limits"):
        find_pairs(f"video:{tmp_path}/broken.mp4", tmp_path / "other", limits)


def test_videos_need_their_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="videos need PyAV: pip install av"):
        find_pairs(f"video:{tmp_path}/*.mp4", tmp_path / "out", LIMITS)


def test_crops_of_a_pair_have_one_position_which_the_number_determines(table, tmp_path):
    pairs = find_pairs(str(table), tmp_path, LIMITS)
    first = [c.numpy() for c in crops_of_pairs(pairs, 32, seed=1).take(12)]
    later = [c.numpy() for c in crops_of_pairs(pairs, 32, seed=1, first=5).take(3)]
    for crop, again in zip(first[5:], later):
        np.testing.assert_array_equal(crop, again)
    for crop in first:  # b is a shifted by four columns; if mirrored or swapped, by minus four.
        a, b = crop
        assert np.array_equal(a[:, 4:], b[:, :-4]) or np.array_equal(b[:, 4:], a[:, :-4])
    assert {tuple(c[0, 0, 0]) for c in first} != {tuple(first[0][0, 0, 0])}


def test_small_and_damaged_frames_are_left_out(table, tmp_path):
    pairs = find_pairs(str(table), tmp_path, LIMITS)
    pairs[0][0].write_bytes(b"not an image")
    assert with_equal_sizes(pairs, 65) == pairs[2:]  # 60 - 4 and 68 - 4 pixels wide
    with pytest.raises(
        DataError, match="no pair has frames of equal size with at least 128×128 pixels"
    ):
        with_equal_sizes(pairs, 128)


def test_every_pair_occurs_once_per_epoch(table, tmp_path):
    pairs = find_pairs(str(table), tmp_path, LIMITS)
    crops = [c.numpy() for c in crops_of_pairs(pairs * 2, 32, seed=3).take(16)]
    assert len({c.tobytes() for c in crops[:8]}) == 8


def run(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "training.pim", "--config=pim", *SMALL]
    return completed([*command, *arguments], code).stderr


@pytest.mark.slow
def test_the_program_trains_and_resumes(table, tmp_path):
    other = tmp_path / "other"
    (other / "pairs").mkdir(parents=True)
    for letter, frame in zip("ab", moving(2)):
        Image.fromarray(frame).save(other / "pairs" / f"x_{letter}.png")
    (other / "pairs.csv").write_text("name\nx\n")
    flags = [f"--data={table}", f"--workdir={tmp_path / 'out'}", "--set=log_steps=1"]
    run(*flags, "--steps=3", f"--validation={other}")
    out = tmp_path / "out"
    with (out / "validation.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "3" and np.isfinite(float(row["bound"]))
    assert load_pim(out / "weights.npz").settings.width == 4
    said = run(*flags, "--steps=5")
    assert "resuming from step 3" in said and "step 5" in said
    assert json.loads((out / "config.json").read_text())["width"] == 4
    assert list((out / "tensorboard").iterdir())
    refused = run(*flags, "--steps=6", "--set=arguments.width=5", code=1)
    assert "holds a run with another width" in refused.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data=/nowhere"], "no pairs in /nowhere: give a pairs.csv"),
        (["--data=TABLE", "--set=batch=1"], "batch must be 2 or more"),
        (["--data=TABLE", "--set=batch=2", "--set=order=1"], "batch must be 3 or more with order"),
        (["--data=TABLE", "--set=start=shipped"], "has other networks than this run"),
        (["--data=TABLE", "--validation=TABLE"], "files of --validation are also in --data"),
        (
            ["--data=TABLE", "--set=crop=112"],
            "no pair has frames of equal size with at least 112×112 pixels",
        ),
        (["--data=TABLE", "--set=crop=16"], "crop must be at least 24"),
        (["--data=TABLE", "--set=batch=64"], "pairs are fewer than a batch of 64"),
        (["--data=TABLE", "--set=arguments.frontend=wavelet"], "frontend is one of"),
        (["--data=TABLE", "--set=gap=(3,1)"], "gap must be a minimum and a maximum"),
    ],
)
def test_errors_are_reported_in_one_line(table, tmp_path, arguments, says):
    arguments = [argument.replace("TABLE", str(table)) for argument in arguments]
    said = run(f"--workdir={tmp_path / 'out'}", "--steps=2", *arguments, code=1)
    assert says in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_second_overlay_is_denser_or_finer():
    """Compares the images' contrast under overlays, and the roughness of overlays on black."""
    grating = 127.5 + 60.0 * np.sin(2.0 * np.pi * np.arange(32) / 8)
    images = np.tile(grating[None, None, :, None], [64, 32, 1, 3]).astype(np.float32)
    images[::2] = images[::2].transpose(0, 2, 1, 3)  # The next image is always different.
    seed = tf.constant([3, 32], tf.int64)
    weak, strong = (o.numpy() for o in apply_overlays(images, seed))
    assert weak.min() >= 0.0 and strong.max() <= 255.0
    np.testing.assert_array_equal(weak, apply_overlays(images, seed)[0])
    assert np.abs(weak - apply_overlays(images, seed + 2)[0]).max() > 50.0

    def contrast(overlaid: np.ndarray) -> float:
        """Returns the image's share, by regression on the original."""
        own = images - images.mean((1, 2, 3), keepdims=True)
        return float(np.mean((own * overlaid).sum((1, 2, 3)) / (own * own).sum((1, 2, 3))))

    assert contrast(weak) > contrast(strong) + 0.02

    def roughness(overlaid: np.ndarray) -> np.ndarray:
        """Returns the mean difference of neighbors relative to the standard deviation."""
        return np.abs(np.diff(overlaid, axis=1)).mean((1, 2, 3)) / (overlaid.std((1, 2, 3)) + 1e-6)

    weak, strong = (roughness(o.numpy()) for o in apply_overlays(np.zeros_like(images), seed))
    is_fog = weak > 0.0  # With images as overlays, the result is black.
    rises = np.log(strong[is_fog] / weak[is_fog])
    assert 0.6 < np.mean(is_fog) < 0.9 and np.mean(rises) > 0.1 and np.mean(rises > -0.01) > 0.9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "pim", "order": 1.0}, "order is only for pim-bands"),
        ({"model": "pim-bands", "window": 8}, "bfloat16 and window are for pim"),
        ({"model": "pim-bands", "bfloat16": "auto"}, "bfloat16 and window are for pim"),
        ({"model": "pim", "window": -1}, "window must be 0 or more"),
    ],
)
def test_settings_of_the_other_metric_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        PimTraining(steps=1, crop=32, **options)


def test_the_ranking_loss():
    config = PimTraining(model="pim-bands", steps=1, batch=4, crop=32, order=2.0, margin=0.1)
    tf.keras.utils.set_random_seed(0)
    model = PimBands(PimBandsConfig(frontend="laplacian", width=4, hidden=6, dimensions=3))
    trainer = PimTrainer(model, config)
    batch = np.stack([np.stack(moving(2))[:, i : i + 32, i : i + 32] for i in range(4)])
    losses = trainer._losses(tf.constant(batch))
    assert float(losses["loss"]) == pytest.approx(
        float(np.log(4) - losses["bound"] + 2.0 * losses["order"]), rel=1e-5
    )
    images = tf.constant(batch[::2, 0], tf.float32)
    costs = [
        model.distance(images, v)
        for v in apply_overlays(images, tf.constant([OVERLAY_SEED, OVERLAY_SEED], tf.int64))
    ]
    wrong = np.maximum(0.1 + np.log(costs[0]) - np.log(costs[1]), 0.0)
    assert float(losses["order"]) == pytest.approx(wrong.mean(), rel=1e-4)
    plain = PimTrainer(model, PimTraining(model="pim-bands", steps=1, batch=4, crop=32))
    assert set(plain._losses(tf.constant(batch))) == {"loss", "bound"}


def test_training_starts_from_the_shipped_weights():
    config = PimTraining(model="pim-bands", steps=1, crop=64, start=SHIPPED)
    shipped = load_pim_bands()
    trainer = PimTrainer(PimBands(shipped.settings), config)
    trainer.start()
    for actual, expected in zip(trainer.model.variables, shipped.variables):
        np.testing.assert_array_equal(actual, expected)
    other = PimTrainer(PimBands(PimBandsConfig(width=4)), config)
    with pytest.raises(ValueError, match="has other networks than this run"):
        other.start()


def test_an_interrupted_extraction_starts_over(tmp_path, monkeypatch):
    """No table is left if the process is killed while videos are read."""
    pytest.importorskip("av", reason="needs PyAV: pip install av")
    (tmp_path / "a.mp4").write_bytes(b"")

    def dies(*unused):
        yield "x_0000_00000", 0.1, moving(1)[0], moving(1)[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(frames, "_pairs_of_video", dies)
    with pytest.raises(KeyboardInterrupt):
        find_pairs(f"video:{tmp_path}/*.mp4", tmp_path / "out", LIMITS)
    assert not (tmp_path / "out" / "pairs.csv").exists()
