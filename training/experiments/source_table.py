"""Trains all codes of small sources and compares them to the optimum in tables.

    python -m training.experiments.source_table --workdir OUT --output docs

It can be interrupted at any time: the same command resumes. `--only` selects parts, which can run
in parallel; tables and figures are then of these parts. `--share` shortens every training.
"""

from __future__ import annotations

import pathlib
import shutil

from absl import flags

from tfc_models.cli import absl_programs
from training.experiments.source_comparison import COPIED_PLOTS, PARTS, Trainings, gate_table

_WORKDIR = flags.DEFINE_string("workdir", None, "folder for all trainings", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "folder for sources_*.webp (default: the workdir)")
_ONLY = flags.DEFINE_list("only", None, "parts: banana, rates, sawbridge, circle (default: all)")
_SHARE = flags.DEFINE_float("share", 1.0, "fraction of every training's steps", 0.0, 1.0)


def compare() -> None:
    """Trains and prints the tables with the flags' settings."""
    workdir = pathlib.Path(_WORKDIR.value)
    output = pathlib.Path(_OUTPUT.value or workdir)
    only = _ONLY.value or list(PARTS)
    if unknown := set(only) - set(PARTS):
        raise ValueError(f"no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}.")
    for folder in (workdir, output):
        folder.mkdir(parents=True, exist_ok=True)
    results = [PARTS[name](Trainings(workdir, _SHARE.value), output) for name in only]
    for name, copy in COPIED_PLOTS.items():
        if (workdir / name).exists() and (workdir / name).resolve() != (output / copy).resolve():
            shutil.copyfile(workdir / name, output / copy)
    gates = [gate for _, part_gates in results for gate in part_gates]
    print("\n\n".join([text for text, _ in results] + ([gate_table(gates)] if gates else [])))
    if missed := [gate.name for gate in gates if not gate.met]:
        raise ValueError(f"not met: {', '.join(missed)}.")


if __name__ == "__main__":
    absl_programs.run(compare)
