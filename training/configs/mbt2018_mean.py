"""The mean-scale hyperprior: means and scales from side information.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 4 minutes, 575 steps. Reached then
on 8 photos never trained on: 0.707 bpp, 32.36 dB. --minutes gives it more; 108 minutes in an
earlier form of the trainer reached 0.505 bpp, 31.89 dB.
"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
