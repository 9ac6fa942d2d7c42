"""Runs pytest as Bazel expects a test to run: the main program of every test in BUILD."""

import os
import sys
import tempfile

import pytest


def main() -> int:
    scratch = os.environ.get("TEST_TMPDIR", tempfile.gettempdir())
    # Hypothesis keeps the examples that it found, and the tree may be read-only.
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(scratch, "hypothesis"))
    arguments = [
        "--config-file=pyproject.toml",
        "--rootdir=.",
        "-p",
        "no:cacheprovider",
        f"--basetemp={os.path.join(scratch, 'pytest')}",
    ]
    if "XML_OUTPUT_FILE" in os.environ:
        arguments.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    chosen = os.environ.get("TESTBRIDGE_TEST_ONLY")
    if chosen:
        arguments += ["-k", chosen]
    code = pytest.main(arguments + sys.argv[1:])
    if chosen and code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return 0
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
