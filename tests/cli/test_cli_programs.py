"""`tfc-models train`, `serve` and `bulk`: errors before any work."""

from __future__ import annotations

import signal
import sys

import pytest
from PIL import Image

from tests import programs
from tests.cli.test_cli import one_error, run
from tests.conftest import photo
from tfc_models.training import configs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo()[:64, :64]).save(tmp_path / "photos" / "a.png")


def test_unknown_config_error_lists_the_names(capsys):
    assert run("train", "--config", "mbt2081", "--workdir", "out") == 2
    message = one_error(capsys)
    assert "there is no config 'mbt2081'" in message
    assert all(name in message for name in configs.names())


def test_config_names_may_have_hyphens_or_be_paths(tmp_path):
    path = configs.names()["mbt2018_mean"]
    assert configs.find("mbt2018-mean") == configs.find("mbt2018_mean") == path
    assert configs.find(str(path)) == path
    with pytest.raises(ValueError, match=r"there is no config file other/mbt2018_mean\.py"):
        configs.find("other/mbt2018_mean.py")


def test_every_config_has_a_trainer():
    from tfc_models.training import config, dispatch

    for name in configs.names():
        assert type(config.read(name, [], config.RunConfig)) in dispatch.MODULES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=banana", "--data=photos"], "draws samples of banana: leave out --data"),
        (["--config=mbt2018_mean"], "needs training data: give --data"),
        (["--config=pim", "--data=photos", "--strategy=mirrored"], "for runs on images"),
        (["--config=mbt2018_mean", "--data=photos", "--steps=1", "--minutes=1"], "not both"),
        (["--config=mbt2018_mean", "--data=photos", "--set=nonsense=1"], "--set takes key=value"),
    ],
)
def test_contradicting_options_fail_before_training(capsys, tmp_path, arguments, message):
    assert run("train", "--workdir=out", *arguments) == 2
    assert message in one_error(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["serve", "default"], "tfc_models.serving.server", "serving"),
        (["bulk", "compress", "--input=photos", "--output=out"], "tfc_models.serving.bulk", "beam"),
        (["train", "--config=banana", "--workdir=out"], "tfc_models.training.dispatch", "train"),
    ],
)
def test_missing_extra_error_names_the_pip_command(capsys, monkeypatch, arguments, module, extra):
    class Missing:
        """Import hook that simulates a missing package."""

        @staticmethod
        def find_spec(name: str, *unused: object) -> None:
            if name == module:
                raise ModuleNotFoundError("no such package", name="package_of_it.part")

    parent = sys.modules[module.rpartition(".")[0]] if module in sys.modules else None
    monkeypatch.delitem(sys.modules, module, raising=False)
    if parent:
        monkeypatch.delattr(parent, module.rpartition(".")[2], raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    assert run(*arguments) == 1
    assert one_error(capsys).endswith(
        f"the package package_of_it is not installed: pip install 'tfc-models[{extra}]'\n"
    )


def test_serve_rejects_a_folder_without_a_model(capsys):
    assert run("serve", "photos") == 2
    assert "photos contains neither a SavedModel nor versions of one" in one_error(capsys)
    assert run("serve", "nonsense") == 2
    assert "there is no model 'nonsense'" in one_error(capsys)


def test_bulk_rejects_flags_unknown_to_beam(capsys):
    assert run("bulk", "compress", "--input=photos", "--output=out", "--nonsense=1") == 2
    assert "--nonsense=1: unknown flag, of neither this command nor Beam" in capsys.readouterr().err
    assert run("info", "a.tfcm", "--nonsense=1") == 2
    assert "unrecognized arguments: --nonsense=1" in one_error(capsys)


@pytest.mark.slow
def test_terminated_run_saves_and_resumes(tmp_path):
    words = ["-m", "tfc_models.cli", "train", "--config=banana", f"--workdir={tmp_path / 'out'}"]
    words += ["--set=samples=500", "--set=batch=16", "--set=log_steps=1"]
    with programs.Program(*words, "--steps=1000000") as program:
        for line in program.stderr:
            if line.startswith("step 2 "):
                program.send_signal(signal.SIGTERM)
                break
        last = program.stderr.read().splitlines()[-1]
        program.wait(60.0)
    assert last.startswith("tfc-models train: SIGTERM: saved at step ")
    assert program.returncode == 128 + signal.SIGTERM
    step = int(last.rstrip(".").rsplit(" ", 1)[1])
    again = programs.run(*words, f"--steps={step + 1}")
    assert again.returncode == 0 and f"resuming from step {step}" in again.stderr
