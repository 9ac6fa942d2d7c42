"""Messages, progress bars, tables and JSON of the commands.

Messages and progress go to standard error. Tables and JSON go to standard output.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from tfc_models.cli.errors import encodable, printable
from tfc_models.cli.search_options import ExpectedTime

if TYPE_CHECKING:
    from rich.console import JustifyMethod

LONG_SECONDS = 5.0  # A longer search prints its expected time.


class Reporter:
    """Prints messages to standard error, with a progress bar if that is a terminal."""

    def __init__(self, command: str, quiet: bool = False) -> None:
        self._prefix = f"tfc-models {command}: "
        self._quiet = quiet
        self._bar: Any = None  # While a bar is active, messages are printed above it.
        self.failures = 0

    def line(self, text: str) -> None:
        """Prints a result or a note. --quiet suppresses it."""
        if not self._quiet:
            self._print(printable(text))

    def warn(self, text: str) -> None:
        """Prints a warning, even with --quiet. It does not count as a failure."""
        self._print(printable(self._prefix + text))

    def error(self, text: str) -> None:
        """Prints an error, even with --quiet, and counts a failure."""
        self.failures += 1
        self.warn(text)

    @contextlib.contextmanager
    def progress(self, jobs: list[Any], verb: str) -> Iterator[Iterable[Any]]:
        """Yields the jobs and shows their progress in a bar."""
        progress = None if self._quiet else _progress_bar()
        if progress is None:
            yield jobs
            return
        with progress:
            self._bar = progress
            try:
                yield progress.track(jobs, description=verb)
            finally:
                self._bar = None

    @contextlib.contextmanager
    def search(self, text: str, remark: str = "") -> Iterator[Callable[[int, int], None] | None]:
        """Shows the progress of the encoder search for one image.

        A terminal shows a bar. Otherwise a long search prints one line with its expected time.

        Args:
            text: image and effort.
            remark: text after the expected time.
        """
        if self._quiet:
            yield None
        elif self._bar is None:
            yield self._time_announcer(text, remark)
        else:
            task = self._bar.add_task(printable(text), total=None)
            try:
                yield lambda done, total: self._bar.update(task, completed=done, total=total)
            finally:
                self._bar.remove_task(task)

    def _time_announcer(self, text: str, remark: str) -> Callable[[int, int], None]:
        expected, is_announced = ExpectedTime(), False

        def progress(done: int, total: int) -> None:
            nonlocal is_announced
            seconds = expected.seconds(done, total)
            if not is_announced and seconds is not None and seconds > LONG_SECONDS:
                is_announced = True
                self.line(f"{text}, about {seconds:.0f} s{remark}")

        return progress

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _progress_bar() -> Any | None:
    """Returns a progress bar, or None if standard error is not a terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def print_json(document: Any) -> None:
    """Prints a JSON document to standard output."""
    print(json.dumps(encodable(document), indent=2), flush=True)


def print_table(columns: Mapping[str, str], rows: Iterable[Iterable[str]], title: str = "") -> None:
    """Prints a table to standard output. `columns` maps headings to "left" or "right"."""
    import rich.box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=rich.box.SIMPLE_HEAD, title=title or None)
    for heading, justify in columns.items():
        table.add_column(heading, justify=cast("JustifyMethod", justify), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        # Programs that read a pipe need unwrapped lines.
        console = Console(width=max(console.width, 160))
    console.print(table)


def size_text(count: int) -> str:
    """Formats a number of bytes: 1,234 B, 56.7 kB, 8.9 MB."""
    if count < 10_000:
        return f"{count:,} B"
    if count < 10_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"
