"""Whose run a work folder holds: a run goes on in it with the same model and no other."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tfc_models.metrics import METRICS
from tfc_models.metrics.pim import LEARNED
from tfc_models.models.distortion import parsed
from tfc_models.training.config import RunConfig

IDENTITY = "config.json"


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
    """Settings that must not change when a run resumes, with digests of the metrics in its loss."""
    found = config.identity
    for name in sorted(_metrics(config)):
        weights = METRICS[name].weights
        if weights:
            found[name] = weights.digest()
    return found


def _metrics(config: RunConfig) -> set[str]:
    """Names of the metrics in a run's loss."""
    sums = (config.arguments.get("distortion"), getattr(config, "perceptual", ""))
    found = {name for text in sums if text for name in parsed(text)}
    critic = getattr(config, "critic", "") if getattr(config, "adversarial", 0.0) else ""
    return found | ({critic} & LEARNED.keys())


def keep(workdir: pathlib.Path, config: RunConfig) -> None:
    """Says in the folder whose run it holds."""
    text = json.dumps(of(config), indent=2) + "\n"
    (workdir / IDENTITY).write_text(text, encoding="utf-8")
