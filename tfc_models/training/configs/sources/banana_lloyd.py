"""Vector quantization of the banana source by Lloyd's algorithm; steps limits the iterations.

    python -m training.sources --config banana_lloyd --workdir OUT

Machine: two CPU cores with AVX-512, shared with other trainings. Time: 90 seconds, until
convergence. Result: 4.291 coded bits and a squared error of 0.2039 per sample, a cost of 5.922 at
lambda 8; published: 5.95.
"""

from tfc_models.training.config import SourceTraining

CONFIG = SourceTraining(
    model="lloyd",
    arguments={"size": 256, "lmbda": 8.0},
    source="banana",
    steps=1_000,
)
