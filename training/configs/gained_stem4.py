"""One model for every rate: what the zoo's default was trained with.

    python -m training.main --config training/configs/gained_stem4.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AMX, shared with other work. Time: 100 minutes, 13,500 steps, in an
earlier form of the trainer. Reached on 8 photos never trained on, as real files, at quality
0: 0.123 bpp, 27.23 dB; 25: 0.245 bpp, 29.82 dB; 50: 0.477 bpp, 32.71 dB; 75: 0.862 bpp,
35.79 dB; 100: 1.427 bpp, 38.75 dB.
"""

from training.config import Config

CONFIG = Config(
    model="gained-stem4",
    minutes=100,
    crop=192,
    average=0.999,
    warmup=0.01,
    decay=0.48,
    last_rate=0.0,
)
