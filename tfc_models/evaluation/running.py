"""Every picture through every contender at every setting, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfc_models.evaluation.contenders import Contender, Setting
from tfc_models.evaluation.journal import Journal, JournalError, picture_hash
from tfc_models.evaluation.measuring import Figures, code, measure
from tfc_models.evaluation.results import Picture, Row


class Source(NamedTuple):
    """A picture by name, read when it is its turn: a folder may hold more than memory does."""

    name: str
    read: Callable[[], np.ndarray]


class Step(NamedTuple):
    """One measurement that is to be made."""

    source: Source
    contender: Contender
    setting: Setting


class Evaluation:
    """Measures step by step; a picture that fails at one step is left out as a whole.

    Means of different codecs compare only over the same pictures, so a picture that one of
    them cannot do is in none of the means. Further metrics are those of the journal.

    Attributes:
        steps: all there is to do, picture by picture.
        left_out: names of the pictures that failed, and their errors.
        reused: how many measurements came out of the journal.
    """

    def __init__(
        self, sources: Sequence[Source], contenders: Sequence[Contender], journal: Journal
    ) -> None:
        self.steps = [
            Step(source, contender, setting)
            for source in sources
            for contender in contenders
            for setting in contender.settings
        ]
        self.left_out: dict[str, Exception] = {}
        self.reused = 0
        self._rows: list[Row] = []
        self._journal = journal
        self._warm: set[tuple[str, tuple[int, ...]]] = set()

    @property
    def rows(self) -> list[Row]:
        """What was measured of the pictures that failed at nothing."""
        return [row for row in self._rows if row.picture.name not in self.left_out]

    def run(self, steps: Iterable[Step]) -> Iterator[tuple[str, Exception]]:
        """Does the steps, which are `self.steps` (perhaps under a progress bar).

        Yields a picture's name and what went wrong, at the time when it did.
        """
        name = hashed = ""
        pixels = np.zeros((0, 0, 3), np.uint8)
        for source, contender, setting in steps:
            if source.name in self.left_out:
                continue
            try:
                if source.name != name:
                    pixels = source.read()
                    name, hashed = source.name, picture_hash(pixels)
                figures = self._figures(pixels, hashed, setting)
            except JournalError:
                raise
            except Exception as error:  # Whatever it is, the other pictures go on.
                self.left_out[source.name] = error
                yield source.name, error
                continue
            picture = Picture(name, pixels.shape[1], pixels.shape[0])
            self._rows.append(Row(picture, contender.name, contender.kind, setting.label, figures))

    def _figures(self, pixels: np.ndarray, hashed: str, setting: Setting) -> Figures:
        known = self._journal.find(hashed, setting.identity)
        if known is not None:
            self.reused += 1
            return known
        warm = setting.warms_up, pixels.shape
        if setting.warms_up and warm not in self._warm:
            # The first call builds graphs, and the first of a size plans for it.
            code(pixels, setting.encode, setting.decode)
            self._warm.add(warm)
        coded = code(pixels, setting.encode, setting.decode)
        figures = measure(pixels, coded, self._journal.metrics)
        self._journal.add(hashed, setting.identity, figures)
        return figures
