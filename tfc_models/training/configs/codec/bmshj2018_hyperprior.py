r"""Four stages, and scales from a hyperprior.

    python -m training.main --config bmshj2018_hyperprior --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 120 took 246 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 0.821 bpp, 32.30 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="bmshj2018-hyperprior",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
