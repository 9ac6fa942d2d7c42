"""Encoder effort: a search of better integers for one image."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import LPIPS_WEIGHTS, cropped, golden_codec
from tfc_models import metrics
from tfc_models.codec import BitstreamError, Codec, refinement, windows
from tfc_models.codec.tuning import distortion_of, squared_error_weight, tuning_of
from tfc_models.images import as_rgb
from tfc_models.layers import pad_to_multiple


def cost_of(codec: Codec, image: np.ndarray, data: bytes, rate: int = 50, tune=None) -> float:
    """Rate–distortion cost in bits per pixel, of the real file."""
    decoded = codec.decompress(data)
    terms = tuning_of(tune, codec.model)
    weight = float(squared_error_weight(codec.model, tf.constant(float(rate))))
    bits = 8.0 * len(data) / (image.shape[0] * image.shape[1])
    return bits + weight * distortion_of(terms, as_rgb(image), as_rgb(decoded))


@pytest.mark.sampled("mbt2018")
def test_effort_lowers_the_cost_of_every_model(codec):
    image = cropped(96, 128)
    single, searched = codec.compress(image), codec.compress(image, effort=4)
    assert cost_of(codec, image, searched) < cost_of(codec, image, single)


@pytest.mark.sampled("gained-checkerboard", "mbt2018")
def test_a_file_of_any_effort_decodes_to_the_latents_that_were_encoded(codec):
    image = cropped(70, 90)
    rate = tf.constant(50.0 if codec.many_rates else 0.0)
    y = codec.model.to_latents(pad_to_multiple(tf.constant(image[None]), 16), rate)
    refiner = codec.refiner(tuning_of(None, codec.model))
    rgb = tf.constant(image[None], tf.float32)
    symbols, z = refiner.search(rgb, y, rate, tf.constant(1), lambda units: None)
    strings, y_hat = codec.model.coder.encode_symbols(symbols, z, rate)
    decoded = codec.model.coder.decompress(strings, tf.shape(y)[1:3], rate)
    np.testing.assert_array_equal(decoded, y_hat)


@pytest.mark.sampled
def test_without_a_search_symbols_give_the_single_pass(codec):
    image = cropped(50, 60)
    rate = tf.constant(50.0 if codec.many_rates else 0.0)
    coder = codec.model.coder
    y = codec.model.to_latents(pad_to_multiple(tf.constant(image[None]), 16), rate)
    strings, y_hat = coder.encode(y, rate)
    z = tf.zeros([1, 1, 1, 1])
    if "z" in coder.streams:
        z = tf.round(coder.hyper_latents(y, rate))
        params = coder.parameters_for(y, z, rate)
        symbols = coder.symbols_of(y, params)
    else:
        symbols = coder.symbols_of(y)
    again, y_again = coder.encode_symbols(symbols, z, rate)
    assert [s.numpy()[0] for s in again] == [s.numpy()[0] for s in strings]
    np.testing.assert_array_equal(y_again, y_hat)


@pytest.fixture(scope="module")
def gained():
    return golden_codec("gained-checkerboard")


@pytest.mark.parametrize(("quality", "effort"), [(0, 1), (60, 4), (100, 1)])
def test_the_cost_never_exceeds_that_of_the_single_pass(gained, quality, effort):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    flat = np.full((33, 47, 3), 130, np.uint8)
    for image in (cropped(64, 48), noise, flat, cropped(1, 1), cropped(3, 120)):
        single = cost_of(gained, image, gained.compress(image, quality), quality)
        data = gained.compress(image, quality, effort=effort)
        assert cost_of(gained, image, data, quality) <= single


def test_more_effort_lowers_the_cost_further(gained):
    image = cropped(128, 160)
    costs = [cost_of(gained, image, gained.compress(image, effort=e)) for e in (0, 2, 7)]
    assert costs[0] > costs[1] > costs[2]


def test_a_result_that_costs_more_is_discarded(gained, monkeypatch):
    image = cropped(64, 80)
    zeros = tf.zeros([1, 4, 5, gained.model.latent_channels])
    hyper = tf.zeros([1, 1, 2, gained.model.coder.hyperprior.channels])
    monkeypatch.setattr(refinement.Refiner, "search", lambda *_: (zeros, hyper))
    assert gained.compress(image, effort=1) == gained.compress(image)


def test_grey_images_stay_grey(gained):
    image = cropped(60, 70)[..., 0]
    data = gained.compress(image, effort=2)
    assert gained.decompress(data).shape == image.shape
    assert cost_of(gained, image, data) <= cost_of(gained, image, gained.compress(image))


def test_windows_cover_every_latent_once_and_report_progress(gained, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 8)
    monkeypatch.setattr(windows, "MARGIN", 4)
    image, calls = cropped(139, 203), []
    data = gained.compress(image, effort=3, progress=lambda *call: calls.append(call))
    assert cost_of(gained, image, data) < cost_of(gained, image, gained.compress(image))
    total = calls[0][1]
    done = [0, *(one for one, _ in calls)]
    assert done[-1] == total and {of for _, of in calls} == {total}
    assert set(np.diff(done)) == {1, refinement.PASS_UNITS}
    shape = tf.constant([9, 13])
    rows, columns = windows.window_counts(shape).numpy()
    covered = np.zeros([9, 13])
    for i in range(rows * columns):
        place = windows.Place.of(*map(tf.constant, divmod(i, int(columns))), shape)
        free = place.free()[0].numpy()[0, ..., 0]
        covered[place.top : place.bottom, place.left : place.right] += free
    np.testing.assert_array_equal(covered, 1.0)


@pytest.mark.parametrize("side", [*range(1, 200, 7), 624, 625, 637, 1000, 4096])
def test_no_window_is_empty_or_larger_than_the_limit(side):
    shape = tf.constant([side, 1])
    count = int(windows.window_counts(shape)[0])
    for i in range(count):
        top, bottom, *_ = windows.Place.of(tf.constant(i), tf.constant(0), shape).inner
        assert 0 < bottom - top <= windows.WINDOW


def test_the_search_reads_the_dither_of_a_window_from_the_whole_image(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 4)
    codec = golden_codec("gained-universal")
    image = cropped(90, 110)
    data = codec.compress(image, effort=3)
    assert cost_of(codec, image, data) < cost_of(codec, image, codec.compress(image))


def test_an_interrupt_between_units_of_work_ends_the_search(gained):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gained.compress(cropped(64, 64), effort=1, progress=interrupt)


@pytest.mark.parametrize("effort", [-1, 10, 1.5, True, "3", None])
def test_an_effort_out_of_range_is_refused(gained, effort):
    with pytest.raises(ValueError, match="effort is a whole number from 0 to 9"):
        gained.compress(cropped(16, 16), effort=effort)


def test_tuning_for_a_metric_improves_it_at_equal_cost(gained):
    image = cropped(192, 200)

    def ms_ssim(data):
        pair = image[None], gained.decompress(data)[None]
        return float(metrics.METRICS["ms-ssim"].of_pair(*pair))

    tuned = gained.compress(image, 60, effort=3, tune="ms-ssim")
    plain = gained.compress(image, 60, effort=3)
    assert cost_of(gained, image, tuned, 60, "ms-ssim") < cost_of(
        gained, image, plain, 60, "ms-ssim"
    )
    assert ms_ssim(tuned) > ms_ssim(plain) or len(tuned) < len(plain)


def test_networks_and_sums_can_be_tuned_for(gained):
    tune = f"{'lpips' if LPIPS_WEIGHTS.is_file() else 'psnr'} + 2*nlpd"
    image = cropped(96, 96)
    data = gained.compress(image, 40, effort=1, tune=tune)
    single = gained.compress(image, 40)
    assert cost_of(gained, image, data, 40, tune) <= cost_of(gained, image, single, 40, tune)


def test_weights_of_a_sum_are_relative():
    model = golden_codec("gained-checkerboard").model
    once, twice = (tuning_of(text, model).weights for text in ("psnr+nlpd", "2*psnr+2*nlpd"))
    assert once == pytest.approx(twice)
    assert once["mse"] == pytest.approx(0.5)
    assert tuning_of("psnr", model) == tuning_of(None, model)


@pytest.mark.parametrize("tune", ["sharpness", "psnr + nothing", "", "semantic"])
def test_an_unknown_metric_is_refused_before_the_search(gained, tune):
    with pytest.raises(ValueError, match="one of"):
        gained.compress(cropped(16, 16), effort=1, tune=tune)


def test_tuning_without_effort_and_too_small_images_are_refused(gained):
    with pytest.raises(ValueError, match="effort above 0"):
        gained.compress(cropped(16, 16), tune="psnr")
    with pytest.raises(ValueError, match="at least"):
        gained.compress(cropped(16, 16), effort=1, tune="ms-ssim")


@pytest.mark.exhaustive
def test_a_saved_model_never_exceeds_the_cost_of_the_single_pass(gained, tmp_path):
    image = cropped(70, 90)
    gained.save(str(tmp_path), max_effort=4)
    saved = tf.saved_model.load(str(tmp_path)).signatures["compress_at_effort"]
    images = tf.constant([tf.io.encode_png(image).numpy()] * 2)
    numbers = {"effort": tf.constant([0, 4]), "quality": tf.constant([50, 50])}
    single, searched = saved(image_bytes=images, **numbers)["bitstream_bytes"].numpy()
    assert single == gained.compress(image, 50)
    assert cost_of(gained, image, searched) < cost_of(gained, image, single)
    with pytest.raises(tf.errors.InvalidArgumentError, match="effort is a whole number"):
        saved(image_bytes=images[:1], effort=tf.constant([5]), quality=tf.constant([50]))


@pytest.mark.exhaustive
def test_a_saved_model_of_one_rate_searches_too(tmp_path):
    codec, image = golden_codec("mbt2018-mean"), cropped(64, 64)
    codec.save(str(tmp_path), max_effort=4)
    saved = tf.saved_model.load(str(tmp_path)).signatures["compress_at_effort"]
    images = tf.constant([tf.io.encode_png(image).numpy()])
    (data,) = saved(image_bytes=images, effort=tf.constant([4]))["bitstream_bytes"].numpy()
    assert cost_of(codec, image, data) < cost_of(codec, image, codec.compress(image))


def test_a_damaged_file_of_any_effort_is_refused(gained):
    data = bytearray(gained.compress(cropped(64, 64), effort=1))
    data[len(data) // 2] ^= 1
    with pytest.raises(BitstreamError):
        gained.decompress(bytes(data))


def test_every_effort_level_searches_more_than_the_previous_one():
    levels = range(1, refinement.LARGEST_EFFORT + 1)
    work = [refinement.PASSES[e] + refinement.HYPER_STEPS[e] for e in levels]
    assert work == sorted(set(work))
    assert len(refinement.PASSES) == len(refinement.HYPER_STEPS) == refinement.LARGEST_EFFORT + 1
