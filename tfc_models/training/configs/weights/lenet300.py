"""LeNet300-100 with compressible weights, on MNIST.

    python -m training.weights --config lenet300 --workdir OUT --data MNIST_FOLDER

Machine: two CPU cores with AVX-512, shared with other work. Time: 11 minutes for 10 trainings.
Result with 7,000 images for training: 8,882 bytes at an error of 4.70 % (float32: 1,066,440 bytes,
4.75 %), and 5,334 bytes at 6.00 %; pruning: 52,337 bytes at 4.70 %.
"""

from tfc_models.training.weight_config import WeightTraining

CONFIG = WeightTraining(
    model="lenet300",
    steps=4_000,
    prior="logistic",
    rate_weights=(0.2, 0.5, 1.0, 2.0, 4.0),
)
