"""x"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"lmbda": 0.01, "gdn": "gdn1", "kernel": "plain"},
    minutes=90,
    crop=192,
    head_start=0.05,
)
