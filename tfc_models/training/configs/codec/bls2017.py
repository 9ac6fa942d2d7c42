r"""Three stages with GDN and a factorized prior: the codec of 2017.

    python -m training.main --config bls2017 --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 240 took 84 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 1.127 bpp, 32.94 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="bls2017",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
