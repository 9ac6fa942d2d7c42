r"""Variable-rate model with a synthesis of two layers: config of `gained-shallow` in the zoo.

    python -m training.main --config gained_shallow --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX512-BF16, shared with other work; in float32 (--set bfloat16=off), a
step took 0.4 s at the end. Time of the zoo's weights: 2,252 steps in 33 minutes with an earlier
start of the nonlinear branch, and 2,518 steps in 37 minutes from those weights with the present
start of that branch. Result on 8 photos that were not trained on, at quality 0: 0.133 bpp,
26.97 dB; 25: 0.288 bpp, 29.65 dB; 50: 0.575 bpp, 32.65 dB; 75: 1.028 bpp, 35.81 dB; 100: 1.621 bpp,
38.51 dB.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="gained-shallow",
    arguments={"kernel": "rdft"},
    minutes=80,
    crop=192,
    average=0.999,
    warmup=0.01,
    decay=0.5,
    last_rate=0.0,
)
