"""Trains decoders by a critic for sources whose trade-off is known, and holds both side by side.

    python -m training.experiments.tradeoff --output docs/tradeoff.webp

The code is fixed, and so is the rate. For each source a decoder is trained for each weight of the
distortion, and one for all, which is told β between 0 and 1. The tables have what they reach beside
what is best for the weight, and what no decoder can do better; gates that are not met are named at
the end, and the exit status is 1 then. Minutes on two cores.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models.cli import absl_programs
from training.experiments import tradeoff_table as tables
from training.experiments.source_comparison import gates
from training.experiments.tradeoff_decoders import TASKS

_OUTPUT = flags.DEFINE_string("output", None, "a figure of it, WebP")
_ONLY = flags.DEFINE_list("only", list(TASKS), "sources, of these")
_DIVERGENCE = flags.DEFINE_string("divergence", "jensen-shannon", "what the critic bounds")
_GAMMAS = flags.DEFINE_list("gammas", ["0.03", "0.1", "0.3", "1", "3", "10", "30"], "weights")
_STEPS = flags.DEFINE_integer("steps", 4000, "of each training", 1)
_BATCH = flags.DEFINE_integer("batch", 512, "samples for each weight", 1)
_SAMPLES = flags.DEFINE_integer("samples", 2**20, "to measure with", 8)
_SEED = flags.DEFINE_integer("seed", 0, "of the trainings", 0)


def compare() -> None:
    """As the flags say."""
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    gammas = tables.checked(_ONLY.value, _DIVERGENCE.value, _GAMMAS.value, output)
    found = []
    for name in _ONLY.value:
        budget = _STEPS.value, _BATCH.value, _SAMPLES.value, _SEED.value
        found.append(tables.compared(TASKS[name](), _DIVERGENCE.value, gammas, *budget))
        print(tables.table_of(found[-1]) + "\n")
    if output:
        tables.draw(found, output)
    asked = [gate for comparison in found for gate in tables.gates_of(comparison)]
    print(gates(asked))
    if missed := [gate.name for gate in asked if not gate.met]:
        raise ValueError(f"not met: {', '.join(missed)}.")


if __name__ == "__main__":
    absl_programs.run(compare)
