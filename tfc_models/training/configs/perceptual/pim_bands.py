"""PIM-bands: one Gaussian a place, a width that two cores train and codecs can be trained with.

    python -m training.pim --config pim_bands --workdir OUT \\
        --data PAIRS.csv --validation OTHER_PAIRS.csv

Machine: two CPU cores with AVX-512, shared with other work. Time: 24 minutes, 1,600 steps. Reached
then on crops of 15 pairs of other scenes: a bound of 2.18 nats, the mean of the bands', of at most
2.71 (an untrained one: -0.09), trained on 151 pairs of 78 scenes.
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
