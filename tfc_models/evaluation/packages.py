"""Optional packages and programs: loaded when needed, reported with a remedy when missing."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import shutil
from types import ModuleType
from typing import NamedTuple


class MissingError(ValueError):
    """An optional part is not there; the message is one line that names it and the remedy."""


class Package(NamedTuple):
    """A Python package that is not among the requirements.

    Attributes:
        module: what is imported.
        name: what pip installs.
    """

    module: str
    name: str

    def load(self, user: str) -> ModuleType:
        """Imports the module.

        Args:
            user: the codec or metric that needs it, for the message.

        Raises:
            MissingError: the package is missing or cannot be imported.
        """
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name not in (self.module, self.module.partition(".")[0]):
                raise self._broken(user, error) from error
            raise MissingError(
                f"{user} needs the package {self.name}: pip install {self.name}"
            ) from error
        except Exception as error:  # A package may fail with anything when it is imported.
            raise self._broken(user, error) from error

    @property
    def version(self) -> str:
        """Name and version of what is installed."""
        return f"{self.name} {importlib.metadata.version(self.name)}"

    def _broken(self, user: str, error: Exception) -> MissingError:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        return MissingError(
            f"{user}: the package {self.name} cannot be imported ({reason}): "
            f"pip install --force-reinstall {self.name}"
        )


class Program(NamedTuple):
    """A program on the search path.

    Attributes:
        name: of its file.
        remedy: how to install it.
    """

    name: str
    remedy: str

    def path(self, user: str) -> str:
        """Where the program is.

        Raises:
            MissingError: it is not on the search path.
        """
        found = shutil.which(self.name)
        if found is None:
            raise MissingError(f"{user} needs the program {self.name}: {self.remedy}")
        return found


HEIF = Package("pillow_heif", "pillow-heif")
JPEG_XL = Package("pillow_jxl", "pillow-jxl-plugin")
CVVDP = Package("pycvvdp", "cvvdp")
LIBJXL_TOOLS = "install libjxl's developer tools (Debian 13: apt install libjxl-devtools)"
SSIMULACRA2 = Program("ssimulacra2", LIBJXL_TOOLS)
BUTTERAUGLI = Program("butteraugli_main", LIBJXL_TOOLS)


def load_heif(user: str) -> None:
    """Makes Pillow read and write HEIC."""
    module = HEIF.load(user)
    if not module.libheif_info()["HEIF"]:
        raise MissingError(
            f"{user}: this {HEIF.name} has no HEVC encoder: "
            f"pip install --force-reinstall --only-binary :all: {HEIF.name}"
        )
    _register_heif()


def load_jpeg_xl(user: str) -> None:
    """Makes Pillow read and write JPEG XL; importing the plugin registers it."""
    JPEG_XL.load(user)


@functools.cache
def _register_heif() -> None:
    importlib.import_module(HEIF.module).register_heif_opener()


def heif_version() -> str:
    """The HEVC encoder, libheif and the package."""
    info = importlib.import_module(HEIF.module).libheif_info()
    return f"{info['HEIF']}, libheif {info['libheif']}, {HEIF.version}"
