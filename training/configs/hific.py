"""HiFiC's first stage, narrow: rate held at a target, squared error and LPIPS, from random weights.

    python -m training.gan --config training/configs/hific.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES
"""

from training.hific_config import HificTraining

CONFIG = HificTraining(
    model="hific",
    arguments={"channels": 8, "latents": 48, "hyper": 32, "blocks": 2},
    minutes=6,
    crop=192,
    rate=1e-3,
    target=0.3,
    decay=0.1,
)
