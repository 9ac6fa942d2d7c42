r"""Four stages and a factorized prior.

    python -m training.main --config bmshj2018_factorized --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 240 took 353 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 1.339 bpp, 33.92 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="bmshj2018-factorized",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
