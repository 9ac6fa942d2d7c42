#!/bin/sh
# Makes an environment beside .venv, for packages that cannot live in it, or leaves it if it is
# up to date: the folder in $1, pins in $2, fit Pythons (newest first) in $3, the Python that is
# asked for, if any, in $4, packages after that.

set -eu
cd "$(dirname "$0")/.."

environment=$1 pins=$2 versions=$3 wanted=$4
shift 4
python=$(sh tools/find_python.sh "$wanted" "$environment" "$versions")
# The pins are copied when all else is done, so an environment without them is unfinished.
if cmp -s "$pins" "$environment/$pins" && "$environment/bin/python" -c ''; then
    exit
fi
echo "Making $environment with $python"
rm -rf "$environment"
"$python" -I -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$pins" "$@"
cp "$pins" "$environment/"
