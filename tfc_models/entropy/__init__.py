"""How a latent becomes bits.

An entropy coder has three verbs that mean the same everywhere: `coder(y, training)` gives
the quantized (or perturbed) latents and their estimated bits, `coder.compress(y)` gives
strings, `coder.decompress(strings, shape)` gives the latents back, bit for bit. The last
two need `coder.freeze()`, the explicit step after training that builds coding tables.
"""

from tfc_models.entropy.autoregressive import AutoregressiveHyperprior, GainedAutoregressive
from tfc_models.entropy.channelwise import ChannelwiseHyperprior, GainedChannelwise, Slice
from tfc_models.entropy.checkerboard import CheckerboardHyperprior, GainedCheckerboard
from tfc_models.entropy.exact import ExactNetwork
from tfc_models.entropy.factorized import FactorizedPrior
from tfc_models.entropy.gained import GainedHyperprior
from tfc_models.entropy.hyperprior import MeanScaleHyperprior, ScaleHyperprior
from tfc_models.entropy.two import TwoNetworkHyperprior
from tfc_models.entropy.universal import GainedUniversal, UniversalHyperprior

__all__ = [
    "AutoregressiveHyperprior",
    "ChannelwiseHyperprior",
    "CheckerboardHyperprior",
    "ExactNetwork",
    "FactorizedPrior",
    "GainedAutoregressive",
    "GainedChannelwise",
    "GainedCheckerboard",
    "GainedHyperprior",
    "GainedUniversal",
    "MeanScaleHyperprior",
    "ScaleHyperprior",
    "Slice",
    "TwoNetworkHyperprior",
    "UniversalHyperprior",
]
