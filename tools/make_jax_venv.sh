#!/bin/sh
# Makes .venv-jax with the pinned jax, or leaves it if it is up to date. It is apart from
# .venv because jax needs NumPy 2, and TensorFlow 2.14 an older one. $1 picks the Python.

set -eu
cd "$(dirname "$0")/.."

python=$(sh tools/find_python.sh "${1:-}" .venv-jax "3.14 3.13 3.12 3.11")
# The pins are copied when all else is done, so an environment without them is unfinished.
if cmp -s constraints-jax.txt .venv-jax/constraints-jax.txt && .venv-jax/bin/python -c ''; then
    exit
fi
echo "Making .venv-jax with $python"
rm -rf .venv-jax
"$python" -I -m venv .venv-jax
.venv-jax/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints-jax.txt jax numpy pillow
cp constraints-jax.txt .venv-jax/
