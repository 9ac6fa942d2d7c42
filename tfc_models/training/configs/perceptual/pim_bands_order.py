"""PIM-bands, fine-tuned so that denser overlays, of fog or of another picture, cost more.

    python -m training.pim --config pim_bands_order --workdir OUT \\
        --set start=ONE/weights.npz --data PAIRS.csv --validation OTHER_PAIRS.csv

ONE is the work folder of a run of pim_bands.py; start=shipped begins with the shipped weights.
Machine: two CPU cores with AVX-512, shared with other work. Time: 14 minutes, 300 steps. Reached
then: a bound of 2.04 nats (2.18 before) on crops of 15 pairs of other scenes, and thicker veils
out of order by 0.012 on average, where equal costs would have 0.05.
"""

from tfc_models.training.config import PimTraining

CONFIG = PimTraining(
    model="pim-bands",
    arguments={"width": 16},
    order=10.0,
    margin=0.05,
    steps=300,
    batch=16,
    crop=64,
    rate=1e-3,
    spike=20.0,
    average=0.99,
)
