"""Compresses, decompresses, evaluates or measures many files with Apache Beam.

    python -m serving.bulk compress --input 'photos/**' --output packed/ --quality 40
    python -m serving.bulk compress --input photos/ --output packed/ --effort 5 --tune lpips
    python -m serving.bulk decompress --input packed/ --output back/ --realism 0.5
    python -m serving.bulk evaluate --input photos/ --output results/ \
        --direct_running_mode=multi_processing --direct_num_workers=2
    python -m serving.bulk measure --input photos/ --output measured/ --codecs avif,jpegxl

--input is a folder or a pattern. Unknown flags are passed to Beam: --runner and the options of
that runner select Flink, Spark or Dataflow, whose workers need the package tfc-models. To resume a
killed run, give the same command again. OUTPUT/results.csv lists the processed files,
OUTPUT/failed.csv the failed files with reasons.
"""

from __future__ import annotations

import sys

from absl import flags, logging

from tfc_models.allocation import CodecSettings
from tfc_models.cli import absl_programs, arguments
from tfc_models.codec import DEFAULT_MAX_PIXELS
from tfc_models.decoder_choice import DECODERS
from tfc_models.evaluation.peers import AVIF_SPEED
from tfc_models.images import parse_color
from tfc_models.serving import bulk, bulk_work

_INPUT = flags.DEFINE_string("input", None, "input folder, or pattern with * and **", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "output folder", required=True)
_MODEL = flags.DEFINE_string("model", "default", "name in the zoo, or path of a weights file")
_QUALITY = flags.DEFINE_integer(
    "quality", None, "quality of a variable-rate model, 0 (smallest file) to 100 (best)", 0, 100
)
_REALISM = flags.DEFINE_float(
    "realism", None, "for decompress: 0 (lowest distortion) to 1 (most realistic)", 0, 1
)
_DECODER = flags.DEFINE_enum(
    "decoder", "full", list(DECODERS), "for decompress: the model's decoder, or a faster one"
)
_EFFORT = flags.DEFINE_integer(
    "effort", 0, "encoder effort, 0 (fastest) to 9 (smallest files)", 0, 9
)
_TUNE = flags.DEFINE_string(
    "tune", None, "metric that an effort above 0 optimizes, see tfc-models compress --tune"
)
_CODECS = flags.DEFINE_list("codecs", ["default"], "for measure: models and standard codecs")
_POINTS = flags.DEFINE_integer("points", 11, "for measure: qualities per codec", 2, 100)
_QUALITIES = flags.DEFINE_string(
    "qualities", None, "for measure: qualities and ranges such as 5,20-60, instead of --points"
)
_AVIF_SPEED = flags.DEFINE_integer(
    "avif_speed", AVIF_SPEED, "for measure: speed of the AVIF encoder, 0 (smallest) to 10", 0, 10
)
_METRICS = flags.DEFINE_list("metrics", [], "for measure: metrics in addition to MSE and PSNR")
_BACKGROUND = flags.DEFINE_string("background", None, "background colour of transparent images")
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", DEFAULT_MAX_PIXELS, "larger images fail", 1)


def run(words: list[str]) -> int:
    """Runs the pipeline. Returns the exit status."""
    command, *beam_flags = words or ["nothing"]
    effort = _EFFORT.value if command == "measure" else 0
    qualities = arguments.qualities(_QUALITIES.value) if _QUALITIES.value else ()
    settings = bulk.Settings(
        command,
        _INPUT.value,
        _OUTPUT.value,
        model=_MODEL.value,
        quality=_QUALITY.value,
        realism=_REALISM.value,
        decoder=_DECODER.value,
        effort=_EFFORT.value,
        tune=_TUNE.value,
        background=parse_color(_BACKGROUND.value) if _BACKGROUND.value else None,
        max_pixels=_MAX_PIXELS.value,
        codecs=CodecSettings(
            tuple(_CODECS.value), _POINTS.value, qualities, _AVIF_SPEED.value, effort
        ),
        metrics=tuple(_METRICS.value),
    )
    outcome = bulk.run(settings, beam_flags)
    print(outcome)
    return 1 if outcome.failed else 0


def print_error(error: Exception) -> None:
    """Prints an error in one line."""
    print(f"error: {bulk_work.one_line(error)}", file=sys.stderr)


if __name__ == "__main__":
    # Unknown flags are passed to Beam.
    absl_programs.run(
        run,
        words=True,
        beam=True,
        errors=(ValueError, OSError),
        report=print_error,
        verbosity=logging.WARNING,
        status=2,
    )
