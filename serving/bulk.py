"""Compresses, decompresses or evaluates many files, on Apache Beam.

    python -m serving.bulk compress --input 'photos/**' --output packed/ --quality 40
    python -m serving.bulk compress --input photos/ --output packed/ --effort 5 --tune lpips
    python -m serving.bulk decompress --input packed/ --output back/ --realism 0.5
    python -m serving.bulk evaluate --input photos/ --output results/ \
        --direct_running_mode=multi_processing --direct_num_workers=2

--input is a folder or a pattern. Flags that are not ours are Beam's: with --runner and the
options of that runner the same pipeline goes to Flink, Spark or Dataflow, whose workers need
this package. Kill it at any time: the same command does what is left. OUTPUT/results.csv has
a line for each file that is done, OUTPUT/failed.csv one for each that could not be, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import apache_beam as beam
from absl import app, flags, logging
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from serving import bulk_work as work
from tfc_models.codec import DEFAULT_MAX_PIXELS
from tfc_models.pictures import parse_color

_INPUT = flags.DEFINE_string("input", None, "folder, or pattern with * and **", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "folder for what comes of it", required=True)
_MODEL = flags.DEFINE_string("model", "default", "name in the zoo, or path of a weights file")
_QUALITY = flags.DEFINE_integer("quality", None, "0 to 100, of a model of many rates", 0, 100)
_REALISM = flags.DEFINE_float("realism", None, "0 to 1, of a model with such a decoder", 0, 1)
_EFFORT = flags.DEFINE_integer(
    "effort", 0, "0 to 9: time that the encoder spends on a smaller file for each picture", 0, 9
)
_TUNE = flags.DEFINE_string(
    "tune", None, "metric that an effort above 0 searches by, as tfc-models compress --tune"
)
_BACKGROUND = flags.DEFINE_string("background", None, "colour behind transparent pictures")
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", DEFAULT_MAX_PIXELS, "larger ones fail", 1)


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


def run(command: str, beam_flags: list[str]) -> int:
    """Runs the pipeline; returns how many files failed."""
    options = PipelineOptions(beam_flags)
    known = options.get_all_options()
    for flag in beam_flags:
        name = flag.lstrip("-").partition("=")[0]
        if flag.startswith("-") and name.replace("no_", "", 1) not in known and name not in known:
            raise ValueError(f"{flag}: neither this command nor Beam has such a flag.")
    options.view_as(SetupOptions).save_main_session = False
    paths = work.found(_INPUT.value, command)
    if not paths:
        raise ValueError(f"{_INPUT.value}: no such files.")
    paths, unnamed = work.with_utf8_names(paths)
    base = work.base_of(_INPUT.value)
    output = _OUTPUT.value.rstrip("/")
    settings = _MODEL.value, _QUALITY.value, _MAX_PIXELS.value, _REALISM.value
    color = parse_color(_BACKGROUND.value) if _BACKGROUND.value else None
    search = {"effort": _EFFORT.value, "tune": _TUNE.value}
    job = work.Job(command, base, output, *settings, color, **search).without_clashes(paths)
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
    print(
        f"{counts.get('done', 0)} files done, {counts.get('done_before', 0)} done before, "
        f"{failed} failed; {counts.get('bytes_in', 0):,} bytes in, "
        f"{counts.get('bytes_out', 0):,} bytes out, {counts.get('pixels', 0):,} pixels"
    )
    print(f"{output}/results.csv" + (f", {output}/failed.csv" if failed else ""))
    return failed


def main(argv: list[str]) -> None:
    command, *rest = argv[1:] or ["nothing"]
    logging.set_verbosity(logging.WARNING)
    try:
        if command not in work.COMMANDS:
            raise ValueError(f"say one of {', '.join(work.COMMANDS)}; got {command}.")
        failed = run(command, rest)
    except (ValueError, OSError) as error:
        print(f"error: {work.one_line(error)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    # What is left over is Beam's.
    app.run(main, flags_parser=lambda argv: flags.FLAGS(argv, known_only=True))
