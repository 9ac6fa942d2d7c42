r"""HiFiC's first stage with few channels: rate target, squared error and LPIPS.

    python -m training.gan --config hific --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX-512, shared with other work. Time: 6 minutes, 806 steps. Result on 8
photos that were not trained on: 0.262 bpp, 20.54 dB, LPIPS 0.447; 6 % of the last 50 batches were
above the target. Useful images take far longer, as this network has no linear start.

The paper's settings, for 181 million weights: --steps 1000000 --set arguments.channels=60
--set arguments.latents=220 --set arguments.hyper=320 --set arguments.blocks=9 --set crop=256
--set rate=1e-4 --set target=0.14 --set warmup=0.0 --set decay=0.5 --set downscale=1.3333
--set clip_norm=1e9 --set spike=1e9 --set average=0.0 (and targets of 0.30, 0.45), and for LPIPS
weights of AlexNet. tfc_models/training/hific_config.py lists the remaining differences.
"""

from tfc_models.training.hific_config import HificTraining

CONFIG = HificTraining(
    model="hific",
    arguments={"channels": 8, "latents": 48, "hyper": 32, "blocks": 2},
    minutes=6,
    crop=192,
    rate=1e-3,
    target=0.3,
    warmup=0.02,
    decay=0.25,
)
