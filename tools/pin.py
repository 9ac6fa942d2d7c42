"""Writes constraints.txt: the exact version of everything that setup.py asks for.

    python tools/pin.py python3.9 python3.10 python3.11

Each interpreter resolves the package with all of its extras, as one environment, against
the package index that pip is set up for. Nothing is installed. Where the interpreters
disagree, as new releases drop old Pythons, a pin carries a marker.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "dev,peers,train,video,serving,beam,notebooks"
HEADER = """\
# Exact versions of the package and all of its extras, on Linux, for Python {pythons}.
# Written by tools/pin.py; change setup.py and run it again rather than edit a line here.
"""


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """Returns an interpreter's minor version and the releases that pip picks under it."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([python, "-m", "venv", scratch], check=True)
        venv_python = str(Path(scratch, "bin", "python"))
        pip = [venv_python, "-m", "pip", "--quiet", "install"]
        # The releases of pip that come with old Pythons resolve differently.
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        report = Path(scratch, "report.json")
        options = ["--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([*pip, *options, "pip", f"{ROOT}[{EXTRAS}]"], check=True)
        resolution = json.loads(report.read_text(encoding="utf-8"))
    releases = {}
    for item in resolution["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        releases[name] = item["metadata"]["version"]
    del releases["tfc-models"]
    return resolution["environment"]["python_version"], releases


def marker(pythons: list[str], everywhere: list[str]) -> str:
    """Returns the environment marker that picks `pythons` out of `everywhere`, both sorted."""
    if pythons == everywhere:
        return ""
    if len(pythons) == 1:
        return f' ; python_version == "{pythons[0]}"'
    if pythons == everywhere[: len(pythons)]:
        return f' ; python_version <= "{pythons[-1]}"'
    if pythons == everywhere[-len(pythons) :]:
        return f' ; python_version >= "{pythons[0]}"'
    terms = " or ".join(f'python_version == "{python}"' for python in pythons)
    return f" ; {terms}"


def pins(resolutions: dict[str, dict[str, str]]) -> list[str]:
    """Returns one line a release, given the releases under each Python."""
    everywhere = sorted(resolutions, key=lambda version: int(version.split(".")[1]))
    lines = []
    for name in sorted({name for releases in resolutions.values() for name in releases}):
        users: dict[str, list[str]] = {}
        for python in everywhere:
            if name in resolutions[python]:
                users.setdefault(resolutions[python][name], []).append(python)
        lines += [f"{name}=={release}{marker(who, everywhere)}" for release, who in users.items()]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", nargs="*", default=[sys.executable])
    resolutions = dict(resolve(python) for python in parser.parse_args().python)
    header = HEADER.format(pythons=", ".join(resolutions))
    text = header + "\n".join(pins(resolutions)) + "\n"
    (ROOT / "constraints.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
