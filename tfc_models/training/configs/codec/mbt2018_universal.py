r"""Universal quantization: dither shared by encoder and decoder, and annealed soft rounding.

    python -m training.main --config mbt2018_universal --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 120 took 151 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 0.847 bpp, 31.10 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="mbt2018-universal",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
