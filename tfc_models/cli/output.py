"""What a command says: results on standard output only as JSON, all else on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from tfc_models.cli.errors import encodable, printable
from tfc_models.cli.searching import ExpectedTime

if TYPE_CHECKING:
    from rich.console import JustifyMethod

LONG_SECONDS = 5.0  # A search that takes longer is announced.


class Reporter:
    """Lines for people on standard error, with a progress bar where that is a terminal."""

    def __init__(self, command: str, quiet: bool = False) -> None:
        self._prefix = f"tfc-models {command}: "
        self._quiet = quiet
        self._bar: Any = None  # While it is shown, lines go above it.
        self.failures = 0

    def line(self, text: str) -> None:
        """A result or a note; `--quiet` drops it."""
        if not self._quiet:
            self._print(printable(text))

    def warn(self, text: str) -> None:
        """A remark that is always shown, and is no failure."""
        self._print(printable(self._prefix + text))

    def error(self, text: str) -> None:
        """A failure, which is counted and always shown."""
        self.failures += 1
        self.warn(text)

    @contextlib.contextmanager
    def progress(self, jobs: list[Any], verb: str) -> Iterator[Iterable[Any]]:
        """The jobs, one by one, while a bar shows how far they are."""
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
        """Shows how far the search for one image is.

        On a terminal by a bar; elsewhere by one line with the expected time, if that is long.

        Args:
            text: the image and its effort.
            remark: follows the time.
        """
        if self._quiet:
            yield None
        elif self._bar is None:
            yield self._announced(text, remark)
        else:
            task = self._bar.add_task(printable(text), total=None)
            try:
                yield lambda done, total: self._bar.update(task, completed=done, total=total)
            finally:
                self._bar.remove_task(task)

    def _announced(self, text: str, remark: str) -> Callable[[int, int], None]:
        expected, is_said = ExpectedTime(), False

        def progress(done: int, total: int) -> None:
            nonlocal is_said
            seconds = expected.seconds(done, total)
            if not is_said and seconds is not None and seconds > LONG_SECONDS:
                is_said = True
                self.line(f"{text}, about {seconds:.0f} s{remark}")

        return progress

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _progress_bar() -> Any | None:
    """None where standard error is not a terminal."""
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
    """One JSON document on standard output."""
    print(json.dumps(encodable(document), indent=2), flush=True)


def print_table(columns: Mapping[str, str], rows: Iterable[Iterable[str]], title: str = "") -> None:
    """A table on standard output; `columns` maps a heading to "left" or "right"."""
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
        # Whoever reads a pipe wants whole lines, however long.
        console = Console(width=max(console.width, 160))
    console.print(table)


def size_text(count: int) -> str:
    """A number of bytes for people: 1,234 B, 56.7 kB, 8.9 MB."""
    if count < 10_000:
        return f"{count:,} B"
    if count < 10_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"
