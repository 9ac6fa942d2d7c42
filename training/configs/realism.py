"""A decoder of more realism for the zoo's default model.

    python -m training.realism --config training/configs/realism.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AVX512-BF16, shared with other work. Time: the zoo's decoder took 6,112
steps without `periodic` in 90 minutes and 1,300 with it, from these weights (--set start=WEIGHTS), in
10. Results on images that nothing was selected on: its card.
"""

from training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=12,
    crop=128,
    rate=3e-4,
    average=0.999,
    gamma=4e-3,
    periodic=1.0,
)
