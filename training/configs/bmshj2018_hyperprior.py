"""Four stages and scales from a hyperprior.

    python -m training.main --config training/configs/bmshj2018_hyperprior.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

MACHINE
"""

from training.config import Config

CONFIG = Config(
    model="bmshj2018-hyperprior",
    arguments={"lmbda": 0.01, "gdn": "gdn1"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
