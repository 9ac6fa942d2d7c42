"""Notebooks are complete, have current outputs, and run."""

from __future__ import annotations

import ast
import json
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def _cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _text(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_text_figures_and_exercises_with_solutions(path):
    cells = _cells(path)
    assert 10 <= len(cells) <= 25 and path.stat().st_size < 2**20
    text = "\n".join(_text(cell) for cell in cells if cell["cell_type"] == "markdown")
    assert text.startswith("# ") and text.count("<details><summary>Solution") >= 2
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not [output for output in outputs if output["output_type"] == "error"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_the_public_interface_and_check_the_runtime(path):
    code = [_text(cell) for cell in _cells(path) if cell["cell_type"] == "code"]
    assert "sys.version_info" in code[0]
    for node in ast.walk(ast.parse("\n".join(code))):
        names = getattr(node, "names", [])
        module = getattr(node, "module", None) or ""
        assert not any(alias.name.startswith("_") for alias in names), module
        assert not (isinstance(node, ast.Attribute) and node.attr.startswith("_")), node.attr


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_with_short_trainings(path):
    nbclient = pytest.importorskip("nbclient", reason="needs the extra notebooks")
    import nbformat

    notebook = nbformat.read(path, 4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.source, count = re.subn(r"^STEPS = \d+", "STEPS = 40", code.source, flags=re.M)
    assert count == 1
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
