"""Plots the results of training.features, with one panel for each work folder.

python -m training.feature_figure --workdirs OUT,OTHER_OUT --figure FILE.webp
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import feature_plots

WORKDIRS = flags.DEFINE_list("workdirs", None, "work folders of training.features", required=True)
FIGURE = flags.DEFINE_string("figure", None, "WebP file to write", required=True)


def plot() -> None:
    """Writes the figure."""
    panels = [feature_plots.panel(pathlib.Path(folder)) for folder in WORKDIRS.value]
    feature_plots.plot(panels, pathlib.Path(FIGURE.value))


if __name__ == "__main__":
    absl_programs.run(plot)
