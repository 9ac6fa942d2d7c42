"""Four stages and scales from a hyperprior.

    python -m training.main --config training/configs/bmshj2018_hyperprior.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 4 minutes, 480 steps. Reached then
on 8 photos never trained on: 0.781 bpp, 32.61 dB. --minutes gives it more.
"""

from training.config import Config

CONFIG = Config(
    model="bmshj2018-hyperprior",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
