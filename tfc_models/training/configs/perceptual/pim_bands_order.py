r"""PIM-bands, fine-tuned so that denser overlays, of fog or of another image, are farther away.

    python -m training.pim --config pim_bands_order --workdir OUT \
        --set start=ONE/weights.npz --data PAIRS.csv --validation OTHER_PAIRS.csv

ONE is the work folder of a run of pim_bands.py; start=shipped starts from the shipped weights.
Machine: two CPU cores with AVX-512, shared with other work. Time: 14 minutes, 300 steps. Result on
crops of 15 pairs of other scenes: a bound of 2.04 nats (2.18 before), and a mean ranking loss of
0.012 (0.05 for equal distances).
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
