"""Three stages, normalized, and one factorized prior: the codec of 2017.

    python -m training.main --config training/configs/bls2017.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

MACHINE
"""

from training.config import Config

CONFIG = Config(
    model="bls2017",
    arguments={"lmbda": 0.01, "gdn": "gdn1"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
