"""The mean-scale hyperprior at one rate.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 108 minutes, 3,850 steps, in an
earlier form of the trainer (a slower step, a cosine for the decay). Reached on 8 photos never
trained on, as real files: 0.505 bpp, 31.89 dB.
"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"lmbda": 0.01, "gdn": "gdn1", "kernel": "plain"},
    minutes=90,
    crop=192,
    head_start=0.05,
)
