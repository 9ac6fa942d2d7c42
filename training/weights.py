"""Measures file sizes of a small network's weights against its error, beside other methods.

    python -m training.weights --config lenet5 --workdir OUT --data MNIST_FOLDER

It can be interrupted at any time: the same command goes on after the last compressed network.
OUT/sizes.csv contains the points, OUT/sizes.webp the figure, and OUT/*.tfcw the files. For --data,
see the config.
"""

from __future__ import annotations

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import weight_curve
from tfc_models.training.weight_config import WeightTraining
from tfc_models.training.weight_networks import NETWORKS, PUBLISHED
from tfc_models.training.weight_plot import plot_sizes
from training import run_flags

_DATA = flags.DEFINE_string(
    "data",
    None,
    "folder with MNIST's IDX files, tfds, or sklearn for the residual network",
    required=True,
)


def measure() -> None:
    """Measures with the flags' settings and draws the figure."""
    config: WeightTraining = run_flags.read_config(WeightTraining)
    folder = run_flags.workdir()
    points = weight_curve.measure(config, _DATA.value, folder)
    title = f"{config.model}, {NETWORKS[config.model].load(_DATA.value).description}"
    plot_sizes(points, folder / "sizes.webp", title, PUBLISHED.get(config.model))


if __name__ == "__main__":
    absl_programs.run(measure, run_flags)
