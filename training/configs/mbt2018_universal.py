"""Universal quantization: noise that encoder and decoder share, soft rounding, annealed.

    python -m training.main --config training/configs/mbt2018_universal.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AVX-512, shared with other work. Time: 4 minutes, 400 steps. Reached
then on 8 photos never trained on: 0.750 bpp, 31.47 dB. --minutes gives it more.
"""

from training.config import Config

CONFIG = Config(
    model="mbt2018-universal",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
