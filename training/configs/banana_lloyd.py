"""Code vectors for the banana, by Lloyd's iteration; steps are its rounds, at most.

python -m training.sources --config training/configs/banana_lloyd.py --workdir OUT

"""

from training.config import SourceTraining

CONFIG = SourceTraining(
    model="lloyd",
    arguments={"size": 256, "lmbda": 8.0},
    source="banana",
    steps=1_000,
)
