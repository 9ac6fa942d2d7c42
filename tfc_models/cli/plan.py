"""Planning of jobs: finds inputs, chooses outputs, and detects errors before any work starts."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfc_models.cli.errors import CommandError, UsageError, one_line, printable
from tfc_models.cli.output_files import STANDARD_STREAM, check_new, check_writable
from tfc_models.file_names import UNREADABLE, renamed
from tfc_models.images import has_image_suffix, has_unreadable_suffix


class Job(NamedTuple):
    """One input and one output file.

    Attributes:
        source: input file; None for standard input.
        target: output file; None for standard output.
        error: reason why the job cannot run, known before it starts; empty if there is none.
        is_done: whether the output exists and is kept.
    """

    source: pathlib.Path | None
    target: pathlib.Path | None
    error: str = ""
    is_done: bool = False

    @property
    def source_name(self) -> str:
        """Name of the input in messages."""
        return _name(self.source)

    @property
    def target_name(self) -> str:
        """Name of the output in messages."""
        return _name(self.target)


class InputFile(NamedTuple):
    """An input file.

    Attributes:
        path: the file; None for standard input.
        relative: path relative to the folder that the user named.
        error: reason why the file cannot be read; empty if there is none.
    """

    path: pathlib.Path | None
    relative: pathlib.Path
    error: str = ""


def find_inputs(
    arguments: Iterable[str], accepts: Callable[[pathlib.Path], bool], kind: str
) -> list[InputFile]:
    """Returns the named files and the accepted files of the named folders.

    Args:
        arguments: files, folders, or "-" for standard input.
        accepts: whether to take a file in a folder, by its name.
        kind: kind of the inputs, for messages, such as "images".
    """
    inputs: list[InputFile] = []
    for argument in arguments:
        path = pathlib.Path(argument)
        if argument == STANDARD_STREAM:
            inputs.append(InputFile(None, pathlib.Path(STANDARD_STREAM)))
        elif not argument:
            # Probably an unset shell variable; pathlib would read it as the current folder.
            inputs.append(InputFile(path, path, "an empty name; the current folder is '.'."))
        elif path.is_dir():
            files = list(_search(path, accepts))
            if not files:
                files.append(InputFile(path, path, f"there are no {kind} in this folder."))
            inputs.extend(files)
        else:
            try:
                path.stat()
            except OSError as error:
                inputs.append(InputFile(path, path, one_line(error)))
            else:
                inputs.append(InputFile(path, pathlib.Path(path.name)))
    # A file that is named twice is one job.
    unique = {_identity(file): file for file in reversed(inputs)}
    return list(reversed(unique.values()))


def plan(
    inputs: list[InputFile],
    output: str | None,
    many: bool,
    suffix: str,
    stripped: Callable[[pathlib.Path], bool],
    existing: str,
) -> list[Job]:
    """Assigns an output to each input.

    Args:
        inputs: input files.
        output: argument of -o: a file for one input, a folder for several, "-" for standard
            output; None writes outputs next to their inputs.
        many: whether -o names a folder even if there is only one input.
        suffix: suffix of the outputs.
        stripped: whether the suffix of an input is replaced rather than kept.
        existing: what happens to existing outputs: "refuse", "replace" or "skip".

    Raises:
        UsageError: the arguments contradict each other.
    """
    folder = _output_folder(output, many)
    jobs = []
    for source, relative, error in inputs:
        is_done = False
        if error:
            jobs.append(Job(source, None, error))
            continue
        if output is None:
            target = None if source is None else renamed(source, suffix, stripped)
        elif folder is None:
            target = None if output == STANDARD_STREAM else pathlib.Path(output)
        elif source is None:
            raise UsageError("with standard input, -o must name a file, not a folder.")
        else:
            target = folder / renamed(relative, suffix, stripped)
        if target is not None:
            is_done = existing == "skip" and os.path.isfile(target)
            may_exist = is_done or existing == "replace"
            error = _target_error(source, target, may_exist, may_make_folder=folder is not None)
            if not error and not is_done:
                error = _permission_error(target)
        jobs.append(Job(source, target, error, is_done))
    return _without_collisions(jobs)


def _search(folder: pathlib.Path, accepts: Callable[[pathlib.Path], bool]) -> Iterable[InputFile]:
    problems: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if name.startswith("."):
                continue
            if accepts(path):
                yield InputFile(path, path.relative_to(folder))
            elif accepts is has_image_suffix and has_unreadable_suffix(path):
                yield InputFile(path, path.relative_to(folder), UNREADABLE)
    for problem in problems:
        unreadable = pathlib.Path(problem.filename)
        yield InputFile(unreadable, unreadable, one_line(problem))


def _identity(file: InputFile) -> object:
    return None if file.path is None else os.path.realpath(file.path)


def _output_folder(output: str | None, many: bool) -> pathlib.Path | None:
    if output is None:
        return None
    path = pathlib.Path(output)
    if not many:
        is_folder = path.is_dir() or output.endswith(os.sep)
        return path if is_folder and output != STANDARD_STREAM else None
    if output == STANDARD_STREAM:
        raise UsageError("standard output takes one file only: give a folder with -o.")
    if path.exists() and not path.is_dir():
        raise UsageError(f"with several inputs, -o must name a folder; {output} is a file.")
    return path


def _target_error(
    source: pathlib.Path | None, target: pathlib.Path, force: bool, may_make_folder: bool
) -> str:
    try:
        if source is not None and target.exists() and source.samefile(target):
            return "input and output are the same file."
        if not target.parent.is_dir() and not may_make_folder:
            return f"there is no folder {target.parent} to write to."
        check_new(target, force)
    except (CommandError, OSError) as error:
        return one_line(error)
    return ""


def _permission_error(target: pathlib.Path) -> str:
    try:
        check_writable(target)
    except (CommandError, OSError) as error:
        return one_line(error)
    return ""


def _without_collisions(jobs: list[Job]) -> list[Job]:
    """Marks all jobs that share an output as failed."""
    by_target: dict[str, list[Job]] = {}
    for job in jobs:
        if job.target is not None:
            by_target.setdefault(os.path.realpath(job.target), []).append(job)

    def checked(job: Job) -> Job:
        same = [job] if job.target is None else by_target[os.path.realpath(job.target)]
        if len(same) == 1:
            return job
        other = next(j for j in same if j is not job)
        target = printable(job.target_name)
        return job._replace(error=f"{other.source_name} would be written to {target} as well.")

    return [checked(job) for job in jobs]


def _name(path: pathlib.Path | None) -> str:
    return STANDARD_STREAM if path is None else str(path)
