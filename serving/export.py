"""Exports a codec as a model version for a server.

    python -m serving.export --model default --base_path MODELS/default

BASE_PATH/VERSION/ appears atomically, including warm-up requests.
"""

from __future__ import annotations

import tensorflow as tf
from absl import flags, logging

from tfc_models.cli import absl_programs
from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE, load
from tfc_models.codec.tunable import tuned_metrics
from tfc_models.serving.exporting import export

_MODEL = flags.DEFINE_string("model", "default", "name in the zoo, or path of a weights file")
_BASE_PATH = flags.DEFINE_string("base_path", None, "folder of versions", required=True)
_VERSION = flags.DEFINE_integer(
    "version", None, "version number (default: one more than the latest)", lower_bound=1
)
_BFLOAT16 = flags.DEFINE_enum(
    "bfloat16",
    "off",
    ["off", "on", "auto"],
    "convolutions in bfloat16: off runs on any machine; on needs a processor with bfloat16; auto "
    "chooses for this machine",
)
_QUALITY = flags.DEFINE_integer(
    "quality", None, "quality of the signature compress of a variable-rate model", 0, 100
)
_MAX_EFFORT = flags.DEFINE_integer(
    "max_effort", 0, "maximum effort of compress_at_effort; 0: no such signature", 0, 9
)
_TUNE = flags.DEFINE_string(
    "tune", None, "metric that compress_at_effort optimizes, see tfc-models compress --tune"
)
_REALISM = flags.DEFINE_string(
    "realism_weights", None, "weights file of a realism decoder (default: the zoo's)"
)
_FAST = flags.DEFINE_string(
    "fast_weights", None, "weights file of a fast decoder (default: the zoo's)"
)
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", DEFAULT_MAX_PIXELS, "reject larger images", 1)
_MAX_SIDE = flags.DEFINE_integer("max_side", DEFAULT_MAX_SIDE, "reject images with longer sides", 1)


def export_model() -> None:
    """Exports the model of the flags."""
    if _TUNE.value is not None and not _MAX_EFFORT.value:
        raise ValueError("--tune has an effect with --max_effort 1 to 9 only.")
    tuned_metrics(_TUNE.value)
    codec = load(_MODEL.value, _REALISM.value, _FAST.value)
    codec.rate_setting(_QUALITY.value)  # Fails for a fixed-rate model, before any work.
    folder = export(
        codec,
        _BASE_PATH.value,
        _VERSION.value,
        bfloat16=_BFLOAT16.value,
        max_pixels=_MAX_PIXELS.value,
        max_side=_MAX_SIDE.value,
        quality=_QUALITY.value,
        max_effort=_MAX_EFFORT.value,
        tune=_TUNE.value,
    )
    print(folder)


if __name__ == "__main__":
    # At level ERROR TensorFlow does not list renamed inputs.
    errors = (ValueError, OSError, tf.errors.OpError)
    absl_programs.run(export_model, errors=errors, verbosity=logging.ERROR)
