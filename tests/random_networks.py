"""LPIPS networks with random weights and few channels."""

from __future__ import annotations

import pathlib

import numpy as np

from tfc_models import metrics

# Fire modules: position, and input, squeezed and expanded channels.
FIRES = (3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128)
FIRES += (9, 256, 48, 192), (10, 384, 48, 192), (11, 384, 64, 256), (12, 512, 64, 256)
# Convolutions: position, size, inputs and outputs.
ALEX = (0, 11, 3, 64), (3, 5, 64, 192), (6, 3, 192, 384), (8, 3, 384, 256), (10, 3, 256, 256)
VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def random_network(name: str, path: pathlib.Path) -> pathlib.Path:
    """Writes a network of `metrics.BACKBONES` with linear layers."""
    draw = np.random.default_rng(list(metrics.BACKBONES).index(name))
    arrays: dict[str, np.ndarray] = {}

    def convolution(place: str, size: int, inputs: int, outputs: int) -> None:
        kernel = draw.normal(size=[outputs, inputs, size, size]) / size / np.sqrt(inputs / 2)
        arrays[f"net.{place}.weight"] = kernel.astype("f4")
        arrays[f"net.{place}.bias"] = (draw.normal(size=outputs) * 0.1).astype("f4")

    if name == "squeeze":
        convolution("0", 3, 3, 64)
        for place, inputs, squeezed, expanded in FIRES:
            convolution(f"{place}.squeeze", 1, inputs, squeezed)
            convolution(f"{place}.expand1x1", 1, squeezed, expanded)
            convolution(f"{place}.expand3x3", 3, squeezed, expanded)
    elif name == "alex":
        for place, *sizes in ALEX:
            convolution(str(place), *sizes)
    else:
        before, place = 3, 0
        for width, count in VGG:
            for _ in range(count):
                convolution(str(place), 3, before, width)
                before, place = width, place + 2
            place += 1
    for i, width in enumerate(metrics.BACKBONES[name].channels):
        arrays[f"lin{i}"] = draw.uniform(0, 1, width).astype("f4")
    np.savez(path, **arrays)
    return path
