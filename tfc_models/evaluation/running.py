"""Evaluation of every image with every contender at every setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfc_models.evaluation.contenders import Contender, Setting
from tfc_models.evaluation.journal import Journal, JournalError, image_hash
from tfc_models.evaluation.measuring import Figures, code, measure
from tfc_models.evaluation.results import MeasuredImage, Row


class Source(NamedTuple):
    """Image by name, read when needed: a folder may exceed the memory."""

    name: str
    read: Callable[[], np.ndarray]


class Step(NamedTuple):
    """One measurement to make."""

    source: Source
    contender: Contender
    setting: Setting


class Evaluation:
    """Evaluation in steps; an image that fails at one step is omitted from all results.

    Means of different codecs are comparable only over the same images. Further metrics are those of
    the journal.

    Attributes:
        steps: all steps, image by image.
        left_out: errors by name of the failed image.
        reused: number of measurements from the journal.
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
        """Measurements of the images that did not fail."""
        return [row for row in self._rows if row.image.name not in self.left_out]

    def run(self, steps: Iterable[Step]) -> Iterator[tuple[str, Exception]]:
        """Runs the steps, which are `self.steps`, possibly wrapped by a progress bar.

        Yields the name of an image and its error when it fails.
        """
        name = hashed = ""
        pixels = np.zeros((0, 0, 3), np.uint8)
        for source, contender, setting in steps:
            if source.name in self.left_out:
                continue
            try:
                if source.name != name:
                    pixels = source.read()
                    name, hashed = source.name, image_hash(pixels)
                figures = self._figures(pixels, hashed, setting)
            except JournalError:
                raise
            except Exception as error:  # Other images are still evaluated.
                self.left_out[source.name] = error
                yield source.name, error
                continue
            image = MeasuredImage(name, pixels.shape[1], pixels.shape[0])
            self._rows.append(Row(image, contender.name, contender.kind, setting.label, figures))

    def _figures(self, pixels: np.ndarray, hashed: str, setting: Setting) -> Figures:
        known = self._journal.find(hashed, setting.identity)
        if known is not None:
            self.reused += 1
            return known
        warm = setting.warms_up, pixels.shape
        if setting.warms_up and warm not in self._warm:
            # The first call builds graphs; the first call for a size prepares for that size.
            code(pixels, setting.encode, setting.decode)
            self._warm.add(warm)
        coded = code(pixels, setting.encode, setting.decode)
        figures = measure(pixels, coded, self._journal.metrics)
        self._journal.add(hashed, setting.identity, figures)
        return figures
