"""Compares compressible features with baselines; see tfc_models/training/configs/features.

    python -m training.features --config mnist --workdir OUT --data MNIST_FOLDER

For each seed, it trains a network without compression. This network is trained further without
compression, for the baselines, and with compression for each weight of the bits. The program can
be interrupted at any time: the same command continues with the first network that has no result.
OUT/results.csv has all results, and OUT/curve.webp their plot.
"""

from __future__ import annotations

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import feature_ladder, feature_plots
from tfc_models.training.feature_config import FeatureTraining
from training import run_flags

DATA = flags.DEFINE_list(
    "data", None, "MNIST's folder or tfds, or folders of photos", required=True
)


def train() -> None:
    """Trains and measures all methods; prints the mean results."""
    config: FeatureTraining = run_flags.read_config(FeatureTraining)
    workdir = run_flags.workdir()
    rows = feature_ladder.run(config, DATA.value, workdir)
    print(feature_plots.table(rows))
    feature_plots.plot([feature_plots.panel(workdir)], workdir / "curve.webp")


if __name__ == "__main__":
    absl_programs.run(train, run_flags)
