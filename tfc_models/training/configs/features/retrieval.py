"""Compressible features for retrieving the crops of the same photo.

python -m training.features --config retrieval --workdir OUT --data PHOTOS

Machine: two CPU cores, shared with other work. Time: about 60 seconds per training, 15 trainings,
and some minutes for the crops of 493 photos once.
Result, one seed: a recall@1 of 23.65 % at 2048 bits without the layer; 24.36 % at 248 bits and
19.59 % at 105 bits with it; PCA: 23.21 % at 35 bits.
"""

from tfc_models.training.feature_config import FeatureTraining

CONFIG = FeatureTraining(
    model="retrieval",
    arguments={"width": 8},
    steps=500,
    clip_norm=100.0,
    decay=1.0,
    average=0.98,
    weights=(1e-4, 3e-4, 1e-3, 3e-3),
    seeds=3,
)
