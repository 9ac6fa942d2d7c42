"""Evaluation of metrics, BAPPS, recovery, and their commands."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

from tests.conftest import cropped, without_graphs
from tests.random_networks import random_network
from tfc_models import metrics
from tfc_models.cli.commands import judge
from tfc_models.cli.main import main
from tfc_models.perceptual import (
    PimBands,
    PimBandsConfig,
    bapps,
    load_pim_bands,
    recovery,
    trials,
)
from tfc_models.perceptual.corruptions import CORRUPTIONS, STRENGTHS, corrupted

PHOTO = cropped(72, 80)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_corruptions_change_more(name):
    changed = [corrupted(PHOTO, name, strength) for strength in STRENGTHS]
    assert all(c.shape == PHOTO.shape and c.dtype == np.uint8 for c in changed)
    errors = [np.mean((c.astype(float) - PHOTO) ** 2) for c in changed]
    # For fog, frost and pixelate the squared error does not increase with every step.
    rises = np.diff(errors) > 0
    assert errors[0] > 0 and (rises.all() or name in ("fog", "frost", "pixelate"))
    assert errors[-1] > 1.2 * errors[0]
    np.testing.assert_array_equal(corrupted(PHOTO, name, 3), changed[2])


def plasma(side: int, decay: float, seed: int) -> np.ndarray:
    """Returns ImageNet-C's fog texture: midpoint displacement with decreasing amplitude."""
    draw, reach, step = np.random.default_rng(seed), 100.0, side
    result = np.zeros([side, side])
    while step >= 2:
        half = step // 2
        corners = result[::step, ::step]
        beside, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        for rows, columns, mean in (
            (half, half, (corners + beside + below + np.roll(beside, -1, 0)) / 4),
            (0, half, (corners + beside) / 2),
            (half, 0, (corners + below) / 2),
        ):
            noise = reach * draw.uniform(-reach, reach, mean.shape)
            result[rows::step, columns::step] = mean + noise
        step, reach = half, reach / decay
    return result


def slope(texture: np.ndarray) -> float:
    """Returns the exponent of the spectrum's decay, between 2 and 12 periods per side."""
    spectrum = np.abs(np.fft.fft2(texture - texture.mean()))
    count = np.fft.fftfreq(len(texture), 1 / len(texture))
    radius = np.hypot(*np.meshgrid(count, count))
    inside = (radius >= 2) & (radius <= 12)
    return float(-np.polyfit(np.log(radius[inside]), np.log(spectrum[inside] + 1e-9), 1)[0])


@pytest.mark.parametrize(("strength", "decay"), [(1, 2.0), (3, 1.7), (5, 1.4)])
def test_fog_spectrum_matches_its_definition(strength, decay):
    grey = np.full([256, 256, 3], 255, np.uint8)  # The fog's full contrast fits into 8 bits.
    result = [slope(corrupted(grey, "fog", strength, seed)[..., 0] * 1.0) for seed in range(8)]
    expected = [slope(plasma(256, decay, seed)) for seed in range(8)]
    assert np.mean(result) == pytest.approx(np.mean(expected), abs=0.3)


@pytest.mark.parametrize(("name", "strength"), [("rain", 1), ("snow", 0), ("snow", 6)])
def test_unknown_corruption_or_strength(name, strength):
    with pytest.raises(ValueError, match=r"there is no corruption|strengths are 1 to 5"):
        corrupted(PHOTO, name, strength)


def test_monotone_counts_increasing_steps():
    def nearer_the_stronger(a, b):
        return -metrics.mse(a, b)

    distances = {"mse": metrics.mse, "less": nearer_the_stronger}
    up, down = trials.monotone(distances, [PHOTO]).values()
    assert list(up) == list(CORRUPTIONS)
    for name in CORRUPTIONS:
        assert up[name] + down[name] == pytest.approx(1.0)
    assert up["gaussian noise"] == 1.0 and up["JPEG"] == 1.0


def test_shift_and_blur_of_equal_error():
    """A difference of roughness ignores shifts and measures blur."""
    error = float(np.mean((PHOTO[1:].astype(float) - PHOTO[:-1]) ** 2))
    blurred = trials.blur_of_equal_error(PHOTO[1:], error)
    assert np.mean((blurred - PHOTO[1:]) ** 2) == pytest.approx(error, rel=1e-3)

    def roughness(a, b):
        def of(x):
            x = tf.cast(x, tf.float32)
            return tf.reduce_mean(tf.abs(x[:, 1:] - x[:, :-1]), axis=(1, 2, 3))

        return tf.abs(of(a) - of(b))

    distances = {"roughness": roughness, "less": lambda a, b: -roughness(a, b)}
    flat = np.full_like(PHOTO, 90)  # Not counted: both distances are 0.
    assert trials.shifts_beside_blurs(distances, [PHOTO, flat]) == {"roughness": 1.0, "less": 0.0}


def test_distorted_pairs_are_seeded():
    once = list(trials.bank([PHOTO], 30, side=64))
    again = list(trials.bank([PHOTO], 30, side=64))
    for (a, b, way), (c, d, same) in zip(once, again):
        assert way == same and a.shape == b.shape == (64, 64, 3)
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert len({way for _, _, way in once}) > 8
    assert sum(np.array_equal(a, b) for a, b, _ in once) <= 2


@pytest.fixture(scope="module")
def pims():
    """Shipped PIM-bands, and an untrained one with the same networks."""
    shipped = load_pim_bands()
    tf.keras.utils.set_random_seed(0)
    return {"shipped": shipped.distance, "untrained": PimBands(shipped.settings).distance}


@pytest.fixture(scope="module")
def pieces():
    """Crops of 72×72 pixels from images that are not in PIM-bands' training data."""
    corners = {"chelsea": (80, 100), "coffee": (100, 150)}
    return [
        np.ascontiguousarray(getattr(data, name)()[y : y + 72, x : x + 72])
        for name, (y, x) in corners.items()
    ]


@pytest.mark.slow
def test_shipped_pim_bands_is_monotone(pims, pieces, monkeypatch):
    """Includes fog, for which untrained networks are sometimes not monotone."""
    few = {name: CORRUPTIONS[name] for name in ("fog", "frost", "JPEG")}
    monkeypatch.setattr(trials, "CORRUPTIONS", few)
    steps = trials.monotone({"shipped": pims["shipped"]}, pieces)["shipped"]
    assert np.mean(list(steps.values())) >= 0.95
    shifts = trials.shifts_beside_blurs({"shipped": pims["shipped"]}, pieces)
    assert shifts["shipped"] == 1.0


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(metrics.LPIPS_VARIABLE), reason="needs LPIPS's weights")
def test_shipped_pim_bands_correlates_with_lpips(pims, pieces):
    """The correlation exceeds those of an untrained network and of MSE."""
    first, second, _ = zip(*trials.bank(pieces, 40, side=64, seed=1))
    first, second = np.stack(first), np.stack(second)
    distances = {**pims, "mse": metrics.mse}
    reference = trials.measured(metrics.lpips, first, second)
    ranks = {
        name: trials.rank_correlation(trials.measured(d, first, second), reference)
        for name, d in distances.items()
    }
    assert ranks["shipped"] > 0.7
    assert ranks["shipped"] > max(ranks["untrained"], ranks["mse"]) + 0.1


@pytest.fixture
def dataset(tmp_path):
    """Dataset in BAPPS' layout with answers that agree with MSE."""
    draw = np.random.default_rng(0)

    def keep(folder, name, image):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}.png")

    def answer(folder, name, value):
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", np.array([value], np.float32))

    for kind in ("cnn", "traditional"):
        for i, (near, far, chosen) in enumerate([("p0", "p1", 0.2), ("p1", "p0", 1.0)]):
            folder = tmp_path / "2afc" / "val" / kind
            image = draw.integers(20, 230, [64, 64, 3], dtype=np.uint8)
            keep(folder / "ref", f"{i:06d}", image)
            keep(folder / near, f"{i:06d}", image + np.uint8(1))
            keep(folder / far, f"{i:06d}", image + np.uint8(9))
            answer(folder / "judge", f"{i:06d}", chosen)
        for i, (offset, same) in enumerate([(1, 1.0), (3, 0.0), (6, 2 / 3)]):
            folder = tmp_path / "jnd" / "val" / kind
            image = draw.integers(20, 230, [64, 64, 3], dtype=np.uint8)
            keep(folder / "p0", f"{i:06d}", image)
            keep(folder / "p1", f"{i:06d}", image + np.uint8(offset))
            answer(folder / "same", f"{i:06d}", same)
    return tmp_path


def test_bapps_scores_follow_its_authors(dataset):
    scores = bapps.score(metrics.mse, dataset)
    # 2AFC: 80 % and 100 % agree. JND: cumulative hits 1, 1 and 5/3, with monotone precision.
    assert scores["2afc cnn"] == scores["2afc"] == pytest.approx((0.8 + 1.0) / 2)
    recall = 1.0 / (5 / 3)
    assert scores["jnd"] == pytest.approx(recall * 1.0 + (1 - recall) * (5 / 9))
    # Ties count as half.
    assert bapps.score(lambda a, b: tf.zeros(len(a)), dataset)["2afc"] == 0.5


def test_average_precision():
    assert bapps.average_precision(np.array([3.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])) == 1.0
    worst = bapps.average_precision(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    assert worst == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no pair was judged to be the same"):
        bapps.average_precision(np.array([1.0]), np.array([0.0]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "2afc/val/cnn/p1/000001.png").unlink(), "no image"),
        (lambda root: (root / "2afc/val/cnn/judge/000001.npy").write_bytes(b"x"), "not an answer"),
        (
            lambda root: (root / "2afc/val/cnn/ref/000000.png").write_bytes(b"x"),
            "not a readable image",
        ),
    ],
)
def test_damaged_dataset_error_names_the_file(dataset, damage, message):
    damage(dataset)
    with pytest.raises((ValueError, OSError), match=message):
        bapps.score(metrics.mse, dataset)


def test_folder_without_bapps(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not BAPPS"):
        bapps.score(metrics.mse, tmp_path)


def test_mse_recovers_and_a_mean_difference_does_not():
    reference = PHOTO[:48, :48]

    def mean_alone(a, b):
        return tf.square(tf.reduce_mean(tf.cast(a, tf.float32) - b, axis=(1, 2, 3)))

    distances = {"mse": metrics.mse, "mean": mean_alone}
    result = recovery.recover(reference, distances, "mse", "noise", steps=1500)
    first, last = result.distances["mse"]
    assert last < 10.0 < 1000.0 < first
    blind = recovery.recover(reference, distances, "mean", "noise", steps=600)
    assert blind.distances["mse"][1] > 1000.0 > 1.0 > blind.distances["mean"][1]
    figure = recovery.recovery_figure(reference, [result, blind])
    assert len(figure.axes) == 4
    with pytest.raises(ValueError, match="start is one of noise, jpeg"):
        recovery.first_image(reference, "black")


def test_nlpd_recovers_from_noise():
    """NLPD's exponent across levels slows the finest level; the softened distance avoids this."""
    reference = PHOTO[:72, :72]
    nlpd = metrics.METRICS["nlpd"]
    distances = {"mse": metrics.mse, "nlpd": nlpd.distance}
    result = recovery.recover(
        reference, distances, "nlpd", steps=1500, softened=nlpd.softened
    ).distances
    # Without softening, a fifth of the error remains.
    assert result["mse"][1] < 0.06 * result["mse"][0]
    assert result["nlpd"][1] < 0.06 * result["nlpd"][0]


def test_nan_gradient_fails():
    def broken(a, b):
        return tf.reduce_mean(tf.sqrt(tf.cast(a, tf.float32) - b), axis=(1, 2, 3))

    with pytest.raises(ValueError, match="is not finite"):
        recovery.minimized(broken, PHOTO[:32, :32], PHOTO[:32, :32], steps=3)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(cropped(90 + i, 100)).save(folder / f"{i}.png")
    return folder


def test_judge_command(photos, dataset, tmp_path, capsys, monkeypatch):
    """A monotone function of LPIPS has rank correlation 1 with LPIPS."""
    few = {name: CORRUPTIONS[name] for name in ("gaussian noise", "JPEG")}
    monkeypatch.setattr(trials, "CORRUPTIONS", few)
    weights = random_network("squeeze", tmp_path / "lpips.npz")

    def cube(a, b):
        return metrics.lpips(a, b, weights) ** 3

    record = metrics.METRICS["ssim"]
    changed = dataclasses.replace(record, function=cube, distance_function=None, min_side=17)
    monkeypatch.setitem(metrics.METRICS, "ssim", changed)
    PimBands(PimBandsConfig(frontend="laplacian", width=2)).save_npz(tmp_path / "bands.npz")
    command = ["judge", str(photos), "--metric", "mse,ssim,lpips,pim-bands", "--side", "32"]
    command += ["--pairs", "8", "--bapps", str(dataset), "--bapps-side", "32", "--quiet"]
    command += ["--weights", f"lpips={weights}"]
    command += ["--weights", f"pim-bands={tmp_path / 'bands.npz'}"]
    with without_graphs():
        assert main([*command, "--blur", "0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == 2
    assert set(result["metrics"]) == {"mse", "ssim", "lpips", "pim-bands"}
    assert result["metrics"]["mse"]["2afc"] == pytest.approx(0.9)
    assert set(result["metrics"]["mse"]["corruptions"]) == set(few)
    assert result["metrics"]["lpips"]["rank"] == result["metrics"]["ssim"]["rank"] == 1.0
    assert result["metrics"]["mse"]["rank"] < 1.0
    assert main([*command[:2], "--metric", "mse", *command[4:]]) == 0
    assert "monotonicity" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_pim_bands_blur_and_seed(tmp_path):
    """--blur 0 reduces the distances, and the seed changes untrained networks."""
    PimBands(PimBandsConfig(frontend="laplacian", width=2)).save_npz(tmp_path / "bands.npz")
    a, b = (tf.constant(PHOTO[None, :32, :32] // n, tf.float32) for n in (1, 2))
    path = str(tmp_path / "bands.npz")
    options = {"weights": {"pim-bands": path}, "side": 40}

    def result(blur: float | None, seed: int) -> list[float]:
        given = argparse.Namespace(**options, blur=blur, seed=seed)
        distances = judge._distances(["pim-bands", "pim-bands-untrained"], given)
        with without_graphs():
            return [float(distance(a, b)[0]) for distance in distances.values()]

    (learned, untrained), own = result(0.0, 0), result(None, 0)
    whole = load_pim_bands(path).distance(a, b)
    assert learned < 0.9 * own[0] and own[0] == pytest.approx(float(whole[0]), rel=1e-4)
    assert untrained < own[1] and result(0.0, 1)[1] != untrained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "mse", "--blur", "0"], "--blur needs pim-bands or pim-bands-untrained"),
        (["--metric", "mse", "--blur", "-1"], "'-1' is not a number of at least 0"),
        (["--metric", "mse", "--side", "500"], "is smaller than --side 500"),
        (["--metric", "ms-ssim", "--side", "80"], "too small for ms-ssim"),
        (["--metric", "ssim,nlpd,ms-ssim", "--side", "60"], "too small for nlpd, ms-ssim"),
        (["--metric", "mse", "--side", "64", "--bapps", "/nowhere"], "/nowhere is not BAPPS"),
        (["--metric", "beauty"], "there is no metric 'beauty'"),
        (["--metric", "psnr"], "psnr is not a distance"),
        (
            ["--metric", "pim", "--weights", "pim=/gone.npz", "--side", "64"],
            "no file of weights",
        ),
    ],
)
def test_judge_errors(photos, capsys, options, message):
    assert main(["judge", str(photos), *options]) != 0
    errors = capsys.readouterr().err
    assert message in errors.splitlines()[-1] and "Traceback" not in errors


def test_recover_command(photos, capsys):
    image, target = str(photos / "0.png"), photos / "result.png"
    command = ["recover", image, "--metric", "mse,ssim", "--steps", "5", "-o", str(target)]
    assert main([*command, "--side", "48", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(t["start"], t["metric"]) for t in result] == [
        (start, metric) for start in recovery.STARTS for metric in ("mse", "ssim")
    ]
    for one in result:
        first, last = one["distances"][one["metric"]]
        assert last < first
    with Image.open(target) as figure:
        assert figure.width > 500
    assert main([*command, "--side", "48"]) != 0
    assert "exists; --force" in capsys.readouterr().err
    assert main([*command[:-2], "--metric", "nlpd", "--side", "32"]) != 0
    assert "too small for nlpd: give --side 65" in capsys.readouterr().err
