"""Names of metrics for which an encoder search can be tuned. Does not import TensorFlow."""

from __future__ import annotations

import os
import re

from tfc_models.metrics import METRICS, tunable_metrics
from tfc_models.remote import digest_of

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?"
_TERM = rf"\s*(?:{_NUMBER}\s*\*\s*)?([a-z-]+)\s*"
_SUM = re.compile(rf"{_TERM}(?:\+{_TERM})*")


def tunable_names() -> list[str]:
    """Returns the names of metrics that a search can be tuned for; "psnr" is squared error."""
    return ["psnr", *(name for name in tunable_metrics() if name != "mse")]


def tuned_metrics(tune: str | None) -> list[str]:
    """Returns the metrics in "lpips", "psnr + 2*lpips", …; an empty list for None.

    Raises:
        ValueError: the text is not such a sum, or names another metric.
    """
    if tune is None:
        return []
    names = re.findall(r"[a-z]{2}[a-z-]*", tune)
    unknown = [name for name in names if name not in (*tunable_names(), "mse")]
    if unknown or not names or not _SUM.fullmatch(tune):
        raise ValueError(
            f"tune is one of {', '.join(tunable_names())}, or a sum such as 'psnr + 2*lpips'; "
            f"got {(unknown or [tune])[0]!r}."
        )
    return names


def weights_digests(tune: str | None) -> list[str]:
    """Returns digests of weights that the environment names for the metrics of `tune`."""
    weights = (METRICS["mse" if name == "psnr" else name].weights for name in tuned_metrics(tune))
    sources = (os.environ.get(one.variable) for one in weights if one)
    return [digest_of(source) for source in sources if source]
