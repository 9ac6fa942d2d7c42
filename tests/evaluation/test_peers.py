"""Standard codecs: settings, sizes, round trips and missing libraries."""

from __future__ import annotations

import importlib.util
import math
import sys

import numpy as np
import pytest
from PIL import features

from tests.conftest import cropped
from tfc_models.evaluation import (
    PEERS,
    MissingError,
    Peer,
    at_speed,
    code,
    measure,
    nearest_setting,
    peer_contender,
)

QUALITIES = range(1, 101)
MODULES = {"jpegxl": "pillow_jxl", "heic": "pillow_heif", "heic-444": "pillow_heif"}
PACKAGES = {"pillow_jxl": "pillow-jxl-plugin", "pillow_heif": "pillow-heif"}


def needing(name: str) -> object:
    """Returns parameters of a peer; its tests are skipped if its package is not installed."""
    module = MODULES.get(name)
    missing = module is not None and importlib.util.find_spec(module) is None
    return pytest.param(PEERS[name], id=name, marks=pytest.mark.skipif(missing, reason=str(module)))


every_peer = pytest.mark.parametrize("peer", [needing(name) for name in PEERS])


@pytest.mark.parametrize("size", [0, 10, 994, 1005, 1006, 2500, 10**6])
def test_nearest_setting(size):
    def size_at(quality: int) -> int:
        return 500 + 10 * quality

    nearest = min(QUALITIES, key=lambda quality: abs(size_at(quality) - size))
    assert nearest_setting(QUALITIES, size, size_at) == nearest


@pytest.mark.parametrize("size", [0, 511, 1000, 1009, 1010, 1019, 10**6])
def test_nearest_setting_without_exceeding_the_size(size):
    def size_at(quality: int) -> int:
        return 500 + 20 * quality

    result = nearest_setting(QUALITIES, size, size_at, over=0.01)
    fitting = [quality for quality in QUALITIES if size_at(quality) <= 1.01 * size]
    assert result == min(fitting, key=lambda q: abs(size_at(q) - size), default=1)


def test_nearest_setting_with_sizes_that_are_not_monotone():
    sizes = [100, 200, 350, 340, 330, 320, 400]
    assert nearest_setting(range(7), 310, sizes.__getitem__, over=0.01) == 1


@every_peer
def test_at_size(peer):
    image = cropped(128, 160)
    for target in (2000, 4000):
        setting = peer.at_size(image, target, over=0.01)
        size = len(peer.encode(image, setting))
        assert 0.85 * target < size <= 1.01 * target
        nearest = len(peer.encode(image, peer.at_size(image, target)))
        assert abs(nearest - target) <= abs(size - target)


@every_peer
def test_curves_cover_the_usual_range_of_rates(peer):
    image = cropped(256, 256)
    assert len(peer.curve_settings(2)) == 2
    settings = peer.curve_settings(6)
    sizes = [len(peer.encode(image, setting)) for setting in settings]
    assert len(settings) == 6 and sizes == sorted(sizes)
    assert sizes[0] < 0.45 * 256 * 256 / 8 and sizes[-1] > 1.5 * 256 * 256 / 8
    # No gap is too large for interpolation.
    assert max(after / before for before, after in zip(sizes, sizes[1:])) < 2.5
    assert all(peer.label(setting) for setting in settings)


@every_peer
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 300), (67, 33)], ids=str)
def test_images_of_any_size_decode_to_their_size(peer, size):
    image = cropped(*size)
    for setting in peer.curve_settings(2):
        coded = code(image, lambda pixels, s=setting: peer.encode(pixels, s), peer.decode)
        assert coded.pixels.shape == image.shape and coded.pixels.dtype == np.uint8


@every_peer
def test_grey_images_stay_grey(peer):
    image = cropped(61, 47)[..., 0].copy()
    setting = peer.curve_settings(2)[-1]
    coded = code(image, lambda pixels: peer.encode(pixels, setting), peer.decode)
    assert coded.pixels.shape == (61, 47, 3)
    assert np.ptp(coded.pixels.astype(int), axis=-1).max() <= 3  # WebP has no greyscale format.
    assert measure(image, coded).psnr > 35


@pytest.mark.parametrize("names", [("avif", "avif-444"), ("heic", "heic-444")], ids=str)
def test_full_chroma_preserves_colours_that_subsampling_blurs(names):
    pytest.importorskip(MODULES.get(names[0], "PIL"))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (255, 0, 0), (0, 0, 255)
    halved, full = (round_trip(PEERS[name], stripes, 90) for name in names)
    assert error_of(full, stripes) < 0.2 * error_of(halved, stripes)


def round_trip(peer: Peer, image: np.ndarray, setting: float) -> np.ndarray:
    return peer.decode(peer.encode(image, setting))


def error_of(pixels: np.ndarray, image: np.ndarray) -> float:
    return float(np.mean(np.square(pixels.astype(float) - image)))


def test_the_speed_of_avif_changes_files_and_identity():
    peer, image = PEERS["avif"], cropped(128, 128)
    fast = at_speed(peer, 10)
    assert (peer.options["speed"], fast.options["speed"]) == (6, 10)
    assert fast.encode(image, 50) != peer.encode(image, 50)
    identities = {peer_contender(one, 2).settings[0].identity for one in (peer, fast)}
    assert len(identities) == 2
    assert at_speed(PEERS["webp"], 10) is PEERS["webp"]


@every_peer
def test_codecs_report_library_version_and_options(peer):
    contender = peer_contender(peer, 3)
    assert (contender.name, contender.kind) == (peer.title, "codec")
    assert any(character.isdigit() for character in contender.library)
    assert contender.options and "{" not in contender.options
    record = contender.record()
    assert record["settings"] == [setting.label for setting in contender.settings]
    assert set(record) == {"name", "kind", "library", "options", "settings"}


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_codec_package_is_named_with_the_install_command(monkeypatch, name):
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    title, package = PEERS[name].title, PACKAGES[MODULES[name]]
    with pytest.raises(MissingError) as caught:
        PEERS[name].load()
    assert str(caught.value) == f"{title} needs the package {package}: pip install {package}"


def test_a_pillow_without_a_codec_is_reported(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    PEERS["webp"].load()
    with pytest.raises(MissingError, match=r"^AVIF: Pillow .* without avif: pip install"):
        PEERS["avif"].load()


def test_jpeg_2000_uses_a_colour_transform():
    # Pillow omits the transform by default, which costs decibels.
    jpeg, jpeg2000 = PEERS["jpeg"], PEERS["jpeg2000"]
    image = cropped(256, 256)
    data = jpeg.encode(image, 30)
    setting = jpeg2000.at_size(image, len(data), over=0.0)
    coded = code(image, lambda pixels: jpeg2000.encode(pixels, setting), jpeg2000.decode)
    of_jpeg = code(image, lambda _: data, jpeg.decode)
    assert measure(image, coded).psnr > measure(image, of_jpeg).psnr + 0.5


def test_figures_of_an_image():
    image = cropped(180, 200)
    worse = image ^ 1
    figures = measure(image, code(image, lambda _: bytes(900), lambda _: worse))
    assert (figures.bytes, figures.bpp) == (900, 0.2)
    assert figures.psnr == pytest.approx(20 * math.log10(255), abs=1e-3)
    assert 0.99 < figures.ms_ssim < 1
    small = measure(image[:20], code(image[:20], lambda _: b"", lambda _: image[:20]))
    assert small.ms_ssim is None and small.psnr == math.inf


def test_a_decoded_image_of_another_size_is_an_error():
    with pytest.raises(ValueError, match="came back as"):
        code(cropped(20, 30), lambda _: b"", lambda _: cropped(30, 20))
