"""A linear transform code for the banana.

python -m training.sources --config training/configs/banana_linear.py --workdir OUT

"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="linear",
    arguments={"latents": 2, "lmbda": 8.0},
    source="banana",
    rate=5e-3,
    steps=15_000,
)
