r"""Shrinkage activations, and latents coded under a Laplacian of unit variance.

    python -m training.main --config kirmemis2020 --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

The same with GDN, for comparison: --set model=kirmemis2020-gdn. 2,200 steps of both took half an
hour on two CPU cores shared with other work. Result on the 8 gb82 photos at a step of 1: 0.358 bpp,
28.61 dB with shrinkage, 0.428 bpp, 29.66 dB with GDN (docs/reports/shrinkage.md). Lambda is that of
the publication, 144 for images in −1 to 1.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="kirmemis2020",
    arguments={"channels": 64, "latents": 48, "lmbda": 0.00886},
    steps=2200,
    crop=128,
)
