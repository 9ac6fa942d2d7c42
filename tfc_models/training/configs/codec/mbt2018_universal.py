"""Universal quantization: noise that encoder and decoder share, soft rounding, annealed.

    python -m training.main --config mbt2018_universal --workdir OUT \\
        --data IMAGES --validation OTHER_IMAGES

--steps 120 took 151 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Reached then on the 8 gb82 photos, by which the rates of learning were chosen: 0.847 bpp, 31.10 dB.
--minutes gives it more.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="mbt2018-universal",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
