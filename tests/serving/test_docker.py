"""Checks of the Dockerfiles, which are not built here."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "serving" / "docker"
SERVER = FOLDER / "Dockerfile"


def instructions(path) -> list[tuple[str, str]]:
    """Returns the instructions of a Dockerfile with their arguments."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("Dockerfile*")), ids=lambda p: p.name)
def test_server_runs_as_an_unprivileged_user(path):
    users = [argument for name, argument in instructions(path) if name == "USER"]
    # Kubernetes needs a number to verify that the user is not root.
    assert users and all(re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user) for user in users)
    last = [name for name, _ in instructions(path) if name in ("USER", "RUN", "COPY")][-1]
    assert last == "USER"


def test_tensorflow_log_level():
    """TensorFlow prints messages at import below level 3."""
    settings = [argument for name, argument in instructions(SERVER) if name in ("ENV", "ARG")]
    assert settings and not any("TF_CPP_" in argument for argument in settings)


def test_page_is_off_by_default():
    (entry,) = (json.loads(a) for name, a in instructions(SERVER) if name == "ENTRYPOINT")
    assert entry[:3] == ["python", "-m", "serving.server"] and "--page=false" in entry


def test_build_context_excludes_build_outputs():
    ignored, written = (
        {line.removeprefix("**/").strip("/") for line in (ROOT / name).read_text().splitlines()}
        for name in (".dockerignore", ".gitignore")
    )
    written = {line for line in written if not line.startswith(("#", ".venv"))}
    assert written <= ignored
    assert {".git", ".venv*"} <= ignored
    # Files that the image needs are not excluded.
    for name, argument in instructions(SERVER):
        if name == "COPY":
            assert all((ROOT / source).exists() for source in argument.split()[:-1])
            assert not ignored & set(argument.split()[:-1])
