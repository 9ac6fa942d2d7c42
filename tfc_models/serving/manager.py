"""Which versions of which models are served: found on disk, loaded, named by labels, let go."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time

import grpc
from absl import logging
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfc_models.serving.errors import ServingError, from_tensorflow, invalid, not_found, unavailable
from tfc_models.serving.memory import Share
from tfc_models.serving.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State
ServerConfig = model_server_config_pb2.ModelServerConfig
ModelConfig = model_server_config_pb2.ModelConfig
RETRY_SECONDS = 60.0  # after which a version that did not load is tried again


@dataclasses.dataclass
class _Version:
    """State of a version, and its signatures while they can be called."""

    number: int
    path: pathlib.Path
    state: int = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    print: tuple[float, int] = (0.0, 0)
    tried: float = 0.0
    seconds: float = 0.0  # that loading took


class Manager:
    """Loads what the configuration and the folders say, and finds it for requests.

    Call `update` again and again: a new version is loaded before an old one is let go, and
    one that does not load leaves the old one where it is.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._versions: dict[str, dict[int, _Version]] = {}
        self._lock = threading.Lock()  # of the tables
        self._updating = threading.Lock()
        self._problems: dict[str, str] = {}  # that were logged, of models' folders
        check(config)
        self._configs = {c.name: c for c in config.model_config_list.config}
        for one in self._configs.values():
            self._versions[one.name] = {}
            try:
                if not pathlib.Path(one.base_path).is_dir():
                    logging.error("%s: there is no folder %s", one.name, one.base_path)
                # Told as such until they are loaded.
                for number, path in _wanted(one).items():
                    self._versions[one.name][number] = _Version(number, path, State.LOADING)
            except OSError as error:  # The others are served, and this one when it can be read.
                self._tell(one.name, error)

    def models(self) -> list[str]:
        """Names of the configured models."""
        with self._lock:
            return sorted(self._configs)

    def find(
        self,
        name: str,
        version: int | None = None,
        label: str | None = None,
        share: Share | None = None,
    ) -> Servable:
        """Returns the servable for a request: of a version, of a label, or the latest.

        With the share of a request, the servable stays open until its work has ended.
        """
        with self._lock:
            known = self._versions.get(name, {})
            ready = {n: v for n, v in known.items() if v.servable is not None}
            if label is not None and name in self._configs:
                labels = self._configs[name].version_labels
                if label not in labels:
                    raise invalid(f"Unrecognized servable version label: {label}")
                version = labels[label]
            if version is None:
                if not ready and any(v.state == State.LOADING for v in known.values()):
                    raise unavailable(f"{name} is loading; try again later")
                if not ready:
                    raise not_found(f"Servable not found for request: Latest({name})")
                version = max(ready)
            if version not in ready:
                if version in known and known[version].state == State.LOADING:
                    raise unavailable(f"{name} version {version} is loading; try again later")
                raise not_found(f"Servable not found for request: Specific({name}, {version})")
            servable = ready[version].servable
            if share is not None:
                # Under the lock: a version that is unloaded afterwards waits for this request.
                servable.hold()
                share.at_end(servable.let_go)
            return servable

    def status(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of the versions of a model."""
        with self._lock:
            versions = dict(self._versions.get(name, {}))
            labels = dict(self._configs[name].version_labels) if name in self._configs else {}
        if label is not None:
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = labels[label]
        if version is not None:
            versions = {n: v for n, v in versions.items() if n == version}
        if not versions:
            which = f"version {version} of" if version is not None else "any versions of"
            raise not_found(f"Could not find {which} model {name}")
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number in sorted(versions, reverse=True):
            one = answer.model_version_status.add(version=number, state=versions[number].state)
            error = versions[number].error
            one.status.error_code = error.code.value[0] if error else 0
            one.status.error_message = error.message if error else ""
        return answer

    def reload(self, config: ServerConfig) -> None:
        """Serves what another configuration says; returns when it is so.

        Versions are loaded before anything changes: on an error, nothing has.

        Raises:
            ServingError: a model, a version or a label of it cannot be served.
        """
        check(config)
        with self._updating:
            staged: dict[str, dict[int, _Version]] = {}
            try:
                for one in config.model_config_list.config:
                    try:
                        staged[one.name] = self._staged(one)
                        self._check_labels(one, staged[one.name])
                    except OSError as error:
                        raise _unusable(f"{one.name}: {error}") from None
            except BaseException:
                for version in (v for versions in staged.values() for v in versions.values()):
                    version.servable.close()
                raise
            replaced = self._apply(config, staged)
            for name, version in replaced:
                self._unload(version, name)
            self._update()

    def _staged(self, config: ModelConfig) -> dict[int, _Version]:
        """Versions of a model that its configuration adds, loaded."""
        name, before = config.name, self._configs.get(config.name)
        if before is not None and _places(before) == _places(config):
            return {}
        if not pathlib.Path(config.base_path).is_dir():
            raise _unusable(f"{name}: there is no folder {config.base_path}")
        wanted, known = _wanted(config), self._versions.get(name, {})
        specific = set(config.model_version_policy.specific.versions)
        if missing := sorted(specific - set(wanted)):
            raise _unusable(f"{name}: there is no version {missing[0]} in {config.base_path}")
        if not wanted:
            raise _unusable(f"{name}: there is no version in {config.base_path}")
        staged: dict[int, _Version] = {}
        try:
            for number, path in sorted(wanted.items()):
                old = known.get(number)
                if old is not None and old.servable is not None and old.path == path:
                    continue
                staged[number] = version = _Version(number, path, print=_print_of(path))
                self._load(version, name)  # The caller tells of an error, once.
                if version.servable is None:
                    raise _unusable(f"{name} version {number}: {version.error.message}")
        except BaseException:
            for version in staged.values():
                if version.servable is not None:
                    version.servable.close()
            raise
        return staged

    def _check_labels(self, config: ModelConfig, staged: dict[int, _Version]) -> None:
        """Refuses a label of a version that the configuration does not serve."""
        known, wanted = self._versions.get(config.name, {}), _wanted(config)
        for label, number in config.version_labels.items():
            old = known.get(number)
            stays = old is not None and old.servable is not None and old.path == wanted.get(number)
            if number not in staged and not stays:
                raise _unusable(
                    f"Request to assign label {label} to version {number} of model "
                    f"{config.name}, which is not available."
                )

    def _apply(
        self, config: ServerConfig, staged: dict[str, dict[int, _Version]]
    ) -> list[tuple[str, _Version]]:
        """Sets a configuration with its versions; returns those that they replace."""
        replaced = []
        with self._lock:
            self._configs = {c.name: c for c in config.model_config_list.config}
            for name, versions in staged.items():
                known = self._versions.setdefault(name, {})
                for number, version in versions.items():
                    old = known.get(number)
                    if old is not None and old.servable is not None:
                        replaced.append((name, old))
                    known[number] = version
                    _log(name, version)
        return replaced

    def update(self) -> None:
        """Looks at the folders once; loads and lets go what they say."""
        with self._updating:
            self._update()

    def ready(self) -> list[str]:
        """Names of the models with a version that can be called."""
        with self._lock:
            return [
                n for n, known in self._versions.items() if any(v.servable for v in known.values())
            ]

    def missing_labels(self) -> list[str]:
        """Labels of versions that cannot be called."""
        missing = []
        for name in self.models():
            for label in self._configs[name].version_labels:
                try:
                    self.find(name, label=label)
                except ServingError as error:
                    missing.append(f"{name}, label {label}: {error.message}")
        return missing

    def _update(self) -> None:
        for name in sorted(set(self._versions) | set(self._configs)):
            try:
                self._update_one(name)
                self._problems.pop(name, None)
            except OSError as error:  # The others go on.
                self._tell(name, error)

    def _tell(self, name: str, error: OSError) -> None:
        """Logs that a folder cannot be read, unless that was the last that was logged of it."""
        if self._problems.get(name) != str(error):
            logging.error("%s: %s", name, error)
        self._problems[name] = str(error)

    def _update_one(self, name: str) -> None:
        config = self._configs.get(name)
        wanted = _wanted(config) if config is not None else {}
        known = self._versions[name]
        for number, path in sorted(wanted.items()):
            version, now = known.get(number), time.monotonic()
            moved = version is not None and version.path != path
            waits = version is not None and version.state == State.LOADING  # since the start
            if version is not None and version.state != State.END and not moved and not waits:
                continue
            found = _print_of(path)
            failed = version is not None and (version.error is not None or moved)
            if failed and version.print == found and now - version.tried < RETRY_SECONDS:
                continue
            successor = _Version(number, path, print=found, tried=now)
            if version is None or version.servable is None:
                with self._lock:
                    known[number] = successor
                self._load(successor, name)
                _log(name, successor)
                continue
            # The same number in another folder: what is served stays until that is loaded.
            version.print, version.tried = found, now
            self._load(successor, name)
            _log(name, successor)
            if successor.servable is not None:
                with self._lock:
                    known[number] = successor
                self._unload(version, name)
        loaded = any(known[n].servable for n in wanted)
        for number, version in list(known.items()):
            # Without a successor that works, the old version stays.
            if number not in wanted and version.servable and (loaded or config is None):
                self._unload(version, name)
            gone = version.state == State.LOADING or not version.path.exists()
            if number not in wanted and gone and not version.servable:
                with self._lock:
                    del known[number]
        if config is None and not any(v.servable for v in known.values()):
            with self._lock:
                del self._versions[name]

    def _load(self, version: _Version, name: str) -> None:
        with self._lock:
            version.state = State.LOADING
        start = time.monotonic()
        try:
            servable = Servable(name, version.number, version.path)
        except Exception as error:  # Whatever the folder holds, the server goes on.
            with self._lock:
                version.state, version.error = State.END, from_tensorflow(error)
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
            version.seconds = time.monotonic() - start

    def _unload(self, version: _Version, name: str) -> None:
        with self._lock:
            servable, version.servable = version.servable, None
            version.state = State.UNLOADING

        def finish() -> None:
            servable.close()  # Waits for its calls, and nothing else waits for it.
            with self._lock:
                version.state = State.END
            logging.info("%s version %d is let go", name, version.number)

        threading.Thread(target=finish, name=f"unload-{name}", daemon=True).start()


def _log(name: str, version: _Version) -> None:
    if version.error is not None:
        logging.error("%s version %d: %s", name, version.number, version.error)
    else:
        told = name, version.number, version.seconds
        logging.info("%s version %d is available after %.1f s", *told)


def _wanted(config: ModelConfig) -> dict[int, pathlib.Path]:
    """The versions that the policy picks of those on disk."""
    base = pathlib.Path(config.base_path)
    found = {}
    if base.is_dir():
        for path in base.iterdir():
            number = path.name.isdecimal() and len(path.name) <= 18
            if number and (path / "saved_model.pb").is_file():
                found[int(path.name)] = path
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return found
    if kind == "specific":
        return {n: found[n] for n in policy.specific.versions if n in found}
    count = policy.latest.num_versions or 1
    return {n: found[n] for n in sorted(found)[-count:]}


def _places(config: ModelConfig) -> tuple[str, str]:
    """The parts of a configuration that choose the versions."""
    return config.base_path, str(config.model_version_policy)


def _unusable(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def _print_of(path: pathlib.Path) -> tuple[float, int]:
    """A value that changes when a file of a version does: copies come one file after the other."""
    stats = [p.stat() for p in path.rglob("*")]
    return max((s.st_mtime for s in stats), default=0.0), sum(s.st_size for s in stats)


def _prints(config: ServerConfig) -> list[object]:
    """For each model the state of its versions' files, or the reason why they cannot be read."""
    found: list[object] = []
    for one in config.model_config_list.config:
        try:
            found.append({number: _print_of(path) for number, path in _wanted(one).items()})
        except OSError as error:
            found.append(str(error))
    return found


def check(config: ServerConfig) -> None:
    """One line about what cannot be served."""
    seen = set()
    for one in config.model_config_list.config:
        if not one.name or not one.base_path:
            raise invalid("a model needs a name and a base_path.")
        if one.name in seen:
            raise invalid(f"Illegal to list model {one.name} multiple times in config list")
        seen.add(one.name)
        if one.model_platform not in ("", "tensorflow"):
            raise invalid(f"{one.name}: model_platform is tensorflow; got {one.model_platform!r}.")
        if not pathlib.Path(one.base_path).is_absolute():
            raise invalid(
                f"Expected model {one.name} to have an absolute path or URI; "
                f"got base_path()={one.base_path}"
            )


def single(name: str, base_path: str) -> ServerConfig:
    """The configuration of one model."""
    config = ServerConfig()
    path = str(pathlib.Path(base_path).expanduser().absolute())
    config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    return config


def read(path: str) -> ServerConfig:
    """The configuration in a file, as text."""
    try:
        config = text_format.Parse(pathlib.Path(path).read_text(encoding="utf-8"), ServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise invalid(f"{path}: {error}") from None
    if not config.HasField("model_config_list"):  # As of a file that is half written.
        raise invalid(f"{path}: the configuration has no model_config_list")
    return config


class ConfigFile:
    """A configuration file that is looked at again and again.

    One that cannot be served is an error once. It is tried again when it changes, and when the
    folders that it names do, which are looked at every minute.
    """

    def __init__(self, path: str, manager: Manager) -> None:
        self._path, self._manager = path, manager
        self._seen, self._looked, self._failure = self._content(), time.monotonic(), ""
        self._config = ServerConfig()  # the one that failed, and its folders' state then
        self._folders: list[object] = []

    def poll(self) -> None:
        """Reads the file, if it is time to."""
        seen = self._content()
        if seen == self._seen and not self._folders_changed():
            return
        self._seen, self._looked = seen, time.monotonic()
        self._config, self._folders = ServerConfig(), []
        try:
            self._config = read(self._path)
            self._folders = _prints(self._config)
            self._manager.reload(self._config)
        except (ServingError, OSError) as error:
            if str(error) != self._failure:
                logging.error("%s", error)
            self._failure = str(error)
        else:
            self._failure = ""

    def _folders_changed(self) -> bool:
        """Whether a configuration that failed may be served now."""
        if not self._failure or time.monotonic() - self._looked < RETRY_SECONDS:
            return False
        self._looked = time.monotonic()
        return self._folders != _prints(self._config)

    def _content(self) -> bytes | None:
        try:
            return pathlib.Path(self._path).read_bytes()
        except OSError:
            return None
