"""Makes the Python of .venv, with the pinned dependencies in it, Bazel's Python."""

_BUILD = """\
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "python",
    interpreter_path = "{interpreter}",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtime",
    py3_runtime = ":python",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtime",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _venv_impl(repository_ctx):
    root = repository_ctx.path(Label("//:WORKSPACE")).dirname
    interpreter = root.get_child(".venv").get_child("bin").get_child("python")
    if not interpreter.exists:
        fail("There is no .venv: run `make venv` first.")
    repository_ctx.file("BUILD", _BUILD.format(interpreter = interpreter))

venv = repository_rule(
    implementation = _venv_impl,
    local = True,
    doc = "A Python toolchain that runs the workspace's .venv.",
)
