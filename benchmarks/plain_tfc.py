"""bmshj2018-hyperprior out of tfc's own layers in float32: what ours is measured against.

The wiring is that of `tfc_models.models.bmshj2018`, (128, 192) and GDN with alpha = epsilon
= 1 as tfc has it, as a user of tfc would write it: SignalConv2D, GDN, two entropy models
with tables, and one tf.function each way. The layers have tfc's defaults (kernels are
parameterized by their Fourier transforms, but for the hyper-synthesis); folding them is part
of what freezing a model does here. Weights are random: its latents are small and code faster
than real ones.
"""

from __future__ import annotations

import functools

import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.hyperprior import SCALES, scale_of


def conv(filters, size, down=1, up=1, activation=None, kernel="rdft"):
    return tfc.SignalConv2D(
        filters,
        size,
        corr=up == 1,
        strides_down=down,
        strides_up=up,
        padding="same_zeros",
        use_bias=True,
        activation=activation,
        kernel_parameter=kernel,
    )


class PlainHyperprior(tf.Module):
    """Strings from pictures and back."""

    def __init__(self, channels: int = 128, latents: int = 192) -> None:
        super().__init__()
        gdn = tfc.GDN
        inverse = functools.partial(tfc.GDN, inverse=True)
        chain = tf.keras.Sequential
        self.analysis = chain(
            [
                conv(channels, 5, down=2, activation=gdn()),
                conv(channels, 5, down=2, activation=gdn()),
                conv(channels, 5, down=2, activation=gdn()),
                conv(latents, 5, down=2),
            ]
        )
        self.synthesis = chain(
            [
                conv(channels, 5, up=2, activation=inverse()),
                conv(channels, 5, up=2, activation=inverse()),
                conv(channels, 5, up=2, activation=inverse()),
                conv(3, 5, up=2),
            ]
        )
        self.hyper_analysis = chain(
            [
                conv(channels, 3, activation=tf.nn.relu),
                conv(channels, 5, down=2, activation=tf.nn.relu),
                conv(channels, 5, down=2),
            ]
        )
        self.hyper_synthesis = chain(
            [
                conv(channels, 5, up=2, activation=tf.nn.relu, kernel="variable"),
                conv(channels, 5, up=2, activation=tf.nn.relu, kernel="variable"),
                conv(latents, 3, kernel="variable"),
            ]
        )
        self.side = tfc.ContinuousBatchedEntropyModel(
            tfc.NoisyDeepFactorized(batch_shape=[channels]),
            coding_rank=3,
            compression=True,
            offset_heuristic=False,
        )
        self.main = tfc.LocationScaleIndexedEntropyModel(
            tfc.NoisyNormal, SCALES, scale_of, coding_rank=3, compression=True
        )

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def compress(self, picture):
        y = self.analysis(tf.cast(picture[None], tf.float32) / 255.0)
        z = self.hyper_analysis(tf.abs(y))
        indexes = self.hyper_synthesis(self.side.quantize(z)) + 20.0
        return self.main.compress(y, indexes), self.side.compress(z), tf.shape(z)[1:-1]

    @tf.function
    def decompress(self, y_string, z_string, shape):
        z = self.side.decompress(z_string, shape)
        indexes = self.hyper_synthesis(z) + 20.0
        x = self.synthesis(self.main.decompress(y_string, indexes))[0]
        return tf.saturate_cast(tf.round(x * 255.0), tf.uint8)
