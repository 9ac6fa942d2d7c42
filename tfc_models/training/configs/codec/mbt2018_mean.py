r"""The mean-scale hyperprior: means and scales from side information.

    python -m training.main --config mbt2018_mean --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 300 took 945 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 0.719 bpp, 32.28 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="mbt2018-mean",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
