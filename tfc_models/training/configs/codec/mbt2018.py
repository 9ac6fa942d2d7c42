r"""Joint autoregressive and hierarchical priors: a context in raster order beside the hyperprior.

    python -m training.main --config mbt2018 --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

--steps 120 took 273 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Result on the 8 gb82 photos, with which the learning rates were selected: 0.880 bpp, 31.83 dB.
--minutes sets a larger budget.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="mbt2018",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
