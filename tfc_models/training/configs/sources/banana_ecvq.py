"""Entropy-constrained vector quantization of the banana source, trained by gradient descent.

    python -m training.sources --config banana_ecvq --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 15,000 steps in 2 minutes.
Result: 4.302 coded bits and a squared error of 0.2016 per sample, a cost of 5.915 at lambda 8;
published: 5.95.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="vector-quantizer",
    arguments={"size": 256, "lmbda": 8.0},
    source="banana",
    rate=5e-3,
    steps=15_000,
)
