"""Nonlinear transform coding of the banana source, with soft rounding.

    python -m training.sources --config banana --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 25,000 steps in 7 minutes.
Result: 4.324 coded bits and a squared error of 0.2052 per sample, a cost of 5.965 at lambda 8;
published: 5.97.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": 8.0, "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    steps=25_000,
)
