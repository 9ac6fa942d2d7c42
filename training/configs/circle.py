"""Networks for a circle, where they fall short of equal arcs.

    python -m training.sources --config training/configs/circle.py --workdir OUT
"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={"latents": 2, "lmbda": 100.0, "hidden": (100, 100), "quantization": "soft"},
    source="sphere",
    rate=2e-3,
    steps=8_000,
)
