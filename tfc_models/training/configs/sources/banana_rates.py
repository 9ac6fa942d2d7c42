"""One network for the banana at every rate: gains, or networks that lambda modulates.

    python -m training.sources --config banana_rates --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 30,000 steps in 9 minutes.
Reached: at lambda 8 4.440 bits coded and a squared error of 0.1915, 5.971 together, where a network
for that lambda alone has 5.965; docs/sources.md has all.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": (1.0, 32.0), "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    curve=(1.0, 3.0, 8.0, 32.0),
    steps=30_000,
)
