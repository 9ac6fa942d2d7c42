"""Code vectors for the banana, by gradient.

python -m training.sources --config training/configs/banana_ecvq.py --workdir OUT

"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="vector-quantizer",
    arguments={"size": 256, "lmbda": 8.0},
    source="banana",
    rate=5e-3,
    steps=15_000,
)
