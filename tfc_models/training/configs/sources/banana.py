"""Networks for the banana: nonlinear transform coding with soft rounding.

    python -m training.sources --config banana --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 25,000 steps in 7 minutes.
Reached: 4.324 bits coded and a squared error of 0.2052 a sample, 5.965 together at lambda 8;
published: 5.97.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": 8.0, "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    steps=25_000,
)
