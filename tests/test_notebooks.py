"""The notebooks keep to their form, and one run of all of them gives the committed results."""

import ast
import json
import re
from importlib.util import find_spec

import nbformat
import pytest
from checkout import NOTEBOOKS
from samples import run_notebooks

from emolib.encoders import whisper_wheel

ABSOLUTE_PATH = re.compile(r"""[\s'"(](?:/(?:[\w.-]+/){2,}[\w.-]+|[A-Z]:\\\\)""")
OPENING = ("**Question.**", "**Answer.**", "**Reads**", "**Writes**", "**Runtime**")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


#: Every notebook as committed, by name.
PAGES = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}


# ------------------------------------------------------------------------------------- as committed


def test_each_opens_with_a_question_and_ends_with_findings():
    assert PAGES and [name[:2] for name in PAGES] == [f"{i:02d}" for i in range(len(PAGES))]
    for name, notebook in PAGES.items():
        first, last = notebook.cells[0].source, notebook.cells[-1].source
        assert re.match(r"# \d\d .+\?", first), name
        assert [word for word in OPENING if word not in first] == [], name
        assert last.startswith("## Findings and limits") and len(last.split()) > 40, name


def test_each_was_run_from_top_to_bottom_and_its_outputs_are_clean():
    for name, notebook in PAGES.items():
        code = code_of(notebook)
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), name
        outputs = [output for cell in code for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], name
        texts = [{k: v for k, v in o.get("data", o).items() if k != "image/png"} for o in outputs]
        assert not ABSOLUTE_PATH.search(json.dumps(texts)), name
        assert len(json.dumps(notebook)) < 2_000_000, name


def test_cells_are_short_and_plain_imports_come_first_and_parameters_are_literals_with_a_comment():
    late = re.compile(r"^\s*(import|from) |^[%!]", flags=re.M)
    for name, notebook in PAGES.items():
        first, *rest = code_of(notebook)
        assert {type(node) for node in ast.parse(first.source).body} <= {ast.Import, ast.ImportFrom}, name
        assert [cell.source for cell in rest if late.search(cell.source)] == [], name
        [parameters] = [cell for cell in rest if "parameters" in tags(cell)]
        lines, body = parameters.source.splitlines(), ast.parse(parameters.source).body
        for line, node in zip(lines, body, strict=True):
            assert isinstance(node, ast.Assign) and re.fullmatch("[A-Z_]+", node.targets[0].id), (name, line)
            ast.literal_eval(node.value)
            assert "  # " in line, (name, line)
        assert max(len(cell.source.splitlines()) for cell in rest) <= 40, name
        trees = [ast.parse(cell.source) for cell in rest]
        kinds = {type(node) for tree in trees for node in ast.walk(tree)}
        assert not kinds & {ast.ClassDef, ast.Try, ast.With}, name
        assert sum(isinstance(node, ast.FunctionDef) for tree in trees for node in tree.body) <= 3, name


def test_the_last_cell_is_compared_and_results_are_recorded_and_shown():
    for name, notebook in PAGES.items():
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


#: The one result that needs the default encoder's network where no corpus has audio.
PLAYED = "ridge_l1_demo"
#: Startup code of a kernel on a machine that lacks the default encoder's network.
NO_NETWORK = """
from emolib import encoders, paths
locate = encoders.locate
encoders.locate = lambda name: None if name == paths.DEFAULT_ENCODER else locate(name)
"""


@pytest.mark.slow
def test_without_the_encoder_s_network_the_mapper_s_page_says_so_and_takes_its_rival(tmp_path):
    """The other pages read no frames of it where a corpus has no audio."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "10-no-network.py").write_text(NO_NETWORK)
    run = run_notebooks(tmp_path, "03")
    page = nbformat.read(next((run / "runs").rglob("03_*.ipynb")), as_version=4)
    told = "".join(output.get("text", "") for cell in code_of(page) for output in cell.outputs)
    assert "is not on this machine" in told and "Sections 1 and 4 take wav2vec2-nano" in told
    [committed] = [notebook for name, notebook in PAGES.items() if name.startswith("03")]
    assert {row.split()[0] for row in rows(page) ^ rows(committed)} == {PLAYED}


def rows(notebook) -> set[str]:
    """Return the rows of the outputs that a notebook's tags ask to compare."""
    checked = [cell for cell in code_of(notebook) if "nbval-check-output" in tags(cell)]
    texts = [
        output.get("text") or output.data["text/plain"]
        for cell in checked
        for output in cell.outputs
        if output.output_type != "display_data"
    ]
    return {" ".join(line.split()) for text in texts for line in text.splitlines()}


def test_every_notebook_runs_to_its_end_and_every_result_is_the_committed_one(pages):
    """Each within its own tolerance, although the run's features are all changed by one last bit."""
    differ = {}
    for name, notebook in PAGES.items():
        outputs = [output for cell in code_of(pages[name]) for output in cell.outputs]
        errors = [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]
        committed, found = rows(notebook), rows(pages[name])
        assert committed, name
        if not find_spec(whisper_wheel.WHEEL):
            committed, found = ({row for row in some if PLAYED not in row} for some in (committed, found))
        differ |= {name: errors or sorted(found ^ committed)} if errors or found != committed else {}
    assert differ == {}


def test_the_run_records_what_the_pages_show(executed, pages):
    summary = json.loads((executed / "runs" / "latest" / "summary.json").read_text())
    assert set(summary) == set(pages) and all(summary.values())
    figures = {path.name for path in (executed / "figures").rglob("*.png")}
    committed = {path.name for path in (NOTEBOOKS[0].parents[1] / "figures").glob("*.png")}
    assert committed <= figures
