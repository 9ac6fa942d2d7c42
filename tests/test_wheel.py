"""The installed wheel runs the documented commands without the repository."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile

import pytest
from PIL import Image

from tests.conftest import GOLDEN, ROOT, photo
from tfc_models.training import configs

SOURCES = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "tfc_models")
MODEL = GOLDEN / "bls2017.npz"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the source tree"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Wheel built from a copy of the sources without a network."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy(source, tree / name)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (result,) = (tree / "dist").glob("*.whl")
    return result


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """Folder with only the contents of the wheel."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def environment(installed, tmp_path_factory) -> dict[str, str]:
    """Environment variables for the wheel and the dependencies of this environment."""
    dependencies = tmp_path_factory.mktemp("dependencies")
    for path in map(pathlib.Path, sys.path):
        if path.name not in ("site-packages", "dist-packages") or not path.is_dir():
            continue
        for entry in path.iterdir():
            is_ours = "tfc_models" in entry.name or entry.suffix in (".pth", ".egg-link")
            if not is_ours and not (dependencies / entry.name).exists():
                (dependencies / entry.name).symlink_to(entry)
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**variables, "PYTHONPATH": os.pathsep.join(map(str, (installed, dependencies)))}


@pytest.fixture
def command(environment, tmp_path, monkeypatch):
    """Arguments of `subprocess` that run the wheel's `tfc-models` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # -S excludes the site packages of this environment, which have a path to the sources.
    prefix = [sys.executable, "-S", "-m", "tfc_models.cli"]

    def options(*words: object) -> dict:
        return {"args": [*prefix, *map(str, words)], "env": environment, "text": True}

    return options


@pytest.fixture
def run(command):
    """Runs `tfc-models` and returns its output."""

    def run(*words: object) -> str:
        done = subprocess.run(**command(*words), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo()[:96, :128]).save(folder / "a.png")
    return folder


def test_the_wheel_has_one_package_with_configs_and_the_page(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"tfc_models"}
    files = [*configs.names().values(), *(ROOT / "tfc_models/serving/page/static").iterdir()]
    assert len(files) > 20
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names


def test_the_commands_run_the_wheel_and_not_the_sources(command, installed):
    options = command()
    options["args"] = [*options["args"][:2], "-c", "import tfc_models; print(tfc_models.__file__)"]
    done = subprocess.run(**options, capture_output=True, check=True)
    assert pathlib.Path(done.stdout.strip()).is_relative_to(installed)


def test_the_installed_package_trains_a_named_config(run, photos, tmp_path):
    small = ["--set=arguments.channels=8", "--set=arguments.latents=12", "--set=start=random"]
    small += ["--set=batch=2", "--set=crop=64", "--set=cache_gigabytes=0.0"]
    run("train", "--config=mbt2018-mean", "--workdir=out", "--data=photos", "--steps=2", *small)
    assert (tmp_path / "out" / "weights.npz").is_file()


def test_the_installed_package_exports_and_serves(run, command, tmp_path):
    run("export", "saved", "--model", MODEL, "--quiet")
    assert (tmp_path / "saved" / "saved_model.pb").is_file()
    options = command("serve", "saved", "--port=0", "--rest-port=0")
    with subprocess.Popen(**options, stderr=subprocess.PIPE) as server:
        try:
            said = ""
            for line in server.stderr:
                said += line
                if "ready: 1 of 1" in line:
                    break
            found = re.search(r"REST at ([0-9.:]+),", said)
            assert found and server.poll() is None, said
            url = f"http://{found[1]}"
            with urllib.request.urlopen(f"{url}/v1/models/default", timeout=60) as answer:
                assert b"AVAILABLE" in answer.read()
            with urllib.request.urlopen(f"{url}/", timeout=60) as page:
                assert b"<html" in page.read()
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.mark.exhaustive
def test_the_installed_package_runs_bulk_work(run, photos, tmp_path):
    said = run("bulk", "compress", "--input=photos", "--output=packed", "--model", MODEL)
    assert "1 files done" in said
    assert (tmp_path / "packed" / "a.tfcm").is_file()
