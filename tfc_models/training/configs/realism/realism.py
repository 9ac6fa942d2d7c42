r"""A realism decoder for the zoo's default model.

    python -m training.realism --config realism --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX512-BF16, shared with other work. Time: the zoo's decoder was trained
for 6,112 steps with periodic=0 in 90 minutes, then from these weights (--set start=WEIGHTS) for
1,300 steps with this config in 10 minutes, and for 700 with gamma=1.5e-3 in 5. Result on 8 images
that nothing was selected with, at realism 0 and 1: quality 15, 29.09 dB and LPIPS 0.254, 28.82 and
0.159; quality 30, 30.69 and 0.194, 30.39 and 0.120.
"""

from tfc_models.training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=12,
    crop=128,
    rate=3e-4,
    average=0.999,
    gamma=4e-3,
    periodic=1.0,
)
