"""Named training configs, in a folder for each kind of run.

A config is a Python file that sets CONFIG. Its docstring states the command, the run time and
the expected result.
"""

from __future__ import annotations

import os
import pathlib

FOLDER = pathlib.Path(__file__).parent


def names() -> dict[str, pathlib.Path]:
    """Returns the files of all configs by name, sorted."""
    paths = (p for p in FOLDER.glob("*/*.py") if p.stem != "__init__")
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def find(config: str) -> pathlib.Path:
    """Returns the file of a config.

    Args:
        config: a name (mbt2018_mean or mbt2018-mean), or the path of a file.

    Raises:
        ValueError: there is no such config; the message lists the names.
    """
    known = names()
    if found := known.get(config.replace("-", "_")):
        return found
    path = pathlib.Path(config)
    if path.is_file():
        return path
    if path.suffix == ".py" or os.sep in config:
        raise ValueError(f"there is no config file {config}.")
    raise ValueError(f"there is no config {config!r}; the configs are: {', '.join(known)}.")
