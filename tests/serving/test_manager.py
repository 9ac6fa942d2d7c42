"""Model manager: atomic changes of the configuration, versions, and errors."""

from __future__ import annotations

import pathlib

import grpc
import pytest
from absl import logging
from google.protobuf import text_format

from tfc_models.serving import manager as managers
from tfc_models.serving.errors import ServingError
from tfc_models.serving.manager import ConfigFile, Manager, ServerConfig


class Servable:
    """Fake servable. The content of its file can mark the version as broken."""

    loaded: list[tuple[str, int]]
    closed: list[tuple[str, int]]

    def __init__(self, name: str, version: int, path: pathlib.Path) -> None:
        if (path / "saved_model.pb").read_text() == "broken":
            raise OSError("the graph is broken")
        self.key, self.path = (name, version), path
        Servable.loaded.append(self.key)

    def close(self) -> None:
        Servable.closed.append(self.key)


@pytest.fixture(autouse=True)
def servables(monkeypatch):
    monkeypatch.setattr(managers, "Servable", Servable)
    Servable.loaded, Servable.closed = [], []


@pytest.fixture
def errors(monkeypatch) -> list[str]:
    """Returns the logged errors."""
    lines: list[str] = []
    monkeypatch.setattr(logging, "error", lambda text, *values: lines.append(text % values))
    return lines


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    for name in ("a/1", "a/2", "b/7", "broken/1", "half/1", "half/2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_text("fine")
    for name in ("broken/1", "half/2"):
        (tmp_path / name / "saved_model.pb").write_text("broken")
    (tmp_path / "empty").mkdir()
    return tmp_path


def model(folder: pathlib.Path, base: str, name: str = "m", more: str = "") -> str:
    return f"config {{ name: '{name}' base_path: '{folder}/{base}' {more} }}"


def config(*models: str) -> ServerConfig:
    return text_format.Parse(f"model_config_list {{ {' '.join(models)} }}", ServerConfig())


@pytest.fixture
def manager(folder) -> Manager:
    manager = Manager(config(model(folder, "a")))
    manager.update()
    assert Servable.loaded == [("m", 2)]
    return manager


def all_versions(more: str = "") -> str:
    return f"model_version_policy {{ all {{}} }} {more}"


WRONG = {
    "no folder": (["nowhere"], "", "m: there is no folder .*/nowhere"),
    "no version": (["empty"], "", "m: there is no version in .*/empty"),
    "a version that does not load": (["broken"], "", "m version 1: .*the graph is broken"),
    "one of two": (["half"], all_versions(), "m version 2: .*the graph is broken"),
    "a version that is not there": (
        ["a"],
        "model_version_policy { specific { versions: 1 versions: 9 } }",
        "m: there is no version 9 in .*/a",
    ),
    "a label of what is not loaded": (
        ["a"],
        "version_labels { key: 'canary' value: 1 }",
        "Request to assign label canary to version 1 of model m, which is not available",
    ),
    "a label of what is served, and will not be": (
        ["b"],
        "version_labels { key: 's' value: 2 }",
        "Request to assign label s to version 2 of model m, which is not available",
    ),
    "a label of what the policy drops": (
        ["a"],
        "model_version_policy { specific { versions: 1 } } version_labels { key: 's' value: 2 }",
        "Request to assign label s to version 2 of model m, which is not available",
    ),
    "another model of it": (["b", "broken"], "", "m1 version 1: .*the graph is broken"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_configuration_changes_nothing(manager, folder, case):
    bases, more, says = WRONG[case]
    names = ["m", "m1"]
    wrong = config(*(model(folder, base, name, more) for base, name in zip(bases, names)))
    before, status = manager.find("m"), manager.status("m")
    with pytest.raises(ServingError, match=says) as caught:
        manager.reload(wrong)
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "\n" not in caught.value.message
    assert manager.models() == ["m"] and manager.find("m") is before
    assert manager.status("m") == status
    # The newly loaded versions are unloaded, and the served ones do not change.
    assert sorted(Servable.loaded) == sorted([before.key, *Servable.closed])
    manager.update()
    assert manager.find("m") is before


def test_configuration_is_replaced_after_loading(manager, folder):
    more = "version_labels { key: 'old' value: 1 }"
    models = [model(folder, "a", "m", all_versions(more)), model(folder, "b", "n")]
    manager.reload(config(*models))
    assert Servable.loaded == [("m", 2), ("m", 1), ("n", 7)]  # Each is loaded once.
    assert manager.find("m", label="old").key == ("m", 1)
    assert manager.find("m").key == ("m", 2) and manager.find("n").key == ("n", 7)
    manager.reload(config(model(folder, "b", "n")))
    assert manager.models() == ["n"]
    with pytest.raises(ServingError, match="Servable not found"):
        manager.find("m")
    assert Servable.loaded[3:] == []


def test_same_number_in_another_folder_is_another_version(folder):
    manager = Manager(config(model(folder, "half", more=all_versions())))
    manager.update()
    (folder / "a" / "2").rename(folder / "a" / "3")
    first = manager.find("m")
    manager.reload(config(model(folder, "a", more=all_versions())))
    assert manager.find("m", 1) is not first and manager.find("m").key == ("m", 3)


def test_model_without_versions_does_not_delay_others(folder, errors):
    waiting = model(folder, "empty", "later")
    manager = Manager(config(waiting))
    manager.update()
    manager.reload(config(waiting, model(folder, "a")))
    assert manager.ready() == ["m"]


def test_state_of_loading_versions(folder, errors):
    labels = "version_labels { key: 's' value: 2 }"
    manager = Manager(config(model(folder, "a", more=labels), model(folder, "broken", "n")))
    for chosen in ({"version": 2}, {"label": "s"}):
        with pytest.raises(ServingError, match="m version 2 is loading; try again") as caught:
            manager.find("m", **chosen)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ServingError, match="not found"):
        manager.find("m", 9)
    for name, number in (("m", 2), ("n", 1)):
        (state,) = manager.status(name).model_version_status
        assert (state.version, state.state) == (number, managers.State.LOADING)
        with pytest.raises(ServingError, match=f"{name} is loading; try again later") as caught:
            manager.find(name)
        assert caught.value.http_status == 503
    (folder / "a" / "3").mkdir()  # A version that is added meanwhile.
    (folder / "a" / "3" / "saved_model.pb").write_text("fine")
    manager.update()
    states = [(v.version, v.state) for v in manager.status("m").model_version_status]
    assert states == [(3, managers.State.AVAILABLE)]
    assert manager.status("n").model_version_status[0].state == managers.State.END


def test_invalid_configuration_file_is_logged_once(folder, tmp_path, errors, monkeypatch):
    path = tmp_path / "config"
    path.write_text(f"model_config_list {{ {model(folder, 'a')} }}")
    manager = Manager(managers.read_config(str(path)))
    manager.update()
    file = ConfigFile(str(path), manager)
    for text, says in (
        ("model_config_list { config { name: ", "config: "),
        ("", "the configuration has no model_config_list"),  # A file that is being written.
        (f"model_config_list {{ {model(folder, 'later')} }}", "there is no folder"),
    ):
        path.write_text(text)
        errors.clear()
        for _ in range(5):
            file.poll()
        assert len(errors) == 1 and says in errors[0]
        assert manager.find("m").key == ("m", 2)
    # It is retried after a minute, because its folders may exist now.
    monkeypatch.setattr(managers, "RETRY_SECONDS", 0.0)
    file.poll()
    assert len(errors) == 1
    (folder / "b").rename(folder / "later")
    file.poll()
    assert manager.find("m").key == ("m", 7) and len(errors) == 1
    path.unlink()
    file.poll()
    assert manager.find("m").key == ("m", 7) and "No such file" in errors[1]


def test_failed_version_is_retried_when_its_folder_changes(folder, tmp_path, errors, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "info", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(managers, "RETRY_SECONDS", 0.0)
    path = tmp_path / "config"
    path.write_text(f"model_config_list {{ {model(folder, 'a')} }}")
    manager = Manager(managers.read_config(str(path)))
    manager.update()
    file = ConfigFile(str(path), manager)
    said.clear()
    models = f"{model(folder, 'b', 'n')} {model(folder, 'broken', 'o')}"
    path.write_text(f"model_config_list {{ {models} }}")
    for _ in range(3):
        file.poll()
    assert errors == ["o version 1: OSError: the graph is broken"] and not said
    assert Servable.loaded[1:] == [("n", 7)]
    (folder / "broken" / "1" / "saved_model.pb").write_text("fine, and of another size")
    file.poll()
    assert manager.models() == ["n", "o"] and len(errors) == 1
    available = [line for line in said if "is available" in line]
    assert [line.split(" is")[0] for line in available] == ["n version 7", "o version 1"]


@pytest.mark.parametrize("function", ["_selected_versions", "_fingerprint_of"])
def test_unreadable_folder_is_retried(folder, tmp_path, errors, monkeypatch, function):
    path = tmp_path / "config"
    path.write_text(f"model_config_list {{ {model(folder, 'a')} }}")
    read = getattr(managers, function)

    def denied(of) -> None:
        where = pathlib.Path(getattr(of, "base_path", of))
        if "b" in where.parts:
            raise PermissionError(13, "Permission denied", str(where))
        return read(of)

    monkeypatch.setattr(managers, function, denied)
    monkeypatch.setattr(managers, "RETRY_SECONDS", 0.0)
    manager = Manager(config(model(folder, "a"), model(folder, "b", "n")))
    for _ in range(3):
        manager.update()
    assert manager.ready() == ["m"] and len(errors) == 1 and "Permission denied" in errors[0]
    errors.clear()
    manager = Manager(managers.read_config(str(path)))
    manager.update()
    file = ConfigFile(str(path), manager)
    path.write_text(f"model_config_list {{ {model(folder, 'b')} }}")
    for _ in range(3):
        file.poll()
    assert len(errors) == 1 and errors[0].startswith("m: ") and "Permission denied" in errors[0]
    assert manager.find("m").key == ("m", 2)
    monkeypatch.setattr(managers, function, read)
    file.poll()
    assert manager.find("m").key == ("m", 7)
