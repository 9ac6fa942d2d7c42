"""The mean-scale hyperprior: means and scales from side information.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

MACHINE
"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"lmbda": 0.01, "gdn": "gdn1"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
