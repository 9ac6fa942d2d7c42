"""`tfc-models models`: lists the models of the zoo. Needs no TensorFlow."""

from __future__ import annotations

import argparse
from typing import Any

import tfc_models
from tfc_models.cli.output import print_json, print_table, size_text

DESCRIPTION = "Lists the available models."


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds no options: --json is common to all commands."""


def run(options: argparse.Namespace) -> int:
    """Prints the models of the zoo."""
    listed: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "default": entry.default,
            "model": entry.model,
            "version": entry.version,
            "digest": entry.digest,
            "bytes": entry.path.stat().st_size if entry.path.is_file() else None,
            "realism": bool(entry.realism),
            "fast": bool(entry.fast),
            "summary": entry.summary,
        }
        for entry in tfc_models.entries()
    ]
    if options.json:
        print_json(listed)
        return 0
    columns = {"name": "left", "default": "center", "size": "right", "realism": "center"}
    columns.update({"fast": "center", "summary": "left"})
    print_table(
        columns,
        (
            (
                item["name"],
                "yes" if item["default"] else "",
                _size(item["bytes"]),
                "yes" if item["realism"] else "",
                "yes" if item["fast"] else "",
                item["summary"],
            )
            for item in listed
        ),
    )
    return 0


def _size(count: int | None) -> str:
    return "missing" if count is None else size_text(count)
