"""Removes channels of a decoder for the files of a model, for one cost after another.

    python -m training.narrow_decoder --config narrow --workdir OUT --data IMAGES \
        --targets 0.5,0.35,0.25 --steps 400

Each target is a fraction of the cost of the model's own synthesis. A target starts from the decoder
of the target before, and writes OUT/TARGET/weights.npz. These decoders are then trained by
`python -m training.decoder --set start=OUT/TARGET/weights.npz`. An interrupted run continues with
the same command.
"""

from __future__ import annotations

import dataclasses

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import dispatch
from tfc_models.training.narrowing_config import NarrowingTraining
from training import image_flags, run_flags

TARGETS = flags.DEFINE_list("targets", ["0.5"], "costs, as fractions of that of the model's own")


def narrow() -> None:
    """Trains one decoder for each target."""
    config = run_flags.read_config(NarrowingTraining)
    targets = sorted((float(target) for target in TARGETS.value), reverse=True)
    start, data = config.start, (image_flags.DATA.value, image_flags.VALIDATION.value)
    for target in targets:
        folder = run_flags.workdir() / f"{target:g}"
        run = dataclasses.replace(config, target=target, start=start)
        dispatch.train(run, folder, *data, image_flags.STRATEGY.value)
        start = str(folder / "weights.npz")


if __name__ == "__main__":
    absl_programs.run(narrow, run_flags, image_flags)
