"""Networks for the sawbridge.

python -m training.sources --config training/configs/sawbridge.py --workdir OUT

"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="nonlinear",
    arguments={
        "latents": 10,
        "lmbda": 50.0,
        "hidden": (100, 100),
        "activation": "leaky_relu",
        "quantization": "soft",
        "mean": True,
    },
    source="sawbridge",
    of_source={"points": 1024},
    batch=512,
    steps=20_000,
)
