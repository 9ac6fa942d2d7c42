"""Names of metrics that an encoder's search can be tuned for; needs no TensorFlow."""

from __future__ import annotations

import os
import re

from tfc_models.remote import LPIPS_VARIABLE, PIM_BANDS_VARIABLE, PIM_VARIABLE, digest_of

TUNABLE = ("psnr", "ms-ssim", "ssim", "nlpd", "lpips", "pim", "pim-bands")
# Metrics with weights, and the environment variables that name these.
WEIGHTS = {"lpips": LPIPS_VARIABLE, "pim": PIM_VARIABLE, "pim-bands": PIM_BANDS_VARIABLE}
_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?"
_TERM = rf"\s*(?:{_NUMBER}\s*\*\s*)?([a-z-]+)\s*"
_SUM = re.compile(rf"{_TERM}(?:\+{_TERM})*")


def tuned_metrics(tune: str | None) -> list[str]:
    """Returns the metrics in "lpips", "psnr + 2*lpips", …; none for None.

    Raises:
        ValueError: it is no such sum, or names another metric.
    """
    if tune is None:
        return []
    names = re.findall(r"[a-z]{2}[a-z-]*", tune)
    unknown = [name for name in names if name not in (*TUNABLE, "mse")]
    if unknown or not names or not _SUM.fullmatch(tune):
        raise ValueError(
            f"tune is one of {', '.join(TUNABLE)}, or a sum such as 'psnr + 2*lpips'; "
            f"got {(unknown or [tune])[0]!r}."
        )
    return names


def weights_digests(tune: str | None) -> list[str]:
    """Returns digests of the weights that the environment names for the metrics of `tune`."""
    sources = (os.environ.get(WEIGHTS.get(name, "")) for name in tuned_metrics(tune))
    return [digest_of(source) for source in sources if source]
