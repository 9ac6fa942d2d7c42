"""Model manager: finds, loads, labels and unloads versions of models."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time

import grpc
from absl import logging
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig as ServerConfig

from tfc_models.serving.errors import ServingError, from_tensorflow, invalid, not_found, unavailable
from tfc_models.serving.memory import Reservation
from tfc_models.serving.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State
RETRY_SECONDS = 60.0  # Interval between attempts to load a version that failed.


@dataclasses.dataclass
class _Version:
    """State of a version, and its servable while it is loaded."""

    number: int
    path: pathlib.Path
    state: int = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    fingerprint: tuple[float, int] = (0.0, 0)
    tried: float = 0.0
    seconds: float = 0.0  # Duration of loading.

    @property
    def loaded(self) -> Servable:
        """Servable of a version that is loaded."""
        assert self.servable is not None
        return self.servable


class Manager:
    """Loads the versions that the configuration selects, and finds servables for requests.

    Call `update` periodically. A new version is loaded before the old one is unloaded; if it does
    not load, the old one stays.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._versions: dict[str, dict[int, _Version]] = {}
        self._lock = threading.Lock()  # Guards the tables.
        self._updating = threading.Lock()
        self._problems: dict[str, str] = {}  # Last logged error of each model's folder.
        check_config(config)
        self._configs = {c.name: c for c in config.model_config_list.config}
        for one in self._configs.values():
            self._versions[one.name] = {}
            try:
                if not pathlib.Path(one.base_path).is_dir():
                    logging.error("%s: there is no folder %s", one.name, one.base_path)
                # Reported as loading until they are loaded.
                for number, path in _selected_versions(one).items():
                    self._versions[one.name][number] = _Version(number, path, State.LOADING)
            except OSError as error:  # The other models are served; `update` tries again.
                self._log_once(one.name, error)

    def models(self) -> list[str]:
        """Returns the names of the configured models."""
        with self._lock:
            return sorted(self._configs)

    def find(
        self,
        name: str,
        version: int | None = None,
        label: str | None = None,
        reservation: Reservation | None = None,
    ) -> Servable:
        """Returns the servable of a version, of a label, or of the latest version.

        With the reservation of a request, the servable stays open until the request's work ends.
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
            servable = ready[version].loaded
            if reservation is not None:
                # Inside the lock, so that unloading the version waits for this request.
                servable.acquire()
                reservation.on_work_done(servable.release)
            return servable

    def status(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the states of the versions of a model."""
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
        """Replaces the configuration. Returns when its versions are served.

        All versions are loaded before anything changes, so that an error changes nothing.

        Raises:
            ServingError: the configuration has a model, version or label that cannot be served.
        """
        check_config(config)
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
                    version.loaded.close()
                raise
            replaced = self._apply(config, staged)
            for name, version in replaced:
                self._unload(version, name)
            self._update()

    def _staged(self, config: ModelConfig) -> dict[int, _Version]:
        """Loads and returns the versions that a configuration adds to a model."""
        name, before = config.name, self._configs.get(config.name)
        if before is not None and _version_source(before) == _version_source(config):
            return {}
        if not pathlib.Path(config.base_path).is_dir():
            raise _unusable(f"{name}: there is no folder {config.base_path}")
        wanted, known = _selected_versions(config), self._versions.get(name, {})
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
                staged[number] = version = _Version(number, path, fingerprint=_fingerprint_of(path))
                self._load(version, name)
                if version.error is not None:
                    raise _unusable(f"{name} version {number}: {version.error.message}")
        except BaseException:
            for version in staged.values():
                if version.servable is not None:
                    version.servable.close()
            raise
        return staged

    def _check_labels(self, config: ModelConfig, staged: dict[int, _Version]) -> None:
        """Raises ServingError for a label of a version that the configuration does not serve."""
        known, wanted = self._versions.get(config.name, {}), _selected_versions(config)
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
        """Sets a configuration with its versions. Returns the replaced versions."""
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
        """Checks the folders once; loads and unloads versions."""
        with self._updating:
            self._update()

    def ready(self) -> list[str]:
        """Returns the names of the models with a loaded version."""
        with self._lock:
            return [
                n for n, known in self._versions.items() if any(v.servable for v in known.values())
            ]

    def missing_labels(self) -> list[str]:
        """Returns error messages of labels whose versions are not loaded."""
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
            except OSError as error:  # The other models are updated.
                self._log_once(name, error)

    def _log_once(self, name: str, error: OSError) -> None:
        """Logs an error of a model's folder, unless it is the last error logged for it."""
        if self._problems.get(name) != str(error):
            logging.error("%s: %s", name, error)
        self._problems[name] = str(error)

    def _update_one(self, name: str) -> None:
        config = self._configs.get(name)
        wanted = _selected_versions(config) if config is not None else {}
        known = self._versions[name]
        for number, path in sorted(wanted.items()):
            version, now = known.get(number), time.monotonic()
            moved = version is not None and version.path != path
            waits = version is not None and version.state == State.LOADING  # Since the start.
            if version is not None and version.state != State.END and not moved and not waits:
                continue
            fingerprint = _fingerprint_of(path)
            if version is not None and (version.error is not None or moved):
                is_recent = now - version.tried < RETRY_SECONDS
                if version.fingerprint == fingerprint and is_recent:
                    continue
            successor = _Version(number, path, fingerprint=fingerprint, tried=now)
            if version is None or version.servable is None:
                with self._lock:
                    known[number] = successor
                self._load(successor, name)
                _log(name, successor)
                continue
            # The same number in another folder: the old servable stays until the new one is loaded.
            version.fingerprint, version.tried = fingerprint, now
            self._load(successor, name)
            _log(name, successor)
            if successor.servable is not None:
                with self._lock:
                    known[number] = successor
                self._unload(version, name)
        loaded = any(known[n].servable for n in wanted)
        for number, version in list(known.items()):
            # An old version stays until a newer one is loaded.
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
        except Exception as error:  # A defective folder must not stop the server.
            with self._lock:
                version.state, version.error = State.END, from_tensorflow(error)
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
            version.seconds = time.monotonic() - start

    def _unload(self, version: _Version, name: str) -> None:
        with self._lock:
            servable, version.servable = version.loaded, None
            version.state = State.UNLOADING

        def finish() -> None:
            servable.close()  # Waits for running calls, in a thread of its own.
            with self._lock:
                version.state = State.END
            logging.info("%s version %d is unloaded", name, version.number)

        threading.Thread(target=finish, name=f"unload-{name}", daemon=True).start()


def _log(name: str, version: _Version) -> None:
    if version.error is not None:
        logging.error("%s version %d: %s", name, version.number, version.error)
    else:
        logging.info(
            "%s version %d is available after %.1f s", name, version.number, version.seconds
        )


def _selected_versions(config: ModelConfig) -> dict[int, pathlib.Path]:
    """Returns the versions on disk that the version policy selects."""
    base = pathlib.Path(config.base_path)
    available = {}
    if base.is_dir():
        for path in base.iterdir():
            number = path.name.isdecimal() and len(path.name) <= 18
            if number and (path / "saved_model.pb").is_file():
                available[int(path.name)] = path
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return available
    if kind == "specific":
        return {n: available[n] for n in policy.specific.versions if n in available}
    count = policy.latest.num_versions or 1
    return {n: available[n] for n in sorted(available)[-count:]}


def _version_source(config: ModelConfig) -> tuple[str, str]:
    """Returns the parts of a configuration that select versions."""
    return config.base_path, str(config.model_version_policy)


def _unusable(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def _fingerprint_of(path: pathlib.Path) -> tuple[float, int]:
    """Returns a value that changes with the files of a version, to detect unfinished copies."""
    stats = [p.stat() for p in path.rglob("*")]
    return max((s.st_mtime for s in stats), default=0.0), sum(s.st_size for s in stats)


def _fingerprints(config: ServerConfig) -> list[object]:
    """Returns for each model the fingerprints of its versions, or the error of reading them."""
    fingerprints: list[object] = []
    for one in config.model_config_list.config:
        try:
            versions = _selected_versions(one).items()
            fingerprints.append({number: _fingerprint_of(path) for number, path in versions})
        except OSError as error:
            fingerprints.append(str(error))
    return fingerprints


def check_config(config: ServerConfig) -> None:
    """Raises ServingError for an invalid configuration."""
    names = set()
    for one in config.model_config_list.config:
        if not one.name or not one.base_path:
            raise invalid("a model needs a name and a base_path.")
        if one.name in names:
            raise invalid(f"Illegal to list model {one.name} multiple times in config list")
        names.add(one.name)
        if one.model_platform not in ("", "tensorflow"):
            raise invalid(
                f"{one.name}: model_platform must be tensorflow; got {one.model_platform!r}."
            )
        if not pathlib.Path(one.base_path).is_absolute():
            raise invalid(
                f"Expected model {one.name} to have an absolute path or URI; "
                f"got base_path()={one.base_path}"
            )


def single_model_config(name: str, base_path: str) -> ServerConfig:
    """Returns the configuration of one model."""
    config = ServerConfig()
    path = str(pathlib.Path(base_path).expanduser().absolute())
    config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    return config


def read_config(path: str) -> ServerConfig:
    """Reads a configuration file in text format."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        config = text_format.Parse(text, ServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise invalid(f"{path}: {error}") from None
    if not config.HasField("model_config_list"):  # The file may be written at this moment.
        raise invalid(f"{path}: the configuration has no model_config_list")
    return config


class ConfigFile:
    """Configuration file that is polled for changes.

    A configuration that cannot be served is logged once. It is tried again when the file changes,
    or when the folders that it names change, which are checked every minute.
    """

    def __init__(self, path: str, manager: Manager) -> None:
        self._path, self._manager = path, manager
        self._last_content, self._checked, self._failure = self._content(), time.monotonic(), ""
        # The last configuration, and the fingerprints of its folders when it was tried.
        self._config = ServerConfig()
        self._folders: list[object] = []

    def poll(self) -> None:
        """Reloads the configuration if the file or the folders have changed."""
        content = self._content()
        if content == self._last_content and not self._folders_changed():
            return
        self._last_content, self._checked = content, time.monotonic()
        self._config, self._folders = ServerConfig(), []
        try:
            self._config = read_config(self._path)
            self._folders = _fingerprints(self._config)
            self._manager.reload(self._config)
        except (ServingError, OSError) as error:
            if str(error) != self._failure:
                logging.error("%s", error)
            self._failure = str(error)
        else:
            self._failure = ""

    def _folders_changed(self) -> bool:
        """Returns whether folders have changed since the configuration failed."""
        if not self._failure or time.monotonic() - self._checked < RETRY_SECONDS:
            return False
        self._checked = time.monotonic()
        return self._folders != _fingerprints(self._config)

    def _content(self) -> bytes | None:
        try:
            return pathlib.Path(self._path).read_bytes()
        except OSError:
            return None
