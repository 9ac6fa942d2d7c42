"""LeNet300-100 with compressible weights, on MNIST.

    python -m training.weights --config lenet300 --workdir OUT --data MNIST_FOLDER

Machine: two CPU cores with AVX-512, shared with other work. Time: TIME.
Result: RESULT
"""

from tfc_models.training.weight_config import WeightTraining

CONFIG = WeightTraining(
    model="lenet300",
    steps=4_000,
    prior="logistic",
    rate_weights=(0.2, 0.5, 1.0, 2.0, 4.0),
)
