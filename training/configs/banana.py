"""Networks for the banana: nonlinear transform coding with soft rounding.

python -m training.sources --config training/configs/banana.py --workdir OUT

"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": 8.0, "hidden": (100, 100), "quantization": "soft"},
    source="banana",
    steps=25_000,
)
