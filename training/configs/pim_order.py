"""PIM, trained on so that thicker veils, of fog or of another picture, cost more.

    python -m training.pim --config training/configs/pim_order.py --workdir OUT \\
        --data PAIRS.csv --validation OTHER_PAIRS.csv
"""

from training.config import PimTraining

CONFIG = PimTraining(
    model="pim",
    arguments={"width": 16},
    start="shipped",
    order=10.0,
    margin=0.05,
    steps=300,
    batch=16,
    crop=64,
    rate=1e-3,
    spike=20.0,
    average=0.99,
)
