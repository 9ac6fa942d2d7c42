"""Command line in separate processes: pipes, start-up messages and signals."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import programs
from tests.conftest import GOLDEN
from tests.quick_codec import PHOTO, QuickCodec
from tfc_models import images

MODEL = GOLDEN / "mbt2018-mean.npz"
ROOT = pathlib.Path(__file__).parents[2]


def command(*arguments: object, **options) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", "tfc_models.cli", *map(str, arguments)],
        capture_output=True,
        env=environment,
        timeout=300,
        **options,
    )


@pytest.mark.slow
def test_pipes_print_nothing_else(tmp_path):
    photo = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 80, 3))
    png = images.encode(photo, ".png")
    compressed = command("compress", "-m", MODEL, "-", input=png, cwd=tmp_path)
    assert (compressed.returncode, compressed.stderr) == (0, b"")
    back = command("decompress", "-m", MODEL, "-", input=compressed.stdout, cwd=tmp_path)
    assert (back.returncode, back.stderr) == (0, b"")
    assert np.abs(images.read(back.stdout).pixels - photo.astype(int)).mean() < 12
    assert list(tmp_path.iterdir()) == []


def test_command_prints_one_line_errors(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"no weights")
    (tmp_path / "photo.png").write_bytes(images.encode(PHOTO, ".png"))
    done = command("compress", "-m", "bad.npz", "photo.png", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"tfc-models compress: model bad.npz: ")
    assert done.stderr.count(b"\n") == 1


def test_info_models_and_help_need_no_tensorflow(tmp_path):
    (tmp_path / "x.tfcm").write_bytes(QuickCodec().compress(PHOTO))
    program = f"""
import sys
sys.modules["tensorflow"] = sys.modules["tensorflow_compression"] = None
from tfc_models.cli.main import main
sys.exit(main(["info", {str(tmp_path / "x.tfcm")!r}]) or main(["models"]) or main(["--help"]))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True)


INTERRUPTED_WRITE = """
import os, sys
import signal
# These signals may be ignored if the tests run in the background or under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, sys.argv[1])
if sys.argv[3] == "named" and hasattr(os, "O_TMPFILE"):
    del os.O_TMPFILE
from tests.quick_codec import QuickCodec
import tfc_models
tfc_models.load = lambda name, realism=None, fast=None: QuickCodec()
tfc_models.list_models = lambda: ["quick"]
whole_write = os.write

def half_write(fd, data):
    os.write = whole_write
    os.write(fd, data[: len(data) // 2])
    print("half", flush=True)
    sys.stdin.read()  # Blocks forever.

os.write = half_write
from tfc_models.cli.main import main
sys.exit(main(["compress", sys.argv[2]]))
"""


@pytest.mark.parametrize("way", ["unnamed", "named"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_killed_process_leaves_no_partial_file(tmp_path, name, way):
    photo = tmp_path / "photo.png"
    photo.write_bytes(images.encode(PHOTO, ".png"))
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_WRITE, str(ROOT), str(photo), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"half\n"
        number = getattr(signal, name)
        process.send_signal(number)
        try:
            code = process.wait(60)
        finally:
            process.kill()
        errors = process.stderr.read()
    assert code == (-number if name == "SIGKILL" else 128 + number)
    assert errors == (b"tfc-models: interrupted.\n" if name == "SIGINT" else b"")
    left = [path.name for path in tmp_path.iterdir() if path != photo]
    if name == "SIGKILL" and (way == "named" or not _has_unnamed_files(tmp_path)):
        # SIGKILL prevents cleanup; the partial file has a temporary name.
        assert all(file.startswith(".") and file.endswith(".part") for file in left)
    else:
        assert left == []


LONG_STEP = """
import ctypes, sys
import signal
# These signals may be ignored if the tests run in the background or under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, sys.argv[1])
from tests.quick_codec import QuickCodec
import tfc_models
tfc_models.load = lambda name, realism=None, fast=None: QuickCodec()
tfc_models.list_models = lambda: ["quick"]

def one_step_of_machine_code(self, picture, quality):
    print("computing", flush=True)
    mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)  # Blocks forever, and Python's signal handlers do not run.

QuickCodec.compress = one_step_of_machine_code
from tfc_models.cli.main import main
sys.exit(main(["compress", sys.argv[2]]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_end_a_long_computation(tmp_path, name):
    photo = tmp_path / "photo.png"
    photo.write_bytes(images.encode(PHOTO, ".png"))
    status, errors = programs.interrupt(LONG_STEP, photo, b"computing\n", name)
    assert status == 128 + getattr(signal, name)
    assert errors == b"tfc-models: interrupted.\n" * (name == "SIGINT")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def _has_unnamed_files(folder: pathlib.Path) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        return False
    return True
