"""Errors of the commands, their exit codes, and their one-line messages."""

from __future__ import annotations

import os
from typing import Any

from tfc_models import BitstreamError
from tfc_models.codec.container import UnknownModelError
from tfc_models.images import ImageError, ImageTooLargeError, TransparencyError

FAILED = 1
"""Exit code: a file failed; the others were processed."""
USAGE = 2
"""Exit code: invalid arguments; nothing was done."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, the one that shells use."""

BACKGROUND = "For example --background white."
"""Advice for a transparent image."""


class CommandError(Exception):
    """Failure of one file or of the whole command."""

    exit_code = FAILED


class UsageError(CommandError):
    """Invalid arguments of a command."""

    exit_code = USAGE


class ModelError(CommandError):
    """Failure to load the model that all files need."""


def one_line(error: BaseException) -> str:
    """Describes an exception in one line, without its type if the message is from this package."""
    if isinstance(error, (CommandError, BitstreamError, ImageError)):
        return printable(str(error) + _remedy(error))
    if isinstance(error, MemoryError):
        return "there is not enough memory."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)}."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = printable(lines[0]) if lines else ""
    if isinstance(error, (OSError, ValueError)) and text:
        return text
    return f"unexpected {type(error).__name__}{': ' * bool(text)}{text}"


def _remedy(error: BaseException) -> str:
    """Returns the option that resolves an error of the library."""
    if isinstance(error, ImageTooLargeError):
        return f" --{error.limit.replace('_', '-')} raises it."
    if isinstance(error, TransparencyError):
        return f" {BACKGROUND}"
    return " Name that with -m." if isinstance(error, UnknownModelError) else ""


def encodable(value: Any) -> Any:
    r"""Makes the strings of a JSON value encodable: other bytes of file names become \xNN."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {encodable(key): encodable(one) for key, one in value.items()}
    return [encodable(one) for one in value] if isinstance(value, (list, tuple)) else value


def printable(text: str) -> str:
    """Escapes control characters, which file names may contain to manipulate a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
