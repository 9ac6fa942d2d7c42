"""From what was asked for to a list of jobs, so that what cannot work stops before any work."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfc_models.cli.errors import CommandError, UsageError, one_line, printable
from tfc_models.cli.writing import STANDARD_STREAM, check_new, check_place
from tfc_models.file_names import UNREADABLE, renamed
from tfc_models.images import has_image_suffix, has_unreadable_suffix


class Job(NamedTuple):
    """One file to read and one to write; None is standard input or output.

    A job with an error is one that cannot be done, as is clear before it is begun. One that is
    done has an output, which stays.
    """

    source: pathlib.Path | None
    target: pathlib.Path | None
    error: str = ""
    is_done: bool = False

    @property
    def source_name(self) -> str:
        return _name(self.source)

    @property
    def target_name(self) -> str:
        return _name(self.target)


class Found(NamedTuple):
    """An input file and where it lies below the folder that was named."""

    path: pathlib.Path | None
    relative: pathlib.Path
    error: str = ""


def find_inputs(
    arguments: Iterable[str], wanted: Callable[[pathlib.Path], bool], kind: str
) -> list[Found]:
    """The files that the arguments name: files as they are, folders searched for what is wanted.

    Args:
        arguments: files, folders, or "-" for standard input.
        wanted: whether a file in a folder is taken, by its name.
        kind: what is searched for, for messages: "pictures".
    """
    found: list[Found] = []
    for argument in arguments:
        path = pathlib.Path(argument)
        if argument == STANDARD_STREAM:
            found.append(Found(None, pathlib.Path(STANDARD_STREAM)))
        elif not argument:
            # An unset shell variable, not the current folder.
            found.append(Found(path, path, "an empty name; the current folder is '.'."))
        elif path.is_dir():
            files = list(_search(path, wanted))
            if not files:
                files.append(Found(path, path, f"there are no {kind} in this folder."))
            found.extend(files)
        else:
            try:
                path.stat()
            except OSError as error:
                found.append(Found(path, path, one_line(error)))
            else:
                found.append(Found(path, pathlib.Path(path.name)))
    # The same file by two arguments is one job.
    unique = {_identity(file): file for file in reversed(found)}
    return list(reversed(unique.values()))


def plan(
    found: list[Found],
    output: str | None,
    many: bool,
    suffix: str,
    stripped: Callable[[pathlib.Path], bool],
    existing: str,
) -> list[Job]:
    """Where every input goes.

    Args:
        found: the inputs.
        output: the argument of `-o`: a file for one input, a folder for many, "-" for standard
            output; None puts outputs beside their inputs.
        many: whether outputs go into a folder even if only one input was found.
        suffix: of the outputs.
        stripped: whether an input's own suffix is replaced, rather than kept.
        existing: what happens to outputs that exist: "refuse", "replace" or "skip".

    Raises:
        UsageError: the request contradicts itself; nothing must be done.
    """
    folder = _output_folder(output, many)
    jobs = []
    for source, relative, error in found:
        is_done = False
        if error:
            jobs.append(Job(source, None, error))
            continue
        if output is None:
            target = None if source is None else renamed(source, suffix, stripped)
        elif folder is None:
            target = None if output == STANDARD_STREAM else pathlib.Path(output)
        elif source is None:
            raise UsageError("what comes from standard input needs a file with -o, not a folder.")
        else:
            target = folder / renamed(relative, suffix, stripped)
        if target is not None:
            is_done = existing == "skip" and os.path.isfile(target)
            may_exist = is_done or existing == "replace"
            error = _obstacle(source, target, may_exist, may_make_folder=folder is not None)
            if not error and not is_done:
                error = _closed(target)
        jobs.append(Job(source, target, error, is_done))
    return _without_collisions(jobs)


def _search(folder: pathlib.Path, wanted: Callable[[pathlib.Path], bool]) -> Iterable[Found]:
    problems: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if name.startswith("."):
                continue
            if wanted(path):
                yield Found(path, path.relative_to(folder))
            elif wanted is has_image_suffix and has_unreadable_suffix(path):
                yield Found(path, path.relative_to(folder), UNREADABLE)
    for problem in problems:
        unreadable = pathlib.Path(problem.filename)
        yield Found(unreadable, unreadable, one_line(problem))


def _identity(file: Found) -> object:
    return None if file.path is None else os.path.realpath(file.path)


def _output_folder(output: str | None, many: bool) -> pathlib.Path | None:
    if output is None:
        return None
    path = pathlib.Path(output)
    if not many:
        is_folder = path.is_dir() or output.endswith(os.sep)
        return path if is_folder and output != STANDARD_STREAM else None
    if output == STANDARD_STREAM:
        raise UsageError("many files do not fit into standard output: give a folder with -o.")
    if path.exists() and not path.is_dir():
        raise UsageError(f"with many inputs -o names a folder, and {output} is a file.")
    return path


def _obstacle(
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


def _closed(target: pathlib.Path) -> str:
    try:
        check_place(target)
    except (CommandError, OSError) as error:
        return one_line(error)
    return ""


def _without_collisions(jobs: list[Job]) -> list[Job]:
    """Jobs of one target fail: which of them should it hold?"""
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
