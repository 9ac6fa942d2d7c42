"""Optional packages and programs, loaded on first use; errors name the remedy."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import shutil
from types import ModuleType
from typing import NamedTuple


class MissingError(ValueError):
    """Raised if an optional package or program is missing. The message names the remedy."""


class Package(NamedTuple):
    """Optional Python package.

    Attributes:
        module: name for the import.
        name: name for pip.
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
        except Exception as error:  # Imports may raise any exception.
            raise self._broken(user, error) from error

    @property
    def version(self) -> str:
        """Name and version of the installed package."""
        return f"{self.name} {importlib.metadata.version(self.name)}"

    def _broken(self, user: str, error: Exception) -> MissingError:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        return MissingError(
            f"{user}: the package {self.name} cannot be imported ({reason}): "
            f"pip install --force-reinstall {self.name}"
        )


class Program(NamedTuple):
    """Program on the search path.

    Attributes:
        name: file name.
        remedy: how to install it.
    """

    name: str
    remedy: str

    def path(self, user: str) -> str:
        """Returns the path of the program.

        Raises:
            MissingError: the program is not on the search path.
        """
        path = shutil.which(self.name)
        if path is None:
            raise MissingError(f"{user} needs the program {self.name}: {self.remedy}")
        return path


HEIF = Package("pillow_heif", "pillow-heif")
JPEG_XL = Package("pillow_jxl", "pillow-jxl-plugin")
CVVDP = Package("pycvvdp", "cvvdp")
LIBJXL_TOOLS = "install libjxl's developer tools (Debian 13: apt install libjxl-devtools)"
SSIMULACRA2 = Program("ssimulacra2", LIBJXL_TOOLS)
BUTTERAUGLI = Program("butteraugli_main", LIBJXL_TOOLS)


def load_heif(user: str) -> None:
    """Registers HEIC with Pillow."""
    module = HEIF.load(user)
    if not module.libheif_info()["HEIF"]:
        raise MissingError(
            f"{user}: this {HEIF.name} has no HEVC encoder: "
            f"pip install --force-reinstall --only-binary :all: {HEIF.name}"
        )
    _register_heif()


def load_jpeg_xl(user: str) -> None:
    """Registers JPEG XL with Pillow, by importing its plugin."""
    JPEG_XL.load(user)


@functools.cache
def _register_heif() -> None:
    importlib.import_module(HEIF.module).register_heif_opener()


def heif_version() -> str:
    """Returns the versions of the HEVC encoder, libheif and the package."""
    info = importlib.import_module(HEIF.module).libheif_info()
    return f"{info['HEIF']}, libheif {info['libheif']}, {HEIF.version}"
