"""Check that a run resumes with the settings it started with."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tfc_models.metrics import METRICS
from tfc_models.metrics.pim import LEARNED
from tfc_models.models.distortion import parsed
from tfc_models.training.config import RunConfig

FILE = "config.json"


def check(workdir: pathlib.Path, config: RunConfig) -> None:
    """Creates the work folder if needed; raises ValueError if it holds a different run."""
    workdir.mkdir(parents=True, exist_ok=True)
    path, identity = workdir / FILE, identity_of(config)
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(
            name
            for name in {*identity, *stored}
            if json.dumps(identity.get(name)) != json.dumps(stored.get(name))
        )
        if changed:
            raise ValueError(
                f"{workdir} holds a run with another {', '.join(changed)}: "
                "choose another --workdir."
            )


def identity_of(config: RunConfig) -> dict[str, Any]:
    """Returns settings that must not change when a run resumes.

    They include digests of the weights of the metrics in the loss.
    """
    identity = config.identity
    for name in sorted(_loss_metrics(config)):
        weights = METRICS[name].weights
        if weights:
            identity[name] = weights.digest()
    return identity


def _loss_metrics(config: RunConfig) -> set[str]:
    """Returns the names of the metrics in a run's loss."""
    sums = [config.arguments.get("distortion")]
    sums += [getattr(config, name, "") for name in ("distortion", "perceptual")]
    names = {name for text in sums if text for name in parsed(text)}
    critic = getattr(config, "critic", "") if getattr(config, "adversarial", 0.0) else ""
    return names | ({critic} & LEARNED.keys())


def write(workdir: pathlib.Path, config: RunConfig) -> None:
    """Writes the settings that must not change into the work folder."""
    text = json.dumps(identity_of(config), indent=2) + "\n"
    (workdir / FILE).write_text(text, encoding="utf-8")
