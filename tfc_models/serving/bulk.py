"""Compresses, decompresses or evaluates many files, on Apache Beam.

With --runner and the options of that runner the same pipeline goes to Flink, Spark or Dataflow,
whose workers need this package with its `beam` extra. A killed run continues with the files that
are left. OUTPUT/results.csv has a line for each file that is done, OUTPUT/failed.csv one for each
that could not be, and why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from tfc_models.codec import DEFAULT_MAX_PIXELS
from tfc_models.serving import bulk_work as work


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a bulk job.

    Attributes:
        command: one of bulk_work.COMMANDS.
        input: folder, or pattern with * and **.
        output: folder for the results.
        model: name in the zoo, or path of a weights file.
        quality: 0 to 100, of a model of many rates.
        realism: 0 to 1, of a model with such a decoder.
        effort: 0 to 9, of the encoder.
        tune: metric that an effort above 0 searches by.
        background: colour behind transparent pictures.
        max_pixels: larger pictures fail.
    """

    command: str
    input: str
    output: str
    model: str = "default"
    quality: int | None = None
    realism: float | None = None
    effort: int = 0
    tune: str | None = None
    background: tuple[int, int, int] | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS


class _Do(beam.DoFn):
    """One file; what goes wrong with it is a result too."""

    def __init__(self, job: work.Job) -> None:
        self._job = job
        self._counters = {
            name: beam.metrics.Metrics.counter("bulk", name)
            for name in (*work.COUNTED, "done", "done_before", "failed")
        }

    def setup(self) -> None:
        self._job.load()

    def process(self, path: str) -> Iterable[dict]:
        try:
            record = self._job.finished(path)
            if record is None:
                record = self._job.do(path)
                for name in work.COUNTED:
                    self._counters[name].inc(int(record[name]))
                self._counters["done"].inc()
            else:
                self._counters["done_before"].inc()
            yield record
        except work.ANY_FILE as error:
            self._counters["failed"].inc()
            reason = work.one_line(error)
            yield beam.pvalue.TaggedOutput("failed", {"file": path, "reason": reason})


def pipeline(
    root: beam.Pipeline, paths: list[str], job: work.Job, unnamed: list[dict[str, str]]
) -> None:
    """From paths to files, and two tables; `unnamed` has failed before it is begun."""
    results = (
        root
        | "Paths" >> beam.Create(paths)
        | "Spread" >> beam.Reshuffle()
        | "Do" >> beam.ParDo(_Do(job)).with_outputs("failed", main="done")
    )
    unnamed = root | "Names" >> beam.Create(unnamed)
    failed = (results.failed, unnamed) | beam.Flatten()
    for name, rows in (("results", results.done), ("failed", failed)):
        table = f"{job.output}/{name}.csv"
        (
            rows
            | f"Gather {name}" >> beam.combiners.ToList()
            | f"Write {name}" >> beam.Map(lambda found, table=table: work.write_table(table, found))
        )


class Outcome(NamedTuple):
    """Result of a pipeline: numbers of files, bytes and pixels, and its tables."""

    done: int
    done_before: int
    failed: int
    bytes_in: int
    bytes_out: int
    pixels: int
    tables: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.done} files done, {self.done_before} done before, {self.failed} failed; "
            f"{self.bytes_in:,} bytes in, {self.bytes_out:,} bytes out, {self.pixels:,} pixels\n"
            f"{', '.join(self.tables)}"
        )


def run(settings: Settings, beam_flags: Sequence[str] = ()) -> Outcome:
    """Runs the pipeline.

    Args:
        settings: what is to be done.
        beam_flags: of Apache Beam and its runner.

    Raises:
        ValueError: nothing was done; the message says why.
    """
    command = settings.command
    if command not in work.COMMANDS:
        raise ValueError(f"say one of {', '.join(work.COMMANDS)}; got {command}.")
    options = _beam_options(beam_flags)
    paths = work.found(settings.input, command)
    if not paths:
        raise ValueError(f"{settings.input}: no such files.")
    paths, unnamed = work.with_utf8_names(paths)
    output = settings.output.rstrip("/")
    job = work.Job(
        command,
        work.base_of(settings.input),
        output,
        settings.model,
        settings.quality,
        settings.max_pixels,
        settings.realism,
        settings.background,
        effort=settings.effort,
        tune=settings.tune,
    ).without_clashes(paths)
    job.check()
    FileSystems.exists(output) or FileSystems.mkdirs(output)
    root = beam.Pipeline(options=options)
    pipeline(root, paths, job, unnamed)
    result = root.run()
    result.wait_until_finish()
    counts = {
        counter.key.metric.name: counter.committed if counter.committed is not None else 0
        for counter in result.metrics().query()["counters"]
        if counter.key.metric.namespace == "bulk"
    }
    failed = counts.get("failed", 0) + len(unnamed)
    return Outcome(
        counts.get("done", 0),
        counts.get("done_before", 0),
        failed,
        *(counts.get(name, 0) for name in work.COUNTED),
        (f"{output}/results.csv", *([f"{output}/failed.csv"] if failed else [])),
    )


def _beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Returns Beam's options of some flags, all of which are known."""
    options = PipelineOptions(list(flags))
    known = options.get_all_options()
    for flag in flags:
        name = flag.lstrip("-").partition("=")[0]
        if flag.startswith("-") and name.replace("no_", "", 1) not in known and name not in known:
            raise ValueError(f"{flag}: neither this command nor Beam has such a flag.")
    options.view_as(SetupOptions).save_main_session = False
    return options
