r"""Variable-rate model from which the zoo's default model was fine-tuned.

    python -m training.main --config gained_stem4 --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AMX, shared with other work. Time: 2,400 steps take 10 minutes
(--steps 2400). Result on 8 photos that were not trained on, at quality 0: 0.132 bpp, 27.04 dB;
25: 0.258 bpp, 29.58 dB; 50: 0.503 bpp, 32.45 dB; 75: 0.927 bpp, 35.52 dB; 100: 1.575 bpp,
38.48 dB. After 24,900 steps, 164 minutes: 0.117 bpp, 27.29 dB; quality 50: 0.466 bpp, 32.76 dB;
100: 1.406 bpp, 38.91 dB. The zoo's default model was trained from there, with a context.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="gained-stem4",
    arguments={"kernel": "rdft"},
    minutes=100,
    crop=192,
    average=0.999,
    warmup=0.01,
    decay=0.48,
    last_rate=0.0,
)
