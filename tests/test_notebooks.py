"""The notebooks keep to their form, and one run of all of them gives the committed results."""

import ast
import json
import re

import nbformat
import pytest
from checkout import NOTEBOOKS
from samples import run_notebooks

ABSOLUTE_PATH = re.compile(r"""[\s'"(](?:/(?:[\w.-]+/){2,}[\w.-]+|[A-Z]:\\\\)""")
OPENING = ("**Question.**", "**Answer.**", "**Reads**", "**Writes**", "**Runtime**")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def each_page():
    """Yield every notebook as committed, by name."""
    for path in NOTEBOOKS:
        yield path.stem, nbformat.read(path, as_version=4)


def test_there_are_notebooks_in_order():
    assert NOTEBOOKS and [path.stem[:2] for path in NOTEBOOKS] == [f"{i:02d}" for i in range(len(NOTEBOOKS))]


# ------------------------------------------------------------------------------------- as committed


def test_each_opens_with_a_question_and_ends_with_findings():
    for name, notebook in each_page():
        first, last = notebook.cells[0].source, notebook.cells[-1].source
        assert re.match(r"# \d\d .+\?", first), name
        assert [word for word in OPENING if word not in first] == [], name
        assert last.startswith("## Findings and limits") and len(last.split()) > 40, name


def test_each_was_run_from_top_to_bottom_and_its_outputs_are_clean():
    for name, notebook in each_page():
        code = code_of(notebook)
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), name
        outputs = [output for cell in code for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], name
        texts = [{k: v for k, v in o.get("data", o).items() if k != "image/png"} for o in outputs]
        assert not ABSOLUTE_PATH.search(json.dumps(texts)), name
        assert len(json.dumps(notebook)) < 2_000_000, name


def test_imports_come_first_and_parameters_are_literals_with_a_comment():
    for name, notebook in each_page():
        first, *rest = code_of(notebook)
        assert {type(node) for node in ast.parse(first.source).body} <= {ast.Import, ast.ImportFrom}, name
        late = re.compile(r"^\s*(import|from) |^[%!]", flags=re.M)
        assert [cell.source for cell in rest if late.search(cell.source)] == [], name
        [parameters] = [cell for cell in rest if "parameters" in tags(cell)]
        lines, body = parameters.source.splitlines(), ast.parse(parameters.source).body
        for line, node in zip(lines, body, strict=True):
            assert isinstance(node, ast.Assign) and re.fullmatch("[A-Z_]+", node.targets[0].id), (name, line)
            ast.literal_eval(node.value)
            assert "  # " in line, (name, line)


def test_cells_are_short_and_plain():
    for name, notebook in each_page():
        trees = [ast.parse(cell.source) for cell in code_of(notebook)]
        assert max(len(cell.source.splitlines()) for cell in code_of(notebook)) <= 40, name
        kinds = {type(node) for tree in trees for node in ast.walk(tree)}
        assert not kinds & {ast.ClassDef, ast.Try, ast.With}, name
        functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert len(functions) <= 3, name


def test_the_last_cell_is_compared_and_results_are_recorded_and_shown():
    for name, notebook in each_page():
        code = code_of(notebook)
        assert "nbval-check-output" in tags(code[-1]) and "results.compare(" in code[-1].source, name
        [recording] = [cell for cell in code if "results.record(" in cell.source]
        assert recording in code[-2:], name
        for cell in (recording, code[-1]):
            assert any("text/plain" in output.get("data", {}) for output in cell.outputs), name


# ------------------------------------------------------------------------------------- as executed


@pytest.fixture(scope="module")
def pages(executed) -> dict:
    """Return the executed notebooks, by name."""
    found = sorted((executed / "runs" / "latest").glob("*.ipynb"))
    log = (executed / "run.log").read_text()
    assert [path.name for path in found] == [path.name for path in NOTEBOOKS], log
    return {path.stem: nbformat.read(path, as_version=4) for path in found}


@pytest.mark.long
def test_every_notebook_runs_on_a_corpus_with_its_audio(tmp_path):
    log = (run_notebooks(tmp_path, "--corpus", "demo") / "run.log").read_text()
    assert log.count("  ok\n") == len(NOTEBOOKS), log


def test_every_notebook_runs_to_its_end(pages):
    errors = {
        name: f"{output.ename}: {output.evalue}"
        for name, page in pages.items()
        for cell in code_of(page)
        for output in cell.outputs
        if output.output_type == "error"
    }
    assert errors == {}
    assert [name for name, page in pages.items() if code_of(page)[-1].execution_count is None] == []


def compared(notebook) -> list[str]:
    """Return the text of the outputs that a notebook's tags ask to compare."""
    checked = [cell for cell in code_of(notebook) if "nbval-check-output" in tags(cell)]
    return [
        output.get("text") or output.data["text/plain"]
        for cell in checked
        for output in cell.outputs
        if output.output_type != "display_data"
    ]


def test_every_result_is_the_committed_one(pages):
    """Each within its own tolerance, although the run's features are all changed by one last bit."""
    differ = {}
    for name, notebook in each_page():
        committed, found = "\n".join(compared(notebook)), "\n".join(compared(pages[name]))
        assert committed, name
        lines = set(found.splitlines()) - set(committed.splitlines())
        differ |= {name: sorted(lines) or "lines are missing"} if found != committed else {}
    assert differ == {}


def test_the_run_records_what_the_pages_show(executed, pages):
    summary = json.loads((executed / "runs" / "latest" / "summary.json").read_text())
    assert set(summary) == set(pages) and all(summary.values())
    figures = {path.name for path in (executed / "figures").rglob("*.png")}
    committed = {path.name for path in (NOTEBOOKS[0].parents[1] / "figures").glob("*.png")}
    assert committed <= figures
