"""Removes channels of a decoder for the files of a model, for one cost after another.

    python -m training.narrow_decoder --config narrow --workdir OUT --data IMAGES \
        --targets 0.5,0.35,0.25 --steps 400

Each target is a fraction of the cost of the model's own synthesis. A target starts from the decoder
of the target before, and writes OUT/TARGET/weights.npz. These decoders are then trained by
`python -m training.decoder --set start=OUT/TARGET/weights.npz`. An interrupted run continues with
the same command. OUT/seconds.json has the time of each layer, measured at the start; with
`--nomeasure`, channels cost multiplications. Measure on a machine without other work.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.decoders.costs import layer_seconds
from tfc_models.training import dispatch
from tfc_models.training.fixed_model import base_of
from tfc_models.training.narrowing_config import NarrowingTraining
from training import image_flags, run_flags

MEASURE = flags.DEFINE_bool("measure", True, "whether channels cost the measured time of layers")
TARGETS = flags.DEFINE_list("targets", ["0.5"], "costs, as fractions of that of the model's own")


def measured_seconds(config: NarrowingTraining) -> pathlib.Path:
    """Returns the path of the file with the times of the layers, measured if there is none."""
    path = run_flags.workdir() / "seconds.json"
    if not path.exists():
        base, _ = base_of(config)
        base.set_bfloat16(config.bfloat16)  # As for decoding, not as for gradients.
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(layer_seconds(base), indent=2) + "\n", encoding="utf-8")
    return path


def narrow() -> None:
    """Trains one decoder for each target."""
    config = run_flags.read_config(NarrowingTraining)
    targets = sorted((float(target) for target in TARGETS.value), reverse=True)
    if MEASURE.value:
        config = dataclasses.replace(config, layer_seconds=str(measured_seconds(config)))
    start, data = config.start, (image_flags.DATA.value, image_flags.VALIDATION.value)
    for target in targets:
        folder = run_flags.workdir() / f"{target:g}"
        run = dataclasses.replace(config, target=target, start=start)
        dispatch.train(run, folder, *data, image_flags.STRATEGY.value)
        start = str(folder / "weights.npz")


if __name__ == "__main__":
    absl_programs.run(narrow, run_flags, image_flags)
