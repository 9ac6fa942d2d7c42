"""Residual network with compressible weights, on the digits of scikit-learn.

    python -m training.weights --config resnet_digits --workdir OUT --data sklearn

Machine: two CPU cores with AVX-512, shared with other work. Time: 19 minutes for 9 trainings.
Result: 4,968 bytes at one error in 450 test images (float32: 701,864 bytes and 8 errors); pruning:
25,602 bytes and 10 errors.
"""

from tfc_models.training.weight_config import WeightTraining

CONFIG = WeightTraining(
    model="resnet",
    steps=3_000,
    batch=64,
    rate_weights=(0.03, 0.1, 0.3, 1.0),
    prior="logistic",
    removed=(0.5, 0.7, 0.8, 0.9),
)
