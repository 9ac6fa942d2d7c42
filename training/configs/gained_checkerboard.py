"""`gained-stem4` with a checkerboard context: what the zoo's default was trained with.

    python -m training.main --config training/configs/gained_checkerboard.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES --set start=WEIGHTS

Starts from weights of `gained-stem4`, whose context says nothing at first. Machine: two CPU
cores with AMX, shared with other work. Time: STEPS steps in MINUTES minutes. Reached then on 8
photos never trained on, at quality 0: Q0; 25: Q25; 50: Q50; 75: Q75; 100: Q100.
"""

from training.config import Config

CONFIG = Config(
    model="gained-checkerboard",
    arguments={"kernel": "rdft"},
    minutes=82,
    crop=192,
    average=0.9995,
    warmup=0.02,
    decay=0.6,
    last_rate=0.0,
)
