"""Shared fixtures: one codec per registered model, with small trained weights."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
# Weights outside the repository, used where they exist.
LPIPS_WEIGHTS = ROOT.parent / "shared" / "data" / "weights" / "lpips_squeeze_v0.1.npz"
if LPIPS_WEIGHTS.is_file():
    os.environ.setdefault("TFC_MODELS_LPIPS", str(LPIPS_WEIGHTS))
# Tests do not write to the user's cache folder.
_CACHE = tempfile.TemporaryDirectory(prefix="tfc-models-tests-")
os.environ["TFC_MODELS_CACHE"] = _CACHE.name
# Limit of exports for the page and the server, just above their photos.
FEW_PIXELS = 230 * 230
# Every registered model, with arguments that keep it small.
# tests/conformance/test_registry.py fails if one is missing.
SMALL = {
    "bls2017": {"channels": 8, "latents": 12},
    "bmshj2018-factorized": {"channels": 8, "latents": 12},
    "bmshj2018-hyperprior": {"channels": 8, "latents": 12},
    "cheng2020-anchor": {"channels": 8, "latents": 12},
    "cheng2020-attn": {"channels": 8, "latents": 12, "components": 3},
    "elic2022": {"channels": 8, "latents": 12},
    "gained-channelwise": {"channels": 8, "latents": 12},
    "gained-checkerboard": {"channels": 8, "latents": 12},
    "gained-raster": {"channels": 8, "latents": 12},
    "gained-shallow": {"channels": 8, "latents": 12},
    "gained-stem4": {"channels": 8, "latents": 12},
    "gained-universal": {"channels": 8, "latents": 12},
    "hific": {"channels": 4, "latents": 12, "hyper": 8, "blocks": 2},
    "kirmemis2020": {"channels": 8, "latents": 12},
    "kirmemis2020-gdn": {"channels": 8, "latents": 12},
    "mbt2018": {"channels": 8, "latents": 12},
    "mbt2018-mean": {"channels": 8, "latents": 12},
    "mbt2018-universal": {"channels": 8, "latents": 12},
    "ms2020": {"channels": 8, "latents": 12, "slices": 4, "support": 2, "width": 7},
}


@functools.cache
def golden_codec(name: str):
    """Returns the codec of a model with the weights of its golden file, in float32."""
    from tfc_models.codec import Codec

    model = golden_model(name)
    model.set_bfloat16("off")
    return Codec(model)


def golden_model(name: str):
    """Returns a model with the weights of its golden file, or random ones if it is not stable."""
    from tfc_models import models, zoo
    from tfc_models.zoo import files

    if name not in models.stable_names():
        model = random_model(name)
        model.freeze()
        return model
    return zoo.build_model(files.read(GOLDEN / f"{name}.npz"))


def random_model(name: str):
    """Returns a small model with random weights, whose latents and images are of usual ranges."""
    import tensorflow as tf

    from tfc_models import models
    from tfc_models.layers import Conv2D

    tf.keras.utils.set_random_seed(5)
    model = models.build(name, **SMALL[name])
    image = tf.constant(cropped(256, 256)[None], tf.float32)

    def scale_last(chain, deviation: float) -> None:
        last = [layer for layer in chain.layers if isinstance(layer, Conv2D)][-1]
        last.assign_state({**last.state(), "kernel": last.kernel * deviation})

    scale_last(model.analysis, 3.0 / float(np.std(model.to_latents(image))))
    images = model.to_images(tf.round(model.to_latents(image)), None)
    scale_last(model.synthesis, 40.0 / float(np.std(images)))
    return model


def random_realism(base, seed: int = 0, **options):
    """Returns a realism decoder with random weights."""
    import tensorflow as tf

    from tfc_models.realism import RealismDecoder

    tf.keras.utils.set_random_seed(seed)
    decoder = RealismDecoder(base, **options)
    rng = np.random.default_rng(seed)
    state = {
        k: v + rng.normal(size=v.shape) * (0.3 if k.endswith("gate") else 0.05)
        for k, v in decoder.state().items()
    }
    decoder.assign_state(state)
    return decoder


def half_decoder(base):
    """Returns a decoder with the first half of the channels of a frozen model's synthesis."""
    from tfc_models.decoders import ReplacementDecoder, narrowed_state, widths_of
    from tfc_models.layers import part_of

    widths = {name: max(1, width // 2) for name, width in widths_of(base.synthesis).items()}
    kept = {name: np.arange(width) for name, width in widths.items()}
    decoder = ReplacementDecoder(base, widths)
    state = part_of(base.plain_state, "synthesis/")
    decoder.assign_state(narrowed_state(base.synthesis, state, kept))
    return decoder


@functools.cache
def codec_with_decoders(name: str):
    """Returns the codec of a golden file with a random realism decoder and a fast one."""
    from tfc_models.codec import Codec

    codec = golden_codec(name)
    fast = half_decoder(codec.model)
    fast.freeze()
    return Codec(codec.model, realism=random_realism(codec.model), fast=fast)


def random_gained(name: str = "gained-stem4", **config):
    """Returns a small gained model with random gains, offsets and blocks."""
    import tensorflow as tf

    from tfc_models import models

    tf.keras.utils.set_random_seed(3)
    model = models.build(name, **{**SMALL[name], **config})
    state = {k: np.asarray(v) for k, v in model.state().items()}
    rng = np.random.default_rng(0)
    for key, value in state.items():
        if key.endswith(("logarithm", "_gain", "index_offset")):
            state[key] = value + rng.normal(size=value.shape) * 0.3
        elif key.endswith("reduce/kernel"):
            state[key] = rng.normal(size=value.shape) * 0.05
    levels = np.linspace(-1.2, 1.2, model.levels)[:, None]
    state["analysis/gain/logarithm"] = state["analysis/gain/logarithm"] + levels + 2.0
    state["synthesis/gain/logarithm"] = state["synthesis/gain/logarithm"] - levels - 2.0
    model.assign_state(state)
    return model


@functools.cache
def photo() -> np.ndarray:
    """Returns a photo from scikit-image's wheel."""
    from skimage import data

    return data.astronaut()


def cropped(height: int, width: int) -> np.ndarray:
    """Returns a photo cropped, or repeated, to any size."""
    image = photo()
    tiles = -(-height // image.shape[0]), -(-width // image.shape[1]), 1
    return np.ascontiguousarray(np.tile(image, tiles)[:height, :width])


@pytest.fixture(params=sorted(SMALL))
def model_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def codec(request: pytest.FixtureRequest, model_name: str):
    """Codec of a golden file. Only some models run in graphs, which take long to build."""
    codec = golden_codec(model_name)
    eager = model_name not in SAMPLE and not request.config.getoption("--exhaustive")
    with without_graphs() if eager else contextlib.nullcontext():
        yield codec


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, worker_id: str):
    """Function that puts a version of a golden file's SavedModel into a folder.

    Processes share the exports: each is made by the first that needs it.
    """
    from tfc_models.limits import DEFAULT_MAX_PIXELS
    from tfc_models.serving.exporting import export

    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "exports"

    def copy(
        name: str,
        folder: pathlib.Path,
        version: int = 1,
        decoders: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> pathlib.Path:
        made = shared / f"{name}{'-decoders' * decoders}-{max_pixels}"
        made.mkdir(parents=True, exist_ok=True)
        lock = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made / "1").exists():
                codec = (codec_with_decoders if decoders else golden_codec)(name)
                export(codec, made, 1, max_pixels=max_pixels)
        finally:
            os.close(lock)
        shutil.copytree(made / "1", folder / str(version))
        return folder / str(version)

    return copy


@pytest.fixture
def eager():
    """Runs a test eagerly."""
    with without_graphs():
        yield


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Runs a block eagerly; for code that runs once, building a graph takes most of the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


SLOW_FILES = ("test_portability", "test_serving", "test_page", "test_bulk", "test_training")
SLOW_FILES += (
    "test_wheel",
    "test_run",
    "test_pim",
    "test_pim_bands",
    "test_judging",
    "test_cli_processes",
)
BY_MODEL = ("test_registry", "test_damage", "test_container")


# One model for each way of coding. Without --exhaustive, `sampled` tests run only over these, or
# over the models that the marker names.
SAMPLE = ("bls2017", "gained-checkerboard", "mbt2018", "mbt2018-universal", "ms2020")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="also what takes minutes: all models and settings, whole runs, with graphs",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Sets the group of tests that run in one process; xdist reads it before items are modified.

    Tests of a file share fixtures. In files with tests for every model, the tests of one model
    share its codec.
    """
    group = item.path.stem
    if group in BY_MODEL and (model := _model_of(item)):
        group = model
    item.add_marker(pytest.mark.xdist_group(group))


def _model_of(item: pytest.Item) -> str | None:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("model_name", parameters.get("name"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Starts the slowest groups first, so that no process runs one alone at the end."""

    def left_out(item: pytest.Item) -> bool:
        if config.getoption("--exhaustive"):
            return False
        if item.get_closest_marker("exhaustive"):
            return True
        sampled = item.get_closest_marker("sampled")
        return sampled is not None and _model_of(item) not in (sampled.args or SAMPLE)

    if others := [item for item in items if left_out(item)]:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if not left_out(item)]

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        slow = (i for i, file in enumerate(SLOW_FILES) if name.startswith(file))
        return next(slow, len(SLOW_FILES) + (name not in BY_MODEL))

    items.sort(key=place)


def completed(command: list[str], code: int) -> subprocess.CompletedProcess[str]:
    """Runs a program of the project and checks its exit status."""
    done = programs.run(*command[1:])
    assert done.returncode == code, done.stderr
    return done
