"""Client of a model server, over REST or gRPC.

    python -m serving.client compress photo.png --quality 40
    python -m serving.client compress photo.png --quality 40 --effort 3
    python -m serving.client decompress photo.tfcm --realism 0.5
    python -m serving.client decompress photo.tfcm --decoder fast
    python -m serving.client status

--server is HOST:PORT for gRPC, http://HOST:PORT for REST. Images may have any format that
`tfc-models compress` reads, and are rotated and converted to sRGB before sending. The Python class
`Client` sends files unchanged.
"""

from __future__ import annotations

import pathlib
import sys

from absl import flags

from tfc_models import images
from tfc_models.cli import absl_programs
from tfc_models.cli.errors import BACKGROUND, CommandError
from tfc_models.cli.output_files import check_new, write_file
from tfc_models.decoder_choice import DECODERS
from tfc_models.serving.client import DEFAULT_SERVER, Client, ServerError

_SERVER = flags.DEFINE_string("server", DEFAULT_SERVER, "http://HOST:PORT, or HOST:PORT for gRPC")
_MODEL = flags.DEFINE_string("model", "default", "name of the model on the server")
_QUALITY = flags.DEFINE_integer(
    "quality", None, "quality of a variable-rate model, 0 (smallest file) to 100 (best)", 0, 100
)
_EFFORT = flags.DEFINE_integer(
    "effort", 0, "encoder effort, 0 to 9, for a model exported with --max_effort", 0, 9
)
_REALISM = flags.DEFINE_float(
    "realism", None, "realism of a model with a realism decoder, 0 to 1", 0, 1
)
_DECODER = flags.DEFINE_enum(
    "decoder", "full", list(DECODERS), "decoder of a model that has a fast one, for decompress"
)
_OUTPUT = flags.DEFINE_string("output", None, "output file (default: next to the input)")
_FORCE = flags.DEFINE_bool("force", False, "overwrite existing files")
_BACKGROUND = flags.DEFINE_string("background", None, "background colour of transparent images")
_TIMEOUT = flags.DEFINE_float("timeout", 60.0, "timeout of a request in seconds", 0.001)


def run(command: str, files: list[str]) -> None:
    """Runs a command on files."""
    with Client(_SERVER.value, _MODEL.value, _TIMEOUT.value) as client:
        if command == "status" and not files:
            states = client.status()
            for version, state in states.items():
                print(f"version {version}: {state}")
            if "AVAILABLE" not in states.values():
                raise ValueError("no version is available.")
            return
        if command not in ("compress", "decompress") or not files:
            raise ValueError("the command must be compress FILE …, decompress FILE …, or status.")
        if _OUTPUT.value and len(files) > 1:
            raise ValueError("--output is for one input file only.")
        for name in files:
            path = pathlib.Path(name)
            suffix = ".tfcm" if command == "compress" else ".png"
            output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else path.with_suffix(suffix)
            check_new(output, _FORCE.value)
            data = path.read_bytes()
            if command == "compress":
                result = client.compress(_normalized(path, data), _QUALITY.value, _EFFORT.value)
            else:
                result = client.decompress(data, _REALISM.value, _DECODER.value)
            write_file(output, result, force=_FORCE.value)
            print(f"{path} ({len(data):,} bytes) → {output} ({len(result):,} bytes)")


def _normalized(path: pathlib.Path, data: bytes) -> bytes:
    """Converts an image file to the server's input format: upright, sRGB, PNG."""
    background = images.parse_color(_BACKGROUND.value) if _BACKGROUND.value else None
    try:
        image = images.read(data, background)
    except images.TransparencyError as error:
        raise ValueError(f"{path}: {error} {BACKGROUND}") from None
    except images.ImageError as error:
        raise ValueError(f"{path}: {error}") from None
    for note in image.notes:
        print(f"{path}: {note}", file=sys.stderr)
    return images.encode(image.coded, ".png")


def main(words: list[str]) -> None:
    """Runs the command in the arguments."""
    command, *files = words or ["help"]
    run(command, files)


if __name__ == "__main__":
    errors = (ServerError, CommandError, ValueError, OSError)
    absl_programs.run(main, words=True, errors=errors, report=absl_programs.print_error)
