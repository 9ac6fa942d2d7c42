"""Compares decoders trained with a critic to the known trade-off of distortion and perception.

    python -m training.experiments.tradeoff --output docs/tradeoff.webp

The code and the rate are fixed. For each source, a decoder is trained for each weight of the
distortion, and one for all weights, conditioned on β between 0 and 1. The tables list their results
next to the optimum for the weight and the lower bound. Gates that are not met are listed at the
end, and the exit status is then 1. It takes minutes on two cores.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models.cli import absl_programs
from training.experiments import tradeoff_table as tables
from training.experiments.source_comparison import gate_table
from training.experiments.tradeoff_decoders import TASKS

_OUTPUT = flags.DEFINE_string("output", None, "WebP file for a figure")
_ONLY = flags.DEFINE_list("only", list(TASKS), "sources")
_DIVERGENCE = flags.DEFINE_string("divergence", "jensen-shannon", "divergence that is minimized")
_GAMMAS = flags.DEFINE_list(
    "gammas", ["0.03", "0.1", "0.3", "1", "3", "10", "30"], "weights of the distortion"
)
_STEPS = flags.DEFINE_integer("steps", 4000, "steps of each training", 1)
_BATCH = flags.DEFINE_integer("batch", 512, "samples per step and weight", 1)
_SAMPLES = flags.DEFINE_integer("samples", 2**20, "samples for measuring", 8)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the trainings", 0)


def compare() -> None:
    """Runs the comparison with the flags' settings and prints the tables."""
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    gammas = tables.check_settings(_ONLY.value, _DIVERGENCE.value, _GAMMAS.value, output)
    comparisons = []
    for name in _ONLY.value:
        budget = _STEPS.value, _BATCH.value, _SAMPLES.value, _SEED.value
        comparisons.append(tables.compare(TASKS[name](), _DIVERGENCE.value, gammas, *budget))
        print(tables.comparison_table(comparisons[-1]) + "\n")
    if output:
        tables.plot(comparisons, output)
    results = [gate for comparison in comparisons for gate in tables.comparison_gates(comparison)]
    print(gate_table(results))
    if missed := [gate.name for gate in results if not gate.met]:
        raise ValueError(f"not met: {', '.join(missed)}.")


if __name__ == "__main__":
    absl_programs.run(compare)
