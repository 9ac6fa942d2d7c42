"""Crops of a folder's images that calibrate the ranges of exact networks."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import images
from tfc_models.training import data


def calibration_batch(folder: str, count: int = 64, side: int = 256) -> tf.Tensor:
    """Returns center crops of up to `count` images, spread evenly over the folder's files."""
    paths = data.find(folder)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    crops = []
    for path in chosen:
        try:
            image = images.read(path, background=(255, 255, 255)).pixels
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
            continue
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        if min(top, left) >= 0:
            crops.append(image[top : top + side, left : left + side])
    if not crops:
        raise ValueError(f"{folder} has no images of at least {side}×{side} pixels.")
    return tf.constant(np.stack(crops), tf.float32)
