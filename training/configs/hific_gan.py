"""HiFiC's second stage, narrow: as the first one, from its weights, with a critic.

    python -m training.gan --config training/configs/hific_gan.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES --set start=FIRST/weights.npz
"""

from training.hific_config import HificTraining

CONFIG = HificTraining(
    model="hific",
    arguments={"channels": 8, "latents": 48, "hyper": 32, "blocks": 2},
    minutes=6,
    crop=192,
    rate=2e-4,
    critic_rate=1e-3,
    critic_widths=(32, 64, 128, 256),
    head_start=0.1,
    adversarial=0.15,
    target=0.3,
    decay=0.1,
)
