"""Crops of image files: selection, number of decodings, and the disk cache."""

from __future__ import annotations

import collections
import concurrent.futures
import errno
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import cropped
from tfc_models.training import data, pixel_cache
from tfc_models.training.config import Config
from tfc_models.training.crops import SLOTS, Crops, Files, image_position
from tfc_models.training.pixel_cache import PixelCache

SIDE, DOWNSCALE, SEED = 64, 2.0, 7
FILES = 5


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    path = tmp_path / "images"
    path.mkdir()
    for i in range(FILES):
        Image.fromarray(cropped(100 + 10 * i, 130)).save(path / f"{i}.png")
    return path


class Decoder:
    """Decodes files and counts how often each is decoded."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def __call__(self, path: pathlib.Path) -> np.ndarray:
        self.counts[path.name] += 1
        return data.pixels_of(path)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


def crops(folder, first, count, stride=1, **options) -> np.ndarray:
    dataset = data.crops(str(folder), SIDE, DOWNSCALE, SEED, first, stride, **options)
    return np.stack(list(dataset.take(count).as_numpy_iterator()))


def read_all(folder, cache: PixelCache, decode=data.pixels_of) -> list[np.ndarray]:
    return [np.array(cache.read(path, decode)) for path in data.find(str(folder))]


def entries(cache: PixelCache) -> list[pathlib.Path]:
    return sorted(cache.folder.glob("*.npy"))


@pytest.mark.parametrize("per_image", [1, 3, 8])
def test_the_number_of_an_example_determines_its_crop(folder, per_image):
    every = crops(folder, 0, 300, per_image=per_image)
    assert every.shape == (300, SIDE, SIDE, 3) and every.dtype == np.uint8
    np.testing.assert_array_equal(crops(folder, 137, 50, per_image=per_image), every[137:187])
    for worker in range(3):  # 64 slots do not divide by 3 workers.
        mine = crops(folder, worker, 60, stride=3, per_image=per_image)
        np.testing.assert_array_equal(mine, every[worker : worker + 180 : 3])
    assert len(np.unique(every[:100].reshape(100, -1), axis=0)) == 100


def test_a_pipeline_ends_without_waiting_for_autotuning(folder):
    batches = data.crops(str(folder), SIDE, DOWNSCALE, SEED).batch(2).prefetch(4)
    assert batches.options().autotune.enabled is False


def test_any_order_of_requests_gives_the_same_crops(folder):
    files = Files(data.find(str(folder)), SIDE, data.pixels_of)
    expected = [Crops(files, SEED, DOWNSCALE, 4).crop(n) for n in range(0, 600, 7)]
    shared = Crops(files, SEED, DOWNSCALE, 4)
    numbers = np.random.default_rng(0).permutation(600)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = dict(zip(numbers, pool.map(shared.crop, numbers.tolist())))
    for n, crop in zip(range(0, 600, 7), expected):
        np.testing.assert_array_equal(found[n], crop)


def test_every_image_has_the_same_number_of_crops():
    per_image, rounds = 8, 5
    numbers = range(SLOTS * per_image, SLOTS * per_image * (1 + rounds))
    used = collections.Counter(image_position(n, per_image)[0] for n in numbers)
    whole = [count for image, count in used.items() if SLOTS * 2 <= image < SLOTS * rounds]
    assert set(whole) == {per_image}
    for n in numbers:
        assert n in image_position(n, per_image)[1]
    # Consecutive examples come from different images, and changes of image are spread evenly.
    for first in range(0, len(numbers), 32):
        assert len({image_position(n, per_image)[0] for n in range(first, first + 32)}) == 32
    changes = collections.Counter(
        n // SLOTS for n in numbers if image_position(n, per_image)[1][0] == n
    )
    assert set(changes.values()) == {SLOTS // per_image}


def test_one_crop_per_image_uses_every_image_once_per_epoch():
    assert [image_position(n, 1) for n in range(200)] == [(n, [n]) for n in range(200)]


def test_an_image_is_decoded_once_for_its_crops(folder, decoder):
    """No images are cached, as with a folder larger than the caches."""
    files = Files(data.find(str(folder)), SIDE, decoder, cache_bytes=0)
    few, count = Crops(files, SEED, DOWNSCALE, 8), 8 * SLOTS * 4
    for n in range(count):
        few.crop(n)
    # The last decoded image stays in memory and is often the next one with five files.
    assert 0.5 * count / 8 < sum(decoder.counts.values()) <= count / 8 + SLOTS


def test_only_the_crops_of_images_in_use_are_stored(folder):
    files = Files(data.find(str(folder)), SIDE, data.pixels_of)
    made = Crops(files, SEED, 1.0, 2)
    assert all(made.crop(n).base is None for n in range(20))


def test_decoded_images_in_memory_are_bounded(folder):
    files = Files(data.find(str(folder)), SIDE, data.pixels_of, cache_bytes=100_000)
    for number in range(20):
        files.example(number, 0)
    assert sum(p.nbytes for p in files._cached.values()) == files._bytes <= 100_000


def test_the_cache_does_not_change_crops_and_serves_all_runs(folder, tmp_path, decoder):
    expected = crops(folder, 0, 100)
    for _ in range(3):
        cache = PixelCache(tmp_path / "cache", 2**30)
        np.testing.assert_array_equal(crops(folder, 0, 100, cache=cache), expected)
        read_all(folder, cache, decoder)
    assert not decoder.counts  # The first run decoded them.
    assert len(entries(cache)) == FILES
    # Memory-mapped images are not copied to memory.
    files = Files(data.find(str(folder)), SIDE, lambda path: cache.read(path, decoder))
    files.example(0, 0)
    assert files._bytes == 0


def test_a_changed_file_is_decoded_again(folder, tmp_path, decoder):
    before = read_all(folder, PixelCache(tmp_path / "cache", 2**30), decoder)
    path = data.find(str(folder))[2]
    facts = path.stat()
    Image.fromarray(255 - before[2]).save(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    after = read_all(folder, PixelCache(tmp_path / "cache", 2**30), decoder)
    np.testing.assert_array_equal(after[2], 255 - before[2])
    assert decoder.counts == {p.name: 1 + (p == path) for p in data.find(str(folder))}


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "floats", "object"])
def test_a_damaged_entry_is_decoded_again(folder, tmp_path, decoder, damage):
    cache = PixelCache(tmp_path / "cache", 2**30)
    expected = read_all(folder, cache, decoder)
    for entry in entries(cache):
        content = entry.read_bytes()
        entry.write_bytes({"cut": content[:-1], "empty": b"", "text": b"text"}.get(damage, b""))
        if damage == "floats":
            np.save(entry, np.zeros([100, 100, 3]))
        if damage == "object":
            np.save(entry, np.array([{}], dtype=object), allow_pickle=True)
    for _ in range(2):
        for ours, theirs in zip(read_all(folder, cache, decoder), expected):
            np.testing.assert_array_equal(ours, theirs)
    assert set(decoder.counts.values()) == {2}


def test_a_full_cache_keeps_its_entries_and_decodes_other_images(folder, tmp_path, decoder, caplog):
    sizes = [data.pixels_of(path).nbytes for path in data.find(str(folder))]
    limit = sum(sizes[:2]) + 1000
    for _ in range(3):
        read_all(folder, PixelCache(tmp_path / "cache", limit), decoder)
    assert sum(p.stat().st_size for p in entries(PixelCache(tmp_path / "cache", 0))) <= limit
    assert sorted(decoder.counts.values()) == [1, 1, 3, 3, 3]
    lines = [line for line in caplog.messages if "has reached its limit" in line]
    assert len(lines) == 3 and all("decoded for each use" in line for line in lines)


def test_unused_entries_are_removed_from_a_full_cache(folder, tmp_path, decoder):
    folder_of = tmp_path / "cache"
    cache = PixelCache(folder_of, 2**30)
    read_all(folder, cache)
    (folder_of / "killed.part").write_bytes(b"half")
    old = time.time() - 2 * pixel_cache.IN_USE_SECONDS
    for path in folder_of.iterdir():
        os.utime(path, (old, old))
    size = sum(p.stat().st_size for p in entries(cache))
    others = tmp_path / "others"
    shutil.copytree(folder, others)
    for _ in range(2):
        read_all(others, PixelCache(folder_of, size), decoder)
    assert set(decoder.counts.values()) == {1}
    assert sum(p.stat().st_size for p in entries(cache)) <= size
    assert not list(folder_of.glob("*.part"))


def test_a_full_disk_disables_the_cache(folder, tmp_path, monkeypatch, caplog):
    expected = crops(folder, 0, 50)

    def full(file, pixels):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixel_cache.np, "save", full)
    cache = PixelCache(tmp_path / "cache", 2**30)
    np.testing.assert_array_equal(crops(folder, 0, 50, cache=cache), expected)
    (line,) = caplog.messages
    assert "No space left on device" in line and str(cache.folder) in line
    assert not list(cache.folder.iterdir())


def test_the_cache_leaves_disk_space_free(folder, tmp_path, monkeypatch, caplog):
    usage = shutil.disk_usage(tmp_path)._replace(free=pixel_cache.DISK_RESERVE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    cache = PixelCache(tmp_path / "cache", 2**30)
    read_all(folder, cache)
    assert not entries(cache) and "of its disk free" in caplog.text


def test_an_unwritable_cache_is_ignored(folder, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    cache = PixelCache(tmp_path / "file" / "cache", 2**30)
    np.testing.assert_array_equal(crops(folder, 0, 50, cache=cache), crops(folder, 0, 50))
    (line,) = caplog.messages
    assert "is not writable (Not a directory)" in line


def test_runs_share_the_cache_while_both_fill_it(folder, tmp_path):
    expected = read_all(folder, PixelCache(tmp_path / "other", 2**30))
    caches = [PixelCache(tmp_path / "cache", 2**30) for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda cache: read_all(folder, cache), caches):
            for ours, theirs in zip(found, expected):
                np.testing.assert_array_equal(ours, theirs)
    assert len(entries(caches[0])) == FILES and not list(caches[0].folder.glob("*.part"))
    shutil.rmtree(caches[0].folder)
    read_all(folder, caches[0])  # Removed meanwhile.


def test_a_run_uses_the_cache_of_the_user_up_to_its_limit(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TFC_MODELS_CACHE", str(tmp_path / "user"))
    config = Config("bls2017", steps=1, crop=SIDE, seed=SEED)
    found = [
        next(data.crops_for(c, str(folder)).as_numpy_iterator())
        for c in (config, Config("bls2017", steps=1, crop=SIDE, seed=SEED, cache_gigabytes=0.0))
    ]
    np.testing.assert_array_equal(*found)
    assert list((tmp_path / "user" / "pixels").glob("*.npy"))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"crops_per_image": 0}, "crops_per_image must be 1 or more; got 0"),
        ({"cache_gigabytes": -1.0}, "cache_gigabytes must be 0 or more; got -1.0"),
        ({"cache_gigabytes": "big"}, "cache_gigabytes must be of type float; got 'big'"),
    ],
)
def test_settings_out_of_range_are_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        Config("bls2017", steps=1, **setting)


def test_small_and_damaged_files_are_logged_and_left_out(folder, caplog):
    Image.fromarray(cropped(50, 200)).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    found = data.Files(data.find(str(folder)), 64, data.pixels_of)
    assert len(found) == 7
    for number in range(70):
        assert min(found.example(number, 0).shape[:2]) >= 64
    assert {p.name for p in found.unusable} == {"small.png", "broken.jpg"}
    assert data.find(str(folder / "*.jpg")) == [folder / "broken.jpg"]
    only = data.Files(data.find(str(folder / "*.jpg")), 64, data.pixels_of)
    with pytest.raises(data.DataError, match=r"1 of 1 are damaged or smaller.*broken\.jpg"):
        only.example(0, 0)
