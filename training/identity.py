"""Whose run a work folder holds: a run goes on in it with the same model and no other."""

from __future__ import annotations

import json
import os
import pathlib
import re
from typing import Any

from tfc_models.metrics.perceptual import digest
from tfc_models.remote import LPIPS_VARIABLE, SEMANTIC_VARIABLE, digest_of
from training.config import RunConfig

IDENTITY = "config.json"
OF_METRICS = ("perceptual", "critic")  # fields that may name some


def check(workdir: pathlib.Path, config: RunConfig) -> None:
    """Makes the work folder where it is missing; refuses one that holds another model's run."""
    workdir.mkdir(parents=True, exist_ok=True)
    path, ours = workdir / IDENTITY, of(config)
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(
            k for k in {*ours, *theirs} if json.dumps(ours.get(k)) != json.dumps(theirs.get(k))
        )
        if changed:
            raise ValueError(
                f"{workdir} holds a run with another {', '.join(changed)}: "
                "choose another --workdir."
            )


def of(config: RunConfig) -> dict[str, Any]:
    """What a run cannot go on with another of; of metrics that it is trained for, the digests."""
    found = config.identity
    fields = (config.arguments.get("distortion"), *(getattr(config, k, "") for k in OF_METRICS))
    words = {word for field in fields for word in re.findall("[a-z]+", str(field))}
    if "pim" in words:
        found["pim"] = digest()
    for name, variable in (("lpips", LPIPS_VARIABLE), ("semantic", SEMANTIC_VARIABLE)):
        if name in words:
            found[name] = digest_of(os.environ.get(variable, ""))
    return found


def keep(workdir: pathlib.Path, config: RunConfig) -> None:
    """Says in the folder whose run it holds."""
    text = json.dumps(of(config), indent=2) + "\n"
    (workdir / IDENTITY).write_text(text, encoding="utf-8")
