"""Four stages and a factorized prior.

    python -m training.main --config training/configs/bmshj2018_factorized.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 4 minutes, 1,080 steps. Reached then
on 8 photos never trained on: 0.637 bpp, 31.98 dB. --minutes gives it more.
"""

from training.config import Config

CONFIG = Config(
    model="bmshj2018-factorized",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
