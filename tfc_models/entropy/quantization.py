"""How training stands in for rounding."""

from __future__ import annotations

import tensorflow as tf

MODES = ("noise", "round", "mixed")
"""What a coder does to a latent while it trains:

- `noise`: uniform noise in place of rounding, for the rate and for what follows
  (Ballé et al. 2017);
- `round`: rounding with a straight-through gradient, for both;
- `mixed`: noise for the rate, straight-through rounding for what follows
  (Minnen & Singh 2020).
"""


def checked_mode(mode: str) -> str:
    """The mode, or an error that lists the modes."""
    if mode not in MODES:
        raise ValueError(f"quantization is one of {', '.join(MODES)}; got {mode!r}.")
    return mode


class Noise(tf.Module):
    """Uniform random numbers whose state is a variable.

    A checkpoint holds it, so that training goes on with the noise that it would have had,
    and a step that is compiled for another framework takes it along; the numbers are the
    same there. The first state comes from TensorFlow's global seed.
    """

    def __init__(self) -> None:
        super().__init__(name="noise")
        seed = tf.random.uniform([], 0, 2**31 - 1, tf.int32)
        self.generator = tf.random.Generator.from_seed(seed, alg="philox")

    def __call__(self, shape: tf.Tensor, low: float = -0.5, high: float = 0.5) -> tf.Tensor:
        """Draws float32 numbers between `low` and `high`."""
        # Under XLA the generator gives the same bits, but other floats made of them.
        bits = self.generator.uniform_full_int(shape, tf.int32)
        return 0.5 * (low + high) + (high - low) * 2.0**-32 * tf.cast(bits, tf.float32)
