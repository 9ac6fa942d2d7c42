"""Variable-rate coding of the banana source, with gains or with networks conditioned on lambda.

    python -m training.sources --config banana_rates --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 30,000 steps in 9 minutes.
Result at lambda 8: 4.440 coded bits and a squared error of 0.1915, a cost of 5.971; a network
trained for that lambda only has 5.965. docs/sources.md lists all results.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": (1.0, 32.0), "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    curve=(1.0, 3.0, 8.0, 32.0),
    steps=30_000,
)
