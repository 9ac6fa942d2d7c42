"""Makes .venv, with the library installed for development, or leaves it if it is up to date.

Run by `make venv` with the Python that the environment is to have. The state file in the
environment says whether an installation is finished, and from which pins: an environment
whose installation was cut short is made anew, one with other pins is updated in place.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STATE = VENV / "tfc-models.json"
PYTHON = VENV / "bin" / "python"

# How to reach the package index is the user's affair; where and what to install is ours.
PIP_SETTINGS_KEPT = {
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_KEYRING_PROVIDER",
    "PIP_NO_CACHE_DIR",
    "PIP_NO_INDEX",
    "PIP_NO_INPUT",
    "PIP_PROGRESS_BAR",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
}


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def wanted_state() -> dict[str, str]:
    """Returns what the state file of a finished, current environment says."""
    pins = hashlib.sha256()
    for name in ("constraints.txt", "setup.py"):
        pins.update((ROOT / name).read_bytes())
    return {
        "state": "ready",
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        # Scripts in an environment hold its path, so it cannot be moved or copied.
        "path": str(VENV),
        "pins": pins.hexdigest(),
    }


def read_state() -> dict[str, str]:
    try:
        return json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_state(state: dict[str, str]) -> None:
    scratch = STATE.with_suffix(".new")
    scratch.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    scratch.replace(STATE)


def environment() -> dict[str, str]:
    """Returns the environment variables for pip, without those that lead it elsewhere."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON")) or name in PIP_SETTINGS_KEPT
    }
    variables.pop("VIRTUAL_ENV", None)
    variables.update(
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_USER="0",  # A pip.conf may say otherwise.
        PYTHONWARNINGS="ignore",  # The build's, on how editable installations will change.
    )
    return variables


def runs(*command: str) -> bool:
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(command, env=environment(), stdout=quiet, stderr=quiet, check=False)
    except OSError:
        return False
    return done.returncode == 0


def create() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    write_state({"state": "installing"})
    print(f"Making .venv with Python {sys.version.split()[0]} ({sys.executable})", flush=True)
    venv.create(VENV, symlinks=True)
    # Not with_pip=True, which hides why ensurepip failed.
    command = [str(PYTHON), "-m", "ensurepip", "--upgrade", "--default-pip"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def install() -> None:
    pip = [str(PYTHON), "-m", "pip"]
    pinned = [*pip, "install", "--quiet", "--constraint", "constraints.txt"]
    print("Installing the pinned dependencies; the first time takes minutes", flush=True)
    for command in (
        [*pinned, "pip", "setuptools", "wheel"],
        # Without isolation, as an isolated build would fetch unpinned build tools.
        [*pinned, "--no-build-isolation", "--editable", ".[dev,train,video,serving,beam]"],
        [*pip, "check"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=environment(), check=False)
        if done.returncode:
            fail(f"this command failed, so .venv is not ready: {' '.join(command)}")


def main() -> None:
    # The lock lets a second `make` wait for the first, and ends with the process.
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)

    wanted, state = wanted_state(), read_state()
    if state == wanted and runs(str(PYTHON), "-m", "pip", "--version"):
        return
    current = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != {wanted['python']!r})"
    usable = runs(str(PYTHON), "-c", current) and runs(str(PYTHON), "-m", "pip", "--version")
    if VENV.exists() and not state and not usable:
        fail(
            f".venv was not made by `make venv` and does not hold a working Python "
            f"{wanted['python']} with pip. Remove it and try again: rm -r .venv"
        )
    moved = state.get("path", str(VENV)) != str(VENV)
    interrupted = state.get("state") == "installing"
    if moved or interrupted or not usable:
        create()
    write_state({"state": "installing"})
    install()
    write_state(wanted)


if __name__ == "__main__":
    main()
