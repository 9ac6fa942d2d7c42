#!/bin/sh
# Prints the path of a Python that tfc-models runs on: $1 if it is given, or else that of
# .venv, or else the newest fit one on the PATH or among pyenv's, or else one that uv fetches, if
# uv is installed. Each candidate is run to see whether it is fit: pyenv has a shim for every
# version there is, and most of them fail.
# For another environment: its folder in $2, and the versions that are fit, newest first,
# in $3.

unset PYTHONHOME PYTHONPATH

environment=${2:-.venv}
versions=${3:-3.11 3.10 3.9}
# For a sentence: oldest first, "3.9, 3.10 or 3.11".
wanted=
for version in $versions; do
    case $wanted in
    '') wanted=$version ;;
    *or*) wanted="$version, $wanted" ;;
    *) wanted="$version or $wanted" ;;
    esac
done
newest=${versions%% *}

# Prints "3.11 ready /real/path" or "3.11 without-venv /real/path". In a virtual environment
# the real path is the Python below it, since an environment can be removed at any time.
describe() {
    "$1" -c '
import sys
try:
    import ensurepip, venv
    state = "ready"
except ImportError:
    state = "without-venv"
path = getattr(sys, "_base_executable", None) or sys.executable
print("%d.%d %s %s" % (sys.version_info[0], sys.version_info[1], state, path))
' 2>/dev/null
}

fits() {
    case " $versions " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

# Sets version, state and path from what describe printed.
parse() {
    version=${1%% *}
    rest=${1#* }
    state=${rest%% *}
    path=${rest#* }
}

fail() {
    echo "error: $1" >&2
    exit 1
}

without_venv() {
    fail "$1 cannot make virtual environments: it has no ensurepip. Install it (on Debian and Ubuntu: apt install python$2-venv), or name another Python: make PYTHON=/path/to/python$newest …"
}

if [ -n "${1:-}" ]; then
    description=$(describe "$1") || fail "PYTHON=$1 does not run."
    parse "$description"
    fits "$version" || fail "$environment needs Python $wanted; PYTHON=$1 is $version."
    [ "$state" = ready ] || without_venv "$1" "$version"
    echo "$path"
    exit
fi

# Every directory of the PATH is tried, because a broken shim may hide a Python that works.
candidates() {
    echo "$environment/bin/python"
    for name in $(IFS=' '; for version in $versions; do echo "python$version"; done) python3 python; do
        (
            IFS=:
            for directory in $PATH; do
                echo "$directory/$name"
            done
        )
        case $name in
        python3.*)
            for candidate in "${PYENV_ROOT:-$HOME/.pyenv}/versions/${name#python}".*/bin/"$name"; do
                echo "$candidate"
            done
            ;;
        esac
    done
}

found=
incomplete=
newline='
'
IFS=$newline
for candidate in $(candidates); do
    [ -x "$candidate" ] || continue
    description=$(describe "$candidate") || continue
    parse "$description"
    if ! fits "$version"; then
        case "$found," in
        *" $version,"*) ;;
        *) found="${found:+$found, }${candidate##*/} $version" ;;
        esac
    elif [ "$state" = ready ]; then
        echo "$path"
        exit
    elif [ -z "$incomplete" ]; then
        incomplete=$candidate
        incomplete_version=$version
    fi
done
# uv keeps Pythons of its own, and fetches one (checked against its hash) if none fits.
if command -v uv >/dev/null 2>&1; then
    uv python find --managed-python "$newest" 2>/dev/null && exit
    echo "Fetching Python $newest with uv" >&2
    uv python install "$newest" >&2 && uv python find --managed-python "$newest" && exit
fi
[ -z "$incomplete" ] || without_venv "$incomplete" "$incomplete_version"
fail "$environment needs Python $wanted; found ${found:-no Python}. Install one or uv, which fetches it, or name one: make PYTHON=/path/to/python$newest …"
