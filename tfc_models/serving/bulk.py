"""Apache Beam pipeline that compresses, decompresses, evaluates or measures many files.

--runner and the options of that runner select Flink, Spark or Dataflow, whose workers need this
package with its `beam` extra. A killed run resumes with the remaining files. OUTPUT/results.csv
lists the processed files, OUTPUT/failed.csv the failed files with reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from tfc_models.allocation import CodecSettings
from tfc_models.codec import DEFAULT_MAX_PIXELS
from tfc_models.serving import bulk_work as work
from tfc_models.serving.bulk_measure import MeasureJob


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a bulk job.

    Attributes:
        command: one of bulk_work.COMMANDS.
        input: input folder, or pattern with * and **.
        output: output folder.
        model: name in the zoo, or path of a weights file.
        quality: quality of a variable-rate model, 0 to 100.
        realism: realism of a model with a realism decoder, 0 to 1.
        decoder: decoder of decompress, full or fast.
        effort: encoder effort, 0 to 9.
        tune: metric that an effort above 0 optimizes.
        background: background colour of transparent images.
        max_pixels: larger images fail.
        codecs: codecs and qualities of measure, in place of `model`, `quality` and `effort`.
        metrics: metrics of measure in addition to MSE.
    """

    command: str
    input: str
    output: str
    model: str = "default"
    quality: int | None = None
    realism: float | None = None
    decoder: str = "full"
    effort: int = 0
    tune: str | None = None
    background: tuple[int, int, int] | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    codecs: CodecSettings = dataclasses.field(default_factory=CodecSettings)
    metrics: tuple[str, ...] = ()

    def job(self) -> work.Job:
        """Returns the job of each file."""
        shared = (
            self.command,
            work.base_folder(self.input),
            self.output.rstrip("/"),
            self.model,
            self.quality,
            self.max_pixels,
            self.realism,
            self.background,
            self.effort,
            self.tune,
            self.decoder,
        )
        if self.command == "measure":
            return MeasureJob(*shared, codecs=self.codecs, metrics=self.metrics)
        if self.metrics or self.codecs != CodecSettings():
            raise ValueError("--codecs, --points, --qualities and --metrics are for measure.")
        return work.Job(*shared)


class _ProcessFile(beam.DoFn):
    """Processes one file. Errors are tagged outputs."""

    def __init__(self, job: work.Job) -> None:
        self._job = job
        self._counters = {
            name: beam.metrics.Metrics.counter("bulk", name)
            for name in (*work.COUNTERS, "done", "done_before", "failed")
        }

    def setup(self) -> None:
        self._job.prepare()

    def process(self, path: str) -> Iterable[dict[str, Any] | beam.pvalue.TaggedOutput]:
        try:
            record = self._job.finished(path)
            if record is None:
                record = self._job.do(path)
                for name in work.COUNTERS:
                    self._counters[name].inc(int(record[name]))
                self._counters["done"].inc()
            else:
                self._counters["done_before"].inc()
            yield record
        except work.FILE_ERRORS as error:
            self._counters["failed"].inc()
            reason = work.one_line(error)
            yield beam.pvalue.TaggedOutput("failed", {"file": path, "reason": reason})


def pipeline(
    root: beam.Pipeline, paths: list[str], job: work.Job, invalid_names: list[dict[str, str]]
) -> None:
    """Builds the pipeline from paths to output files and the two tables.

    Args:
        root: empty pipeline.
        paths: input files.
        job: what to do with each file.
        invalid_names: failures of files whose names cannot be passed to workers.
    """
    results = (
        root
        | "Paths" >> beam.Create(paths)
        | "Spread" >> beam.Reshuffle()
        | "Do" >> beam.ParDo(_ProcessFile(job)).with_outputs("failed", main="done")
    )
    failed = (results.failed, root | "Names" >> beam.Create(invalid_names)) | beam.Flatten()
    for name, rows in (("results", results.done), ("failed", failed)):
        table = f"{job.output}/{name}.csv"
        (
            rows
            | f"Gather {name}" >> beam.combiners.ToList()
            | f"Write {name}" >> beam.Map(lambda rows, table=table: work.write_table(table, rows))
        )


class Outcome(NamedTuple):
    """Result of a pipeline: numbers of files, bytes and pixels, and the paths of its tables."""

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
        settings: settings of the job.
        beam_flags: flags of Apache Beam and its runner.

    Raises:
        ValueError: the settings are invalid; nothing was done.
    """
    command = settings.command
    if command not in work.COMMANDS:
        raise ValueError(f"the command must be one of {', '.join(work.COMMANDS)}; got {command}.")
    options = _beam_options(beam_flags)
    paths = work.find_files(settings.input, command)
    if not paths:
        raise ValueError(f"{settings.input}: no files found.")
    paths, invalid_names = work.split_utf8_names(paths)
    output = settings.output.rstrip("/")
    job = settings.job().with_output_conflicts(paths)
    job.check()
    FileSystems.exists(output) or FileSystems.mkdirs(output)
    root = beam.Pipeline(options=options)
    pipeline(root, paths, job, invalid_names)
    result = root.run()
    result.wait_until_finish()
    counts = {
        counter.key.metric.name: counter.committed if counter.committed is not None else 0
        for counter in result.metrics().query()["counters"]
        if counter.key.metric.namespace == "bulk"
    }
    failed = counts.get("failed", 0) + len(invalid_names)
    return Outcome(
        done=counts.get("done", 0),
        done_before=counts.get("done_before", 0),
        failed=failed,
        bytes_in=counts.get("bytes_in", 0),
        bytes_out=counts.get("bytes_out", 0),
        pixels=counts.get("pixels", 0),
        tables=(f"{output}/results.csv", *([f"{output}/failed.csv"] if failed else [])),
    )


def _beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Parses Beam's flags. Raises ValueError for an unknown flag."""
    options = PipelineOptions(list(flags))
    known = options.get_all_options()
    for flag in flags:
        name = flag.lstrip("-").partition("=")[0]
        if flag.startswith("-") and name.replace("no_", "", 1) not in known and name not in known:
            raise ValueError(f"{flag}: unknown flag, of neither this command nor Beam.")
    options.view_as(SetupOptions).save_main_session = False
    return options
