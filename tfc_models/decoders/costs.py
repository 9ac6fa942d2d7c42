"""Cost of a synthesis of given widths: multiplications, or time estimated from measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfc_models.decoders.widths import Widths, multiplications, widths_of
from tfc_models.layers import level_weights
from tfc_models.models import CompressionModel

LATENTS = 32, 48  # height and width of the maps that are measured: 512×768 pixels
ROUNDS = 5

CostFunction = Callable[[Widths], float]


def layer_seconds(model: CompressionModel, rounds: int = ROUNDS) -> dict[str, float]:
    """Returns the median time of each layer of a model's synthesis, on this machine.

    Args:
        model: the model; its layers compute in the dtype of its synthesis.
        rounds: number of measurements of each layer.
    """
    height, width = LATENTS
    maps = tf.random.stateless_normal([1, height, width, model.latent_channels], [0, 0])
    maps = tf.cast(maps, model.synthesis_dtype)
    weights = level_weights(tf.constant([50.0]), model.levels) if model.many_rates else None
    seconds = {}
    for layer in model.synthesis.layers:
        arguments = (maps, weights) if layer.takes_rate else (maps,)
        compiled = tf.function(layer, autograph=False)
        maps = compiled(*arguments)
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            compiled(*arguments).numpy()
            times.append(time.perf_counter() - start)
        seconds[layer.name] = statistics.median(times)
    return seconds


def cost_function(
    model: CompressionModel, seconds: Mapping[str, float] | None = None
) -> CostFunction:
    """Returns a function of the widths of a model's synthesis that gives their cost.

    Args:
        model: the model.
        seconds: result of `layer_seconds`; the cost is then each layer's multiplications times its
            time per multiplication with all of its channels. None: multiplications per latent
            position.
    """
    synthesis, inputs = model.synthesis, model.latent_channels

    def counted(widths: Widths) -> dict[str, float]:
        return multiplications(synthesis, widths, inputs)

    if seconds is None:
        return lambda widths: sum(counted(widths).values())
    full = counted(widths_of(synthesis))
    each = {name: seconds[name] / count for name, count in full.items()}
    return lambda widths: sum(each[name] * n for name, n in counted(widths).items())


def cost_per_channel(cost_of: CostFunction, widths: Widths) -> dict[str, float]:
    """Returns by how much one channel less in each group reduces the cost of all widths.

    The result is a fraction of that cost. Groups without channels are left out.
    """
    total = cost_of(widths)
    fewer = {n: {**widths, n: width - 1} for n, width in widths.items() if width}
    return {name: 1.0 - cost_of(others) / total for name, others in fewer.items()}
