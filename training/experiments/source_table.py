"""Trains every code of the small sources, and says in tables how near the best they come.

    python -m training.experiments.source_table --workdir OUT --output docs

Kill it at any time: the same command goes on. `--only` takes parts of it, which can run side by
side; the tables and figures then are of these. `--share` shortens every training.
"""

from __future__ import annotations

import pathlib
import shutil

from absl import flags

from tfc_models.cli import absl_programs
from training.experiments.source_comparison import COPIED, PARTS, Trainings, gates

_WORKDIR = flags.DEFINE_string("workdir", None, "a folder for each training", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "where sources_*.webp go; without it, the workdir")
_ONLY = flags.DEFINE_list("only", None, "parts: banana, rates, sawbridge, circle")
_SHARE = flags.DEFINE_float("share", 1.0, "of every training's steps", 0.0, 1.0)


def compare() -> None:
    """As the flags say."""
    workdir = pathlib.Path(_WORKDIR.value)
    output = pathlib.Path(_OUTPUT.value or workdir)
    only = _ONLY.value or list(PARTS)
    if unknown := set(only) - set(PARTS):
        raise ValueError(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    for folder in (workdir, output):
        folder.mkdir(parents=True, exist_ok=True)
    found = [PARTS[name](Trainings(workdir, _SHARE.value), output) for name in only]
    for name, copy in COPIED.items():
        if (workdir / name).exists() and (workdir / name).resolve() != (output / copy).resolve():
            shutil.copyfile(workdir / name, output / copy)
    asked = [gate for _, own in found for gate in own]
    print("\n\n".join([text for text, _ in found] + ([gates(asked)] if asked else [])))
    if missed := [gate.name for gate in asked if not gate.met]:
        raise ValueError(f"not met: {', '.join(missed)}.")


if __name__ == "__main__":
    absl_programs.run(compare)
