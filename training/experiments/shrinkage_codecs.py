"""Flags and codecs of the experiments that compare shrinkage to GDN."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np
import tensorflow as tf
from absl import flags

from tfc_models import zoo
from tfc_models.codec import Codec
from tfc_models.layers import pad_to_multiple
from tfc_models.metrics import METRICS
from tfc_models.models import STRIDE, CompressionModel
from tfc_models.training import data
from tfc_models.zoo import files

SHRINKAGE = flags.DEFINE_string(
    "shrinkage", None, "weights file of a kirmemis2020 model", required=True
)
GDN = flags.DEFINE_string("gdn", None, "weights file of a kirmemis2020-gdn model", required=True)
IMAGES = flags.DEFINE_string(
    "images", None, "folder of images that were not trained on", required=True
)
COUNT = flags.DEFINE_integer("count", None, "number of images (default: all)", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "docs", "folder for results")

QUALITIES = (0, 25, 50, 75, 100)  # one per step
QUALITY_OF_STEP_1 = 50
NAMES = {"kirmemis2020": "shrinkage", "kirmemis2020-gdn": "GDN"}


def codecs() -> dict[str, Codec]:
    """Returns the frozen codecs of the flags by their names in tables."""
    result = {}
    for path, model_name in zip((SHRINKAGE.value, GDN.value), NAMES):
        weights = files.read(pathlib.Path(path))
        if weights.model != model_name:
            raise ValueError(f"{path} has weights of {weights.model}, not of {model_name}.")
        result[NAMES[model_name]] = Codec(zoo.build_model(weights))
    return result


def named_images() -> list[tuple[str, np.ndarray]]:
    """Returns the names and pixels of the flags' images."""
    images = list(itertools.islice(data.named_images(IMAGES.value), COUNT.value))
    if not images:
        raise ValueError(f"--images {IMAGES.value} has no readable images.")
    return images


def output(name: str) -> pathlib.Path:
    """Returns the path of a result. Raises ValueError if its folder does not exist."""
    folder = pathlib.Path(OUTPUT.value)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    return folder / name


def quality(metric: str, image: np.ndarray, decoded: np.ndarray) -> float:
    """Returns the value of a metric for two uint8 images."""
    pair = (tf.constant(pixels[None], tf.float32) for pixels in (image, decoded))
    return float(METRICS[metric].of_pair(*pair))


def latents_of(model: CompressionModel, image: np.ndarray) -> tf.Tensor:
    """Returns the latents of an image, not quantized."""
    return model.to_latents(pad_to_multiple(tf.constant(image[None]), STRIDE))


def normalized_latents(model: CompressionModel, image: np.ndarray) -> np.ndarray:
    """Returns the latents of an image less their means, divided by their scales."""
    y = latents_of(model, image)
    params = model.coder.parameters_for(y, tf.round(model.coder.hyper_latents(y)))
    return model.coder.quantization.normalized(y, params).numpy().ravel()
