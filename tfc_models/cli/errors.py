"""What can go wrong in a command, and the one line that is printed for it."""

from __future__ import annotations

import os
from typing import Any

from tfc_models import BitstreamError
from tfc_models.codec.container import UnknownModelError
from tfc_models.images import ImageError, ImageTooLargeError, TransparencyError

FAILED = 1
"""Exit code: a file could not be done; the others were."""
USAGE = 2
"""Exit code: the command makes no sense as it stands; nothing was done."""
INTERRUPTED = 130
"""Exit code: Ctrl-C, as shells have it."""

BACKGROUND = "For example --background white."
"""Remedy for a transparent picture."""


class CommandError(Exception):
    """A file cannot be done, or the whole command cannot."""

    exit_code = FAILED


class UsageError(CommandError):
    """The command makes no sense as it stands."""

    exit_code = USAGE


class ModelError(CommandError):
    """The model that all files need cannot be had."""


def one_line(error: BaseException) -> str:
    """What an exception says, for a person: one line, no type where we wrote the message."""
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
    """The option of this command that helps with an error of the library."""
    if isinstance(error, ImageTooLargeError):
        return f" --{error.limit.replace('_', '-')} raises it."
    if isinstance(error, TransparencyError):
        return f" {BACKGROUND}"
    return " Name that with -m." if isinstance(error, UnknownModelError) else ""


def encodable(value: Any) -> Any:
    """A JSON value whose strings can be encoded: other bytes of file names become \\xNN."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {encodable(key): encodable(one) for key, one in value.items()}
    return [encodable(one) for one in value] if isinstance(value, (list, tuple)) else value


def printable(text: str) -> str:
    """The text without control characters: file names may hold some, to fool a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
