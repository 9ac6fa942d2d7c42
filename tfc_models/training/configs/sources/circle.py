"""Nonlinear transform coding of a circle, for which equal arcs are better.

    python -m training.sources --config circle --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 8,000 steps in a minute.
Result: 5.982 coded bits and a squared error of 0.0060 at lambda 100, a cost 1.45 above that of 21
equal arcs.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": 100.0, "hidden": (100, 100), "quantization": "soft"},
    source="sphere",
    rate=2e-3,
    steps=8_000,
)
