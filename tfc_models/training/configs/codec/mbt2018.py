"""Joint autoregressive and hierarchical priors: a context in raster order beside the hyperprior.

    python -m training.main --config mbt2018 --workdir OUT \\
        --data IMAGES --validation OTHER_IMAGES

--steps 120 took 273 s on two CPU cores with AVX-512 and without AMX, shared with other work.
Reached then on the 8 gb82 photos, by which the rates of learning were chosen: 0.880 bpp, 31.83 dB.
--minutes gives it more.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="mbt2018",
    arguments={"gdn": "gdn"},
    minutes=4,
    crop=192,
    head_start=0.05,
)
