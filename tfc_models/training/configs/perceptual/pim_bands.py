r"""PIM-bands with one Gaussian per position, narrow enough for CPUs and as a training loss.

    python -m training.pim --config pim_bands --workdir OUT \
        --data PAIRS.csv --validation OTHER_PAIRS.csv

Machine: two CPU cores with AVX-512, shared with other work. Time: 24 minutes, 1,600 steps on 151
pairs of 78 scenes. Result on crops of 15 pairs of other scenes: a bound of 2.18 nats, the mean over
bands (untrained: -0.09); the maximum is 2.71.
"""

from tfc_models.training.config import PimTraining

CONFIG = PimTraining(
    model="pim-bands",
    arguments={"width": 16},
    steps=1600,
    batch=16,
    crop=64,
    rate=1e-3,
    spike=20.0,
    average=0.998,
)
