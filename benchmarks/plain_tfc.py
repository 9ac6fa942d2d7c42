"""Models of tfc's layers in float32, to which ours are compared.

bmshj2018-hyperprior to code, mbt2018-mean to train. The wiring is that of `tfc_models.models`,
(128, 192) and GDN with alpha = epsilon = 1 as tfc has it, as a user of tfc would write it:
SignalConv2D, GDN, entropy models, and one tf.function each way. The layers have tfc's defaults
(kernels are parameterized by their Fourier transforms, but for the hyper-synthesis); folding
them is part of what freezing a model does here. Weights are random: the latents are small and
code faster than real ones.
"""

from __future__ import annotations

import functools

import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.parameters import SCALES, scale_of


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


def transforms(channels: int, latents: int) -> tuple[tf.keras.Sequential, tf.keras.Sequential]:
    """Returns analysis and synthesis."""
    gdn, inverse = tfc.GDN, functools.partial(tfc.GDN, inverse=True)
    down = [conv(channels, 5, down=2, activation=gdn()) for _ in range(3)]
    up = [conv(channels, 5, up=2, activation=inverse()) for _ in range(3)]
    return (
        tf.keras.Sequential([*down, conv(latents, 5, down=2)]),
        tf.keras.Sequential([*up, conv(3, 5, up=2)]),
    )


class PlainHyperprior(tf.Module):
    """bmshj2018-hyperprior, for compression and decompression."""

    def __init__(self, channels: int = 128, latents: int = 192) -> None:
        super().__init__()
        chain = tf.keras.Sequential
        self.analysis, self.synthesis = transforms(channels, latents)
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
    def compress(self, image):
        y = self.analysis(tf.cast(image[None], tf.float32) / 255.0)
        z = self.hyper_analysis(tf.abs(y))
        indexes = self.hyper_synthesis(self.side.quantize(z)) + 20.0
        return self.main.compress(y, indexes), self.side.compress(z), tf.shape(z)[1:-1]

    @tf.function
    def decompress(self, y_string, z_string, shape):
        z = self.side.decompress(z_string, shape)
        indexes = self.hyper_synthesis(z) + 20.0
        x = self.synthesis(self.main.decompress(y_string, indexes))[0]
        return tf.saturate_cast(tf.round(x * 255.0), tf.uint8)


class PlainMeanScale(tf.keras.Model):
    """mbt2018-mean, for training steps."""

    def __init__(self, channels: int = 128, latents: int = 192, lmbda: float = 0.01) -> None:
        super().__init__()
        self.lmbda = lmbda
        self.analysis, self.synthesis = transforms(channels, latents)
        chain, act = tf.keras.Sequential, tf.nn.leaky_relu
        self.hyper_analysis = chain(
            [
                conv(channels, 3, activation=act),
                conv(channels, 5, down=2, activation=act),
                conv(channels, 5, down=2),
            ]
        )
        self.hyper_synthesis = chain(
            [
                conv(latents, 5, up=2, activation=act, kernel="variable"),
                conv(latents * 3 // 2, 5, up=2, activation=act, kernel="variable"),
                conv(2 * latents, 3, kernel="variable"),
            ]
        )
        self.side_prior = tfc.NoisyDeepFactorized(batch_shape=[channels])
        self.side = tfc.ContinuousBatchedEntropyModel(
            self.side_prior, coding_rank=3, compression=False
        )
        self.main = tfc.LocationScaleIndexedEntropyModel(
            tfc.NoisyNormal, SCALES, scale_of, coding_rank=3, compression=False
        )
        self.adam = tf.keras.optimizers.Adam(1e-4)

    @tf.function
    def step(self, batch):
        with tf.GradientTape() as tape:
            y = self.analysis(tf.cast(batch, tf.float32) / 255.0)
            z_hat, z_bits = self.side(self.hyper_analysis(y), training=True)
            index, mean = tf.split(self.hyper_synthesis(z_hat), 2, axis=-1)
            y_hat, y_bits = self.main(y, index + 20.0, mean, training=True)
            x_hat = self.synthesis(y_hat) * 255.0
            mse = tf.reduce_mean(tf.square(x_hat - tf.cast(batch, tf.float32)))
            bpp = tf.reduce_mean(y_bits + z_bits) / (batch.shape[1] * batch.shape[2])
            loss = bpp + self.lmbda * mse
        self.adam.minimize(loss, self.trainable_variables, tape=tape)
        return loss
