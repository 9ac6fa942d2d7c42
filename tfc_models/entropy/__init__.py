"""Entropy coders that decode identical latents on every machine.

A coder has three methods. `coder(y, training)` returns quantized (or perturbed) latents and
their estimated bits. `coder.compress(y)` returns strings, and `coder.decompress(strings, shape)`
the latents. The last two need `coder.freeze()` after training, which builds coding tables.

`FactorizedPrior` codes latents without side information. `LatentCoder` has a hyperprior and is
composed of a prediction (`HyperPrediction` or `ContextPrediction` with slices and their decoding
orders), a quantization and a rate adaptation.

Imports `tfc_models.layers` only.
"""

from tfc_models.entropy.coder import LatentCoder
from tfc_models.entropy.context import ContextPrediction
from tfc_models.entropy.exact import ExactNetwork
from tfc_models.entropy.factorized import FactorizedPrior
from tfc_models.entropy.mixture import MixtureRounding
from tfc_models.entropy.normalized import MagnitudePrediction, NormalizedRounding, Steps
from tfc_models.entropy.order import Checkerboard, Parallel, Raster
from tfc_models.entropy.parameters import EntropyParameters
from tfc_models.entropy.prediction import HyperPrediction
from tfc_models.entropy.quantization import Noise, Rounding
from tfc_models.entropy.rates import FixedRate, Gains
from tfc_models.entropy.slices import JointSlice, SeparateSlice
from tfc_models.entropy.universal import UniversalQuantization

__all__ = [
    "Checkerboard",
    "ContextPrediction",
    "EntropyParameters",
    "ExactNetwork",
    "FactorizedPrior",
    "FixedRate",
    "Gains",
    "HyperPrediction",
    "JointSlice",
    "LatentCoder",
    "MagnitudePrediction",
    "MixtureRounding",
    "Noise",
    "NormalizedRounding",
    "Parallel",
    "Raster",
    "Rounding",
    "SeparateSlice",
    "Steps",
    "UniversalQuantization",
]
