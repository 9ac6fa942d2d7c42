"""Codecs and metrics by name; those that are not installed are reported and skipped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from tfc_models import evaluation
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.output import Reporter, print_table
from tfc_models.evaluation.quality_metrics import ALWAYS, drawn, further_names


class Chosen:
    """Codecs and further metrics that are ready.

    Attributes:
        peers: standard codecs.
        metrics: metrics beside PSNR and MS-SSIM.
        skipped: codecs and metrics that are missing, by title, with the remedies.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.peers: list[evaluation.Peer] = []
        self.metrics: list[evaluation.QualityMetric] = []
        self.skipped: dict[str, str] = {}
        self._reporter = reporter

    def add_peers(self, names: str | None, avif_speed: int) -> None:
        """Adds standard codecs.

        Args:
            names: with commas; None for all that are installed.
            avif_speed: of AVIF.
        """
        for name in evaluation.PEERS if names is None else peer_names(names):
            peer = evaluation.at_speed(evaluation.PEERS[name], avif_speed)
            try:
                peer.load()
            except evaluation.MissingError as error:
                self._skip(peer.title, error, was_asked=names is not None)
            else:
                self.peers.append(peer)

    def add_metrics(self, names: Iterable[str], options: argparse.Namespace) -> None:
        """Adds metrics by name, with the weights of the options."""
        for name in names:
            if name in ALWAYS:
                continue
            try:
                self.metrics.append(evaluation.quality_metric(name, options.weights))
            except evaluation.MissingError as error:
                self._skip(drawn(name).short, error, was_asked=True)
            except (OSError, ValueError) as error:
                raise CommandError(f"{drawn(name).short}: {one_line(error)}") from error

    def _skip(self, title: str, error: Exception, was_asked: bool) -> None:
        """A codec or metric that was asked for by name counts as a failure."""
        self.skipped[title] = one_line(error)
        text = f"{one_line(error)}. It is skipped."
        (self._reporter.error if was_asked else self._reporter.warn)(text)


def peer_names(text: str) -> list[str]:
    """Names of standard codecs, checked."""
    return _names(text, evaluation.PEERS, "codec")


def metric_names(text: str) -> list[str]:
    """Names of metrics, checked."""
    return _names(text, (*ALWAYS, *further_names()), "metric")


def _names(text: str, known: Iterable[str], kind: str) -> list[str]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {kind} {name!r}; the {kind}s are: {', '.join(known)}.")
    return names


def print_settings(contenders: Sequence[evaluation.Contender]) -> None:
    """The table of the codecs' settings."""
    headings, *lines = evaluation.settings_table(contenders)
    print_table(dict.fromkeys(headings, "left"), lines, title="Settings")
