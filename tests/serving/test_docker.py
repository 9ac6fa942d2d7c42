"""The images' files, which no Docker engine builds here."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "serving" / "docker"
SERVER = FOLDER / "Dockerfile"


def instructions(path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("Dockerfile*")), ids=lambda p: p.name)
def test_the_server_runs_as_an_unprivileged_user(path):
    users = [argument for name, argument in instructions(path) if name == "USER"]
    # A number, so that Kubernetes can tell that it is not root.
    assert users and all(re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user) for user in users)
    last = [name for name, _ in instructions(path) if name in ("USER", "RUN", "COPY")][-1]
    assert last == "USER"


def test_the_log_level_is_the_server_s_own():
    """At level 2 TensorFlow prints lines at every import."""
    settings = [argument for name, argument in instructions(SERVER) if name in ("ENV", "ARG")]
    assert settings and not any("TF_CPP_" in argument for argument in settings)


def test_the_page_is_off_by_default():
    (entry,) = (json.loads(a) for name, a in instructions(SERVER) if name == "ENTRYPOINT")
    assert entry[:3] == ["python", "-m", "serving.server"] and "--page=false" in entry


def test_build_outputs_are_not_in_the_context():
    ignored, written = (
        {line.removeprefix("**/").strip("/") for line in (ROOT / name).read_text().splitlines()}
        for name in (".dockerignore", ".gitignore")
    )
    written = {line for line in written if not line.startswith(("#", ".venv"))}
    assert written <= ignored
    assert {".git", ".venv*"} <= ignored
    # And what the image is made of is.
    for name, argument in instructions(SERVER):
        if name == "COPY":
            assert all((ROOT / source).exists() for source in argument.split()[:-1])
            assert not ignored & set(argument.split()[:-1])
