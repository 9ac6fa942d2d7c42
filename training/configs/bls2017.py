"""Three stages, normalized, and one factorized prior: the codec of 2017.

    python -m training.main --config training/configs/bls2017.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 4 minutes, 2,400 steps. Reached then
on 8 photos never trained on: 0.569 bpp, 31.73 dB. --minutes gives it more.
"""

from training.config import Config

CONFIG = Config(
    model="bls2017",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
