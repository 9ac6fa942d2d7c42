"""One network for the banana at every rate: gains, or networks that lambda modulates.

    python -m training.sources --config training/configs/banana_rates.py --workdir OUT
"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": (1.0, 32.0), "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    curve=(1.0, 3.0, 8.0, 32.0),
    steps=30_000,
)
