"""Encoder effort on the command line: options, progress, results and signals."""

from __future__ import annotations

import io
import json
import pathlib
import signal
import sys

import numpy as np
import pytest

from tests import programs
from tests.cli.test_cli import one_error, put, run, tree
from tests.quick_codec import PHOTO, SearchingCodec, quick_zoo
from tfc_models import images
from tfc_models.cli import output, search_options
from tfc_models.codec import tunable
from tfc_models.metrics import METRICS

ROOT = pathlib.Path(__file__).parents[2]


class Clock:
    """Clock that advances by a number of seconds at every reading."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.time = seconds, 0.0

    def __call__(self) -> float:
        self.time += self.seconds
        return self.time


@pytest.fixture
def zoo(monkeypatch, tmp_path) -> SearchingCodec:
    codec = SearchingCodec()
    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: codec)
    monkeypatch.chdir(tmp_path)
    for metric in METRICS.values():
        if metric.weights:
            monkeypatch.delenv(metric.weights.variable, raising=False)
    put("photo.png")
    return codec


def clocked(monkeypatch, seconds: float) -> None:
    expected = search_options.ExpectedTime
    monkeypatch.setattr(output, "ExpectedTime", lambda: expected(Clock(seconds)))


def test_results_include_effort_and_tune(zoo, capsys):
    assert run("compress", "photo.png", "--json", "--quiet") == 0
    (plain,) = json.loads(capsys.readouterr().out)
    assert not {"effort", "tune"} & plain.keys() and zoo.searches == []
    words = ("compress", "photo.png", "-e", 3, "--tune", "psnr + 2*pim", "--force")
    assert run(*words, "--json") == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)
    assert (result["effort"], result["tune"]) == (3, "psnr + 2*pim")
    assert result["bytes"] < plain["bytes"]
    message = "30×20, quality 50, effort 3, tuned for psnr + 2*pim, "
    assert captured.err.startswith(f"photo.png → photo.tfcm: {message}")
    assert zoo.searches == [(3, "psnr + 2*pim")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--effort", "10"], "'10' is not a whole number from 0 to 9"),
        (["--effort", "x"], "'x' is not a whole number from 0 to 9"),
        (["--tune", "pim"], "an effort above 0 only: give --effort 1 to 9"),
        (["-e1", "--tune", "vmaf"], "tune is one of psnr, ssim, "),
        (["-e1", "--tune", "psnr + "], "a sum such as 'psnr + 2*lpips'; got 'psnr + '"),
        (["-e1", "--tune", "lpips"], "give --weights lpips=FILE, or set TFC_MODELS_LPIPS"),
        (
            ["-e1", "--tune", "lpips", "--weights", "lpips=x"],
            "no file of weights of lpips x",
        ),
        (["-e1", "--weights", "pim=x"], "--weights pim=… has an effect with --tune pim only"),
        (["-e1", "--weights", "semantic=x"], "NAME of lpips, pim, pim-bands"),
        (["-e1", "--weights", "pim"], "'pim' is not NAME=FILE"),
    ],
)
def test_invalid_options_fail_before_tensorflow_is_loaded(
    zoo, capsys, monkeypatch, arguments, message
):
    monkeypatch.setitem(sys.modules, "tfc_models.codec.codec", None)
    assert run("compress", "photo.png", *arguments) == 2
    assert message in one_error(capsys)
    assert tree() == {"photo.png"} and zoo.searches == []


def test_tunable_names_match_the_search():
    from tfc_models.models.distortion import SQUARED_ERROR_PER_UNIT

    assert set(tunable.tunable_names()) == {"psnr", *SQUARED_ERROR_PER_UNIT} - {"mse"}
    assert tunable.tuned_metrics("psnr+1e+2*lpips + .5*pim".replace(" .5", " 0.5")) == [
        *("psnr", "lpips", "pim")
    ]


def test_weights_option_sets_the_environment_during_the_command(zoo, monkeypatch):
    pathlib.Path("w.npz").write_bytes(b"weights")
    digests = []
    zoo.step = lambda: digests.append(tunable.weights_digests("pim"))
    words = ("--tune", "pim", "--weights", "pim=w.npz", "--quiet")
    assert run("compress", "photo.png", "-e", 1, *words) == 0
    assert len(digests[0]) == 1 and len(digests[0][0]) == 64
    assert tunable.weights_digests("pim") == []


def test_long_search_prints_expected_time_once(zoo, monkeypatch, capsys):
    clocked(monkeypatch, 2.0)
    assert run("compress", "photo.png", "-e", 5) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "photo.png: effort 5, about 20 s" and second.startswith("photo.png → ")
    assert run("compress", "photo.png", "-e", 5, "--force", "--target-bytes", "1000") == 0
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "photo.png: effort 5, about 20 s for each of several searches"
    assert len(zoo.searches) > 2 and last.startswith("photo.png → ")
    assert run("compress", "photo.png", "-e", 5, "--force", "--quiet") == 0
    assert capsys.readouterr().err == ""
    clocked(monkeypatch, 0.1)
    assert run("compress", "photo.png", "-e", 5, "--force") == 0
    assert capsys.readouterr().err.count("\n") == 1


def test_expected_time_ignores_graph_building():
    times = iter([0.0, 30.0, 31.0, 32.0])
    expected = search_options.ExpectedTime(lambda: next(times))
    assert expected.seconds(1, 20) is None and expected.seconds(2, 20) is None
    assert expected.seconds(3, 20) == 32.0 + 17.0


def test_terminal_shows_a_bar_for_the_search(zoo, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    bars = []
    zoo.step = lambda: bars.append([t.description for t in reporters[0]._bar.tasks])
    reporters = []
    make = output.Reporter.__init__

    def made(self, *arguments):
        make(self, *arguments)
        reporters.append(self)

    monkeypatch.setattr(output.Reporter, "__init__", made)
    assert run("compress", "photo.png", "-e", 2) == 0
    assert bars[0] == ["compressing", "photo.png: effort 2"]
    assert "about" not in terminal.getvalue() and "effort 2, " in terminal.getvalue()


SEARCH = """
import signal, sys, time
# These signals may be ignored if the tests run in the background or under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from tests.quick_codec import SearchingCodec
import tfc_models

def step():
    print("searching", flush=True)
    time.sleep(60)

tfc_models.load = lambda name, realism=None, fast=None: SearchingCodec(step)
tfc_models.list_models = lambda: ["quick"]
from tfc_models.cli.main import main
sys.exit(main(["compress", sys.argv[2], "-e", "9"]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_interrupted_search_leaves_no_file(tmp_path, name):
    photo = tmp_path / "photo.png"
    photo.write_bytes(images.encode(PHOTO, ".png"))
    status, errors = programs.interrupt(SEARCH, photo, b"searching\n", name)
    assert status == 128 + getattr(signal, name)
    assert errors == b"tfc-models: interrupted.\n" * (name == "SIGINT")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_compare_and_export_accept_an_effort(zoo, capsys):
    words = ("--codecs", "jpeg", "--json", "--quiet")
    assert run("compare", "photo.png", "-e", 2, "--tune", "nlpd", *words) == 0
    document = json.loads(capsys.readouterr().out)
    ours = document["equal_size"][0]
    assert (ours["codec"], ours["setting"]) == ("searching", "quality 50, effort 2, tune nlpd")
    assert run("export", "model", "--tune", "nlpd") == 2
    assert "give --max-effort 1 to 9" in one_error(capsys)
    assert run("export", "model", "--max-effort", 3, "--tune", "nlpd", "--quiet") == 0
    saved = pathlib.Path("model/saved_model.pb").read_text()
    assert saved.endswith("quality None, effort 3, tune nlpd")


def test_evaluate_has_a_curve_per_effort(zoo, capsys):
    put("in/a.png", np.tile(PHOTO, (2, 2, 1)))
    words = ("--codecs", "", "--points", "2", "--quiet")
    assert run("evaluate", "in", "--out", "out", "-e", "0", "--tune", "pim", *words) == 2
    assert "--tune has an effect with an effort above 0 only" in one_error(capsys)
    assert run("evaluate", "in", "--out", "out", "-e", "0,2", "--tune", "nlpd", *words) == 0
    document = json.loads(pathlib.Path("out/results.json").read_text())
    names = [codec["name"] for codec in document["codecs"]]
    assert names == ["quick", "quick, effort 2, tune nlpd"]
    assert set(zoo.searches) == {(2, "nlpd")}
