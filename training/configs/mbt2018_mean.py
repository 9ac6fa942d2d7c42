"""x"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-mean", arguments={"lmbda": 0.01, "kernel": "plain", "gdn": "gdn1"}, minutes=60
)
