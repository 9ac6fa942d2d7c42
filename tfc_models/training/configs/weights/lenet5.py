"""LeNet5 with compressible weights, on MNIST.

    python -m training.weights --config lenet5 --workdir OUT --data MNIST_FOLDER

Machine: two CPU cores with AVX-512, shared with other work. Time: 38 minutes for 10 trainings.
Result with 7,000 images for training: 6,714 bytes at an error of 1.65 %, as 1,724,320 bytes
of float32, and 2,543 bytes at 3.25 %; pruning: 86,547 bytes at 1.75 %.
"""

from tfc_models.training.weight_config import WeightTraining

CONFIG = WeightTraining(
    model="lenet5",
    steps=4_000,
    prior="logistic",
    rate_weights=(0.5, 1.0, 2.0, 4.0, 8.0),
)
