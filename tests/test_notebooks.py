"""The notebooks keep to their form, as committed; nbval runs them and compares their results."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"""[\s'"(](?:/(?:[\w.-]+/){2,}[\w.-]+|[A-Z]:\\\\)""")


def _tags(cell):
    return cell.metadata.get("tags", [])


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{i:02d}" for i in range(len(NOTEBOOKS))]


def test_it_opens_with_a_question_and_ends_with_findings(notebook):
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert re.match(r"# \d\d .+\?", first)
    for word in ("**Question.**", "**Answer.**", "**Reads**", "**Writes**", "**Runtime**"):
        assert word in first
    assert last.startswith("## Findings and limits") and len(last.split()) > 40


def test_it_was_run_from_top_to_bottom(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_outputs_are_clean(notebook, code):
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    text = json.dumps([{k: v for k, v in o.get("data", o).items() if k != "image/png"} for o in outputs])
    assert not ABSOLUTE_PATH.search(text)
    assert len(json.dumps(notebook)) < 2_000_000


def test_imports_stand_in_the_first_cell_alone(code):
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(code[0].source).body)
    for cell in code[1:]:
        assert not re.search(r"^\s*(import|from) |^[%!]", cell.source, flags=re.M)


def test_parameters_are_literals_with_a_comment(code):
    (cell,) = [cell for cell in code if "parameters" in _tags(cell)]
    for line, node in zip(cell.source.splitlines(), ast.parse(cell.source).body, strict=True):
        assert isinstance(node, ast.Assign) and re.fullmatch("[A-Z_]+", node.targets[0].id)
        ast.literal_eval(node.value)
        assert "  # " in line


def test_cells_are_short_and_plain(code):
    for cell in code:
        assert len(cell.source.splitlines()) <= 40
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.ClassDef, ast.Try, ast.With}
    functions = [
        node for cell in code for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) <= 3


def test_the_last_cell_is_checked_and_results_are_recorded_and_shown(code):
    assert "nbval-check-output" in _tags(code[-1])
    [recording] = [cell for cell in code if "results.record(" in cell.source]
    assert recording in code[-2:]
    for cell in {id(cell): cell for cell in (recording, code[-1])}.values():
        assert any("text/plain" in output.get("data", {}) for output in cell.outputs)
