"""Selection of codecs and metrics by name. Missing ones are reported and skipped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfc_models import evaluation
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import check_model
from tfc_models.cli.output import Reporter, print_table
from tfc_models.evaluation.quality_metrics import ALWAYS, further_names, table_metric

if TYPE_CHECKING:
    from tfc_models.allocation import CodecSettings


class Selection:
    """Codecs and further metrics that are installed.

    Attributes:
        peers: standard codecs.
        metrics: metrics in addition to PSNR and MS-SSIM.
        skipped: titles of missing codecs and metrics, with the command that installs each.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.peers: list[evaluation.Peer] = []
        self.metrics: list[evaluation.QualityMetric] = []
        self.skipped: dict[str, str] = {}
        self._reporter = reporter

    def add_peers(self, names: str | None, avif_speed: int) -> None:
        """Adds standard codecs.

        Args:
            names: comma-separated names; None for all that are installed.
            avif_speed: speed of the AVIF encoder.
        """
        for name in evaluation.PEERS if names is None else peer_names(names):
            peer = evaluation.at_speed(evaluation.PEERS[name], avif_speed)
            try:
                peer.load()
            except evaluation.MissingError as error:
                self._skip(peer.title, error, is_requested=names is not None)
            else:
                self.peers.append(peer)

    def add_metrics(self, names: Iterable[str], options: argparse.Namespace) -> None:
        """Adds metrics by name, with the weights of --weights."""
        for name in names:
            if name in ALWAYS:
                continue
            try:
                self.metrics.append(evaluation.quality_metric(name, options.weights))
            except evaluation.MissingError as error:
                self._skip(table_metric(name).short, error, is_requested=True)
            except (OSError, ValueError) as error:
                raise CommandError(f"{table_metric(name).short}: {one_line(error)}") from error

    def _skip(self, title: str, error: Exception, is_requested: bool) -> None:
        """Reports a missing codec or metric. It is a failure if the user requested it by name."""
        self.skipped[title] = one_line(error)
        text = f"{one_line(error)}. It is skipped."
        (self._reporter.error if is_requested else self._reporter.warn)(text)


def peer_names(text: str) -> list[str]:
    """Parses names of standard codecs."""
    return _names(text, evaluation.PEERS, "codec")


def metric_names(text: str) -> list[str]:
    """Parses names of metrics."""
    return _names(text, (*ALWAYS, *further_names()), "metric")


def _names(text: str, known: Iterable[str], kind: str) -> list[str]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {kind} {name!r}; the {kind}s are: {', '.join(known)}.")
    return names


def candidate_settings(options: argparse.Namespace) -> CodecSettings:
    """Returns the codecs and qualities of `arguments.add_candidates` and --effort."""
    from tfc_models.allocation import CodecSettings

    names = dict.fromkeys(name.strip() for name in options.codecs.split(",") if name.strip())
    if not names:
        raise UsageError("--codecs names no codec.")
    for name in names:
        if name not in evaluation.PEERS:
            check_model(name)
    return CodecSettings(
        tuple(names), options.points, options.qualities, options.avif_speed, options.effort
    )


def print_settings(contenders: Sequence[evaluation.Contender]) -> None:
    """Prints the table of codec settings."""
    headings, *lines = evaluation.settings_table(contenders)
    print_table(dict.fromkeys(headings, "left"), lines, title="Settings")
