"""x"""

from training.config import Config

CONFIG = Config(
    model="gained-stem4",
    minutes=90,
    crop=192,
    average=0.999,
    head_start=0.0,
    warmup=0.01,
    decay=0.3,
    last_rate=0.0,
)
