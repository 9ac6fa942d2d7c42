"""The Karhunen–Loève transform of the sawbridge, steps and priors learned.

python -m training.sources --config training/configs/sawbridge_klt.py --workdir OUT
"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="klt",
    arguments={"latents": 50, "lmbda": 200.0, "mean": True},
    source="sawbridge",
    of_source={"points": 1024},
    batch=512,
    rate=5e-3,
    steps=4_000,
)
