"""Notebooks are found, executed and summed up; one that fails, or dies, leaves the others be."""

import json
import os

import nbformat
import pytest

from emolib import results, sweep

PARAMETERS = 'CORPUS = "demo"\nENCODER = "wav2vec2-nano"\nSEED = 0'
#: One that works, one that raises, one whose kernel is killed, one with a parameter of its own.
SOURCES = {
    "00_first": (
        PARAMETERS,
        'from emolib import results\nresults.record("00_first", {"seed": SEED, "corpus": CORPUS})',
    ),
    "01_broken": (PARAMETERS, 'print("before")', 'raise KeyError("the\\nreason")', 'print("after")'),
    "02_killed": (PARAMETERS, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
    "03_last": (
        PARAMETERS + "\nDEPTH = 1",
        'from emolib import results\nresults.record("03_last", {"depth": DEPTH})',
    ),
}


def write_notebook(folder, name: str, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of four tiny notebooks, written in another order than they are read in."""
    folder = tmp_path_factory.mktemp("home")
    for name in sorted(SOURCES, reverse=True):
        write_notebook(folder / "notebooks", name, *SOURCES[name])
    write_notebook(folder / "notebooks", "scratch", PARAMETERS)
    (folder / "notebooks" / "README.md").write_text("not a notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_HOME", str(folder))
        patch.setenv("EMOLIB_RUN", "of-the-caller")
        yield folder


@pytest.fixture(scope="module")
def ended(home):
    """What one run of all four gives: its folder, and how each ended."""
    folder, runs = sweep.run({"CORPUS": "nemo", "SEED": 7})
    return folder, {entry.notebook: entry for entry in runs}


def test_notebooks_are_found_in_reading_order(home):
    assert [path.stem for path in sweep.notebooks()] == list(SOURCES)
    assert [path.stem for path in sweep.notebooks(["03", "00_fir"])] == ["00_first", "03_last"]
    assert [path.stem for path in sweep.notebooks(["0"])] == list(SOURCES)


@pytest.mark.parametrize("name", ["07", "scratch", "first"])
def test_a_name_that_fits_none_is_refused(home, name):
    with pytest.raises(ValueError, match=f"no notebook {name}; expected: 00_first, 01_broken"):
        sweep.notebooks(["00", name])


def test_a_home_without_notebooks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="no notebooks in"):
        sweep.run({})


def test_an_unknown_parameter_is_refused_before_anything_runs(home):
    before = sorted((home / "runs").glob("*"))
    with pytest.raises(
        ValueError, match="no notebook has a parameter CORPSE; expected: CORPUS, DEPTH, ENCODER, SEED"
    ):
        sweep.run({"CORPSE": "nemo", "SEED": 1}, ["00"])
    assert sorted((home / "runs").glob("*")) == before


def test_a_failing_notebook_does_not_stop_the_others(ended):
    _, runs = ended
    assert list(runs) == list(SOURCES)
    assert not runs["00_first"].error and not runs["03_last"].error
    assert runs["01_broken"].error.startswith("KeyError: ") and "\n" not in runs["01_broken"].error
    assert runs["02_killed"].error.startswith("DeadKernelError")
    assert all(0 < entry.seconds < 60 for entry in runs.values())


def test_each_notebook_gets_the_parameters_that_it_declares(ended):
    folder, _ = ended
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == {"00_first": {"seed": 7, "corpus": "nemo"}, "03_last": {"depth": 1}}


def test_the_copy_of_a_failing_notebook_holds_its_error(ended):
    folder, _ = ended
    notebook = nbformat.read(folder / "01_broken.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.ename for output in outputs if output.output_type == "error"] == ["KeyError"]
    text = "".join(output.get("text", "") for output in outputs)
    assert "before" in text and "after" not in text


def test_originals_are_left_as_they_were(home, ended):
    for name in SOURCES:
        notebook = nbformat.read(home / "notebooks" / f"{name}.ipynb", as_version=4)
        assert [cell.source for cell in notebook.cells] == list(SOURCES[name])
        assert not any(cell.outputs for cell in notebook.cells)
    assert not (home / "notebooks" / "runs").exists()


def test_the_run_is_named_after_what_was_run_and_is_the_latest(home, ended):
    folder, _ = ended
    assert folder.parent == (home / "runs").resolve() and folder.name.endswith("-nemo")
    assert (home / "runs" / "latest").resolve() == folder
    assert {path.stem for path in folder.glob("*.ipynb")} == set(SOURCES)


def test_the_caller_s_own_run_goes_on(ended):
    assert os.environ["EMOLIB_RUN"] == "of-the-caller"
    assert results.run_folder().name == "of-the-caller"


def test_a_parameter_of_another_notebook_is_left_out(home, monkeypatch):
    monkeypatch.delenv("EMOLIB_RUN")
    folder, [entry] = sweep.run({"DEPTH": 3, "SEED": 2}, ["00"])
    assert not entry.error
    assert json.loads((folder / "results" / "00_first.json").read_text())["seed"] == 2
    assert folder.name.endswith("-default")
    assert "EMOLIB_RUN" not in os.environ


def test_a_parameters_cell_of_any_form_is_understood(home, tmp_path, monkeypatch):
    write_notebook(
        tmp_path / "notebooks", "00_typed", 'CORPUS: str = "demo"  # which\nA, B = 1, 2', "print(1)"
    )
    write_notebook(tmp_path / "notebooks", "01_wrong", "CORPUS = = 1")
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="parameter X; expected: A, B, CORPUS"):
        sweep.run({"X": 1})
