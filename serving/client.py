"""Talks to a server, by REST or gRPC.

    python -m serving.client compress photo.png --quality 40
    python -m serving.client compress photo.png --quality 40 --effort 3
    python -m serving.client decompress photo.tfcm --realism 0.5
    python -m serving.client status

--server is HOST:PORT for gRPC, http://HOST:PORT for REST. Pictures may be of any kind that
`tfc-models compress` takes, and are turned and converted as there; the Python client sends a file
as it is.
"""

from __future__ import annotations

import pathlib
import sys

from absl import flags

from tfc_models import images
from tfc_models.cli import absl_programs
from tfc_models.cli.errors import BACKGROUND, CommandError
from tfc_models.cli.writing import check_new, write_file
from tfc_models.serving.client import DEFAULT_SERVER, Client, ServerError

_SERVER = flags.DEFINE_string("server", DEFAULT_SERVER, "http://HOST:PORT, or HOST:PORT for gRPC")
_MODEL = flags.DEFINE_string("model", "default", "name of the model on the server")
_QUALITY = flags.DEFINE_integer("quality", None, "0 to 100, of a model of many rates", 0, 100)
_EFFORT = flags.DEFINE_integer(
    "effort", 0, "0 to 9, beside --quality, of a model exported with efforts", 0, 9
)
_REALISM = flags.DEFINE_float("realism", None, "0 to 1, of a model with such a decoder", 0, 1)
_OUTPUT = flags.DEFINE_string("output", None, "file to write; by default beside the input")
_FORCE = flags.DEFINE_bool("force", False, "write over files that exist")
_BACKGROUND = flags.DEFINE_string("background", None, "colour behind a transparent picture")
_TIMEOUT = flags.DEFINE_float("timeout", 60.0, "seconds to wait", 0.001)


def run(command: str, files: list[str]) -> None:
    """Runs the command."""
    with Client(_SERVER.value, _MODEL.value, _TIMEOUT.value) as client:
        if command == "status" and not files:
            states = client.status()
            for version, state in states.items():
                print(f"version {version}: {state}")
            if "AVAILABLE" not in states.values():
                raise ValueError("no version is available.")
            return
        if command not in ("compress", "decompress") or not files:
            raise ValueError("say compress FILE …, decompress FILE …, or status.")
        if _OUTPUT.value and len(files) > 1:
            raise ValueError("--output is for one file.")
        for name in files:
            path = pathlib.Path(name)
            suffix = ".tfcm" if command == "compress" else ".png"
            output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else path.with_suffix(suffix)
            check_new(output, _FORCE.value)
            data = path.read_bytes()
            if command == "compress":
                result = client.compress(_upright(path, data), _QUALITY.value, _EFFORT.value)
            else:
                result = client.decompress(data, _REALISM.value)
            write_file(output, result, force=_FORCE.value)
            print(f"{path} ({len(data):,} bytes) → {output} ({len(result):,} bytes)")


def _upright(path: pathlib.Path, data: bytes) -> bytes:
    """A picture file as the server's graph reads pictures: turned by EXIF, in sRGB, PNG."""
    background = images.parse_color(_BACKGROUND.value) if _BACKGROUND.value else None
    try:
        picture = images.read(data, background)
    except images.TransparencyError as error:
        raise ValueError(f"{path}: {error} {BACKGROUND}") from None
    except images.ImageError as error:
        raise ValueError(f"{path}: {error}") from None
    for note in picture.notes:
        print(f"{path}: {note}", file=sys.stderr)
    return images.encode(picture.coded, ".png")


def main(words: list[str]) -> None:
    """Runs the command of the arguments."""
    command, *files = words or ["help"]
    run(command, files)


if __name__ == "__main__":
    errors = (ServerError, CommandError, ValueError, OSError)
    absl_programs.run(main, words=True, errors=errors, report=absl_programs.print_error)
