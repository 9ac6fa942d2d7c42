"""HiFiC's networks, narrow, without its critic: bits and squared error alone, from random weights.

    python -m training.main --config training/configs/hific.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AVX-512, shared with other work. Time: 4 minutes, 592 steps. Reached
then on 8 photos never trained on: 0.236 bpp, 20.35 dB, from which it is a long way to a picture:
this network starts as no transform at all. --minutes gives it more.
"""

from training.config import RATES, Config

CONFIG = Config(
    model="hific",
    arguments={"channels": 8, "latents": 48, "hyper": 32, "blocks": 2, "lmbda": 0.01},
    minutes=4,
    crop=192,
    start="random",
    rates={**RATES, "transforms": 1e-3},
)
