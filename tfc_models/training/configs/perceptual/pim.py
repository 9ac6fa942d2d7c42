r"""PIM as published: sp1 filters, 64 filters per layer, mixtures of five Gaussians, one bound.

    python -m training.pim --config pim --workdir OUT \
        --data PAIRS.csv --validation OTHER_PAIRS.csv

Machine: about a third of one of two CPU cores with AVX-512 and bfloat16, shared with other work.
Time: 627 steps in 40 minutes on 151 pairs of 78 scenes. Result on the centers of crops of 15 pairs
of other scenes: a bound of 2.31 nats; the maximum is 2.71.
"""

from tfc_models.training.config import PimTraining

CONFIG = PimTraining(
    model="pim",
    minutes=40.0,
    batch=16,
    crop=64,
    window=24,
    rate=1.5e-3,
    spike=20.0,
    average=0.99,
    bfloat16="auto",
)
