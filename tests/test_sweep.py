"""Notebooks are found, executed and summed up; one that fails, or dies, leaves the others be."""

import json
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from checkout import ROOT, tracked
from samples import refused, write_notebook
from typer.testing import CliRunner

from emolib import paths, results, sweep, threads
from emolib.cli import app
from emolib.files import locked
from emolib.sweep import grid as grids

PARAMETERS = 'CORPUS = "demo"\nENCODER = "wav2vec2-nano"\nSEED = 0'
#: Waits for another that does the same, and records who was there, what it was given and what its kernel has.
MEETING = """import os, time
from emolib import results
met = results.run_folder() / "met"
met.mkdir(exist_ok=True)
(met / "NAME").touch()
deadline = time.monotonic() + 60
while len(list(met.iterdir())) < 2 and time.monotonic() < deadline:
    time.sleep(0.02)
kernel = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "EMOLIB_JOBS")}
given = {"seed": SEED, "corpus": CORPUS, "depth": globals().get("DEPTH")}
results.record("NAME", given | kernel | {"met": len(list(met.iterdir()))})
"""
#: Reports on the others: how many of them have results.
READER = """from emolib import results
results.record("04_all", {"n": len(list(results.run_folder().glob("results/0[0-3]*")))})"""
#: Two that meet, of which one has a parameter of its own; one that raises, one that is killed, and a report.
SOURCES = {
    "00_first": (PARAMETERS, MEETING.replace("NAME", "00_first")),
    "01_broken": (PARAMETERS, 'print("before")', 'raise KeyError("the\\nreason")', 'print("after")'),
    "02_killed": (PARAMETERS, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
    "03_last": (f"{PARAMETERS}\nDEPTH = 1", MEETING.replace("NAME", "03_last")),
    "04_all": ('RUNS = ""', READER),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of five tiny notebooks, written in another order than they are read in."""
    folder = tmp_path_factory.mktemp("home")
    for name in sorted(SOURCES, reverse=True):
        write_notebook(folder, name, *SOURCES[name])
    write_notebook(folder, "scratch", PARAMETERS)
    (folder / "notebooks" / "README.md").write_text("not a notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_HOME", str(folder))
        patch.setenv("EMOLIB_RUN", "of-the-caller")
        yield folder


def test_notebooks_are_found_in_reading_order(home, tmp_path, monkeypatch):
    assert [path.stem for path in sweep.notebooks()] == list(SOURCES)
    assert [path.stem for path in sweep.notebooks(["03", "00_fir"])] == ["00_first", "03_last"]
    for name in ("07", "scratch", "first"):
        refused(f"no notebook {name}; expected: 00_first, 01_broken", sweep.notebooks, ["00", name])
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    refused("no notebooks in", sweep.run, {})


def test_notebooks_go_side_by_side_whatever_ends_badly_and_a_report_comes_last(home, monkeypatch, capfd):
    monkeypatch.setenv("EMOLIB_JOBS", "5")
    for name in threads.KERNEL:
        monkeypatch.delenv(name, raising=False)
    folder, ended = sweep.run({"CORPUS": "nemo", "SEED": 7, "DEPTH": 4}, jobs=2)
    errors = {entry.notebook: entry.error for entry in ended}
    assert list(errors) == list(SOURCES) and all(0 < entry.seconds < 60 for entry in ended)
    assert errors["00_first"] == errors["03_last"] == errors["04_all"] == ""
    assert errors["01_broken"].startswith("KeyError: ") and "\n" not in errors["01_broken"]
    assert errors["02_killed"].startswith("DeadKernelError")
    shown = [line.split() for line in capfd.readouterr().err.splitlines() if line.startswith("[")]
    assert [line[0] for line in shown] == [f"[{n}/5]" for n in range(1, 6)] and shown[-1][1] == "04_all"

    both = {"met": 2, "seed": 7, "corpus": "nemo", "depth": None}
    both |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "EMOLIB_JOBS": "2"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == {"00_first": both, "03_last": both | {"depth": 4}, "04_all": {"n": 2}}
    outputs = outputs_of(folder / "01_broken.ipynb")
    assert [output.ename for output in outputs if output.output_type == "error"] == ["KeyError"]
    text = "".join(output.get("text", "") for output in outputs)
    assert "before" in text and "after" not in text
    for name, sources in SOURCES.items():  # which stay as they were
        notebook = nbformat.read(home / "notebooks" / f"{name}.ipynb", as_version=4)
        assert [cell.source for cell in notebook.cells] == list(sources)
        assert not outputs_of(home / "notebooks" / f"{name}.ipynb")

    assert folder.parent == (home / "runs").resolve() and folder.name.endswith("-nemo")
    assert (home / "runs" / "latest").resolve() == folder
    assert {path.stem for path in folder.glob("*.ipynb")} == set(SOURCES)
    assert results.run_folder().name == "of-the-caller", "whose own run goes on"


def outputs_of(path: Path) -> list:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


# ------------------------------------------------------------------------------------- parameters


def test_a_parameter_that_does_not_fit_is_refused_before_anything_runs(home):
    before = sorted((home / "runs").glob("*"))
    for given, message in (
        ({"CORPSE": "x"}, r"parameter CORPSE \(did you mean 'CORPUS'\?\); expected: CORPUS, D"),
        ({"seed": 1}, "did you mean 'SEED'"),
        ({"SEED": "7"}, "SEED='7' is text; expected a whole number, such as 0 in 00_first"),
        ({"SEED": 1.5}, "SEED=1.5 is a number; expected a whole number"),
        ({"SEED": True}, "SEED=True is true or false; expected a whole number"),
        ({"CORPUS": 3}, "CORPUS=3 is a whole number; expected text"),
        ({"CORPUS": None}, "CORPUS=None is empty; expected text"),
    ):
        refused(message, sweep.run, given, ["00"])
    assert sorted((home / "runs").glob("*")) == before


def test_a_parameters_cell_of_any_form_is_understood(tmp_path):
    cell = 'CORPUS: str = "demo"  # which\nA, B = 1, 2\nRATE = 0.5\nFLAG = False\nOTHER = str(1)'
    write_notebook(tmp_path, "00_typed", cell)
    write_notebook(tmp_path, "01_wrong", "CORPUS = = 1")
    folder = tmp_path / "notebooks"
    known = {name: sweep.declared(folder / f"{name}.ipynb") for name in ("00_typed", "01_wrong")}
    assert set(known["00_typed"]) == {"CORPUS", "A", "B", "RATE", "FLAG", "OTHER"} and not known["01_wrong"]
    sweep.check({"RATE": 1, "FLAG": True, "OTHER": 3}, known)  # a number may be whole
    for wrong in ({"RATE": True}, {"FLAG": 1}, {"RATE": "1"}, {"OTHER": [1]}):
        refused("expected", sweep.check, wrong, known)
    read = sweep.from_text(["RATE=2", "FLAG=true", "OTHER=a=b"], known)
    assert read == {"RATE": 2.0, "FLAG": True, "OTHER": "a=b"}
    for wrong in ("RATE", "RATE=x", "FLAG=1"):
        refused("expected", sweep.from_text, [wrong], known)
    for content in ("", "{", "[]", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'):
        (folder / "00_torn.ipynb").write_text(content)
        refused(r"00_torn\.ipynb is no notebook", sweep.declared, folder / "00_torn.ipynb")


# ------------------------------------------------------------------------------------- grids


def grid_of(folder, text: str) -> sweep.Grid:
    path = folder / "seeds.yaml"
    path.write_text(text)
    return sweep.read_grid(path)


def test_axes_are_multiplied_cells_left_out_and_added(home, tmp_path):
    grid = grid_of(
        tmp_path,
        """
        notebooks: [00, "03"]   # 00 without quotes is YAML's number 0
        parameters: {ENCODER: logmel}
        axes:
          CORPUS: [demo, nemo]
          SEED: [0, 1]
        exclude: [{CORPUS: nemo, SEED: 1}]
        include: [{CORPUS: nemo, SEED: 7}, {CORPUS: demo, SEED: 0, DEPTH: 3}, {CORPUS: demo, SEED: 0}]
        """,
    )
    assert grid.name == "seeds" and [path.stem for path in grid.notebooks] == ["00_first", "03_last"]
    names = list(grid.cells)
    assert names[:4] == ["demo_seed0", "demo_seed1", "nemo_seed0", "nemo_seed7"]
    assert len(names) == 5 and names[4].startswith("demo_seed0_depth3_")
    assert grid.cells["nemo_seed7"] == {"ENCODER": "logmel", "CORPUS": "nemo", "SEED": 7}


def test_a_cell_keeps_its_name_when_the_grid_grows(home, tmp_path):
    small = grid_of(tmp_path, '{"axes": {"SEED": [0], "ENCODER": ["a/b"]}}')  # JSON
    large = grid_of(tmp_path, "axes: {SEED: [0, 1], ENCODER: [a/b, a--b, x]}\ninclude: [{SEED: 5, DEPTH: 2}]")
    assert set(small.cells) < set(large.cells) and len(large.cells) == 7


def test_paths_start_from_the_grid_s_folder(tmp_path, monkeypatch):
    write_notebook(tmp_path, "00_table", 'CORPUS = "demo"\nTABLE = ""\nROOT = ""')
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    grid = grid_of(tmp_path, "parameters: {CORPUS: folder}\naxes: {TABLE: [a/one.csv, 's3://b/two.csv', '']}")
    tables = [cell["TABLE"] for cell in grid.cells.values()]
    assert tables == [str(tmp_path / "a" / "one.csv"), "s3://b/two.csv", ""]
    assert next(iter(grid.cells)).startswith("one_") and len(grid.cells) == 3


def test_an_unfit_grid_is_refused_in_one_sentence(home, tmp_path):
    many = list(range(200))
    for text, message in {
        "": "not a grid",
        "axes: {SEED: [0]}\naxes: {SEED: [1]}": "'axes' stands twice",
        "axes: {1: [0]}": "1 is not a word",
        "axis: {SEED: [0]}": r"unknown key 'axis' \(did you mean 'axes'\?\)",
        "axes: {SEED: 0}": "axis SEED is 0; expected a list",
        "axes: {SEED: []}": "axis SEED is .*; expected a list",
        "axes: {SEED: [[1]]}": r"SEED=\[1\] is a list; expected a whole number",
        "axes: {SEED: ['0']}": "SEED='0' is text; expected a whole number",
        "axes: {SEED: [.inf]}": "SEED=inf is a number; expected a whole number",
        "axes: {SEEDS: [0]}": r"no notebook has a parameter SEEDS \(did you mean 'SEED'\?\)",
        "axes: {CORPUS: [nemmo]}": r"unknown corpus 'nemmo' \(did you mean 'nemo'\?\)",
        "axes: {SEED: [0]}\nparameters: {SEED: 1}": "SEED stands both",
        "axes: {SEED: [0]}\nexclude: [{SEED: 0}]": "every one is excluded",
        "axes: {SEED: [0]}\nexclude: [{SED: 0}]": r"exclude names SED \(did you mean 'SEED'\?\)",
        "axes: {SEED: [0]}\nexclude: {SEED: 0}": "expected a list of mappings",
        "axes: {SEED: [0]}\nexclude: [{SEED: '0'}]": "SEED='0' is text",
        "axes: {SEED: [0]}\nnotebooks: ['09']": "no notebook 09",
        "axes: {SEED: [0]}\nnotebooks: 01": "notebooks is 1; expected a list",
        "axes: {SEED: [0]}\nname: a/b": "name 'a/b'; expected letters",
        "axes: !!python/object/apply:os.system ['true']": "not readable as YAML",
        "axes: [": "not readable as YAML",
        "[" * 5000: "not readable as YAML",
        f"axes: {{SEED: {many}, DEPTH: {many}, ENCODER: {many}}}": "8000000 cells; expected at most 10000",
    }.items():
        with pytest.raises(ValueError, match=message) as refusal:
            grid_of(tmp_path, text)
        assert "\n" not in str(refusal.value) and "seeds.yaml" in str(refusal.value)
    with pytest.raises(FileNotFoundError, match="no such grid"):
        sweep.read_grid(tmp_path / "absent.yaml")


# ------------------------------------------------------------------------------------- sweeps


ONE = """from emolib import results
open(LOG, "a").write("x")
results.record("00_one", {"seed": SEED, "corpus": CORPUS})"""
TWO = """import os
from emolib import paths, results
assert SEED == 0 or os.path.exists(LOG + ".mended"), "it is broken"
if "/" in os.environ["EMOLIB_RUN"]:
    assert paths.gallery("nemo", "x").parts[-2:] == (f"seed{SEED}", "figures")
results.record("01_two", {"twice": 2 * SEED})"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A home of two notebooks, of which the second fails as long as a file is not there."""
    own = f'CORPUS = "demo"\nSEED = 0\nLOG = "{tmp_path / "log"}"'
    write_notebook(tmp_path, "00_one", own, ONE)
    write_notebook(tmp_path, "01_two", own, TWO)
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    return tmp_path


def test_a_sweep_loses_nothing_and_repeats_nothing_but_reports_on_what_changed(lab):
    write_notebook(lab, "04_all", 'RUNS = ""', READER)
    grid, command = grid_of(lab, "axes: {SEED: [0, 1]}"), ["sweep", str(lab / "seeds.yaml"), "--json"]
    first = CliRunner().invoke(app, [*command, "--jobs", "2"])
    last = json.loads(first.stdout.strip().splitlines()[-1])
    summary = Path(last.pop("summary"))
    assert first.exit_code == 1 and last.pop("seconds") > 0
    assert last == {"cells": 2, "done": 1, "skipped": 0, "failed": 1}
    assert (lab / "log").read_text() == "xx"
    shown = [line for line in first.stderr.splitlines() if line.startswith("[")]
    assert len(shown) == 6 and " left" in shown[0] and " left" not in shown[5]
    assert "AssertionError: it is broken" in summary.with_suffix(".md").read_text()
    broken = summary.parent / "seed1"
    assert any(output.output_type == "error" for output in outputs_of(broken / "01_two.ipynb"))
    assert not (broken / "results" / "01_two.json").exists()
    assert json.loads((broken / "results" / "04_all.json").read_text()) == {"n": 1}

    (lab / "log.mended").touch()
    second = sweep.run_grid(grid)
    assert second.count() == {"cells": 2, "done": 1, "skipped": 1, "failed": 0}
    assert [entry.skipped for entry in second.cells["seed1"]] == [True, False, False]
    assert (lab / "log").read_text() == "xx", "what was done is not done again"
    found = json.loads(summary.read_text())["seed1"]
    assert found == {"00_one": {"seed": 1, "corpus": "demo"}, "01_two": {"twice": 2}, "04_all": {"n": 2}}
    plan = json.loads((summary.parent / "sweep.json").read_text())
    assert plan["cells"] == grid.cells and plan["defaults"]["00_one"] == {"CORPUS": "demo"}
    again = sweep.run_grid(grid_of(lab, "axes: {SEED: [0]}"))
    assert again.count()["skipped"] == 1 and again.outdated == ["seed1"]


def test_a_kernel_that_lost_its_ports_is_started_again(lab, monkeypatch):
    import papermill

    executed, asked, copy = papermill.execute_notebook, [], lab / "copy.ipynb"

    def execute(*args, **options):
        asked.append(args)
        if len(asked) <= n_failures:
            raise RuntimeError("Kernel died before replying")
        return executed(*args, **options)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    for n_failures, expected in ((sweep.STARTS, "RuntimeError: Kernel died before replying"), (1, "")):
        asked.clear()
        error = sweep.execute(str(lab / "notebooks" / "00_one.ipynb"), str(copy), {"SEED": 1})
        assert error == expected and len(asked) == min(n_failures + 1, sweep.STARTS)
    assert copy.is_file() and (lab / "log").read_text() == "x"


def test_the_key_follows_code_parameters_and_inputs_alone(lab, monkeypatch):
    path, table, wave = lab / "notebooks" / "00_one.ipynb", lab / "t.csv", lab / "a.wav"
    table.write_text("path,speaker,emotion\na.wav,1,calm\n")
    wave.write_bytes(b"sound")
    given = {"SEED": 1, "TABLE": str(table)}
    config = lab / "models" / "mine" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")

    def key(**other: object) -> str:
        for looked_at in (grids.cells, grids.folder_digest, grids._table):
            looked_at.cache_clear()
        return sweep.notebook_key(path, given | other)

    keys = [key(), key(SEED=2), key(TABLE="", ENCODER="mine")]
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1]["outputs"] = [nbformat.v4.new_output("stream", text="seen")]
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose"))
    nbformat.write(notebook, path)
    assert key() == keys[0]
    config.write_text("[]")
    keys.append(key(TABLE="", ENCODER="mine"))
    wave.write_bytes(b"longer sound")
    keys.append(key())
    table.write_text("path,speaker,emotion\na.wav,1,angry\n")
    keys.append(key())
    notebook.cells[1]["source"] += "\nprint(1)"
    nbformat.write(notebook, path)
    keys.append(key())
    monkeypatch.setattr(grids, "__version__", "9.9")
    keys.append(key())
    assert len(keys) == len(set(keys)) == 8


def test_every_model_that_is_shipped_counts_and_its_card_does_not(tmp_path):
    weights = [path.relative_to(ROOT) for path in tracked() if path.suffix == ".safetensors"]
    shipped = {path.parts[1] for path in weights if path.parts[0] == "models"}
    assert shipped and shipped <= set(grids.UNNAMED)
    (tmp_path / "config.json").write_text("{}")
    before = grids.folder_digest(tmp_path, content=True)
    (tmp_path / "README.md").write_text("a card")
    grids.look_again()
    assert grids.folder_digest(tmp_path, content=True) == before != ""


def test_one_sweep_at_a_time(lab):
    grid = grid_of(lab, "axes: {SEED: [0]}")
    (lab / "runs" / "sweep-seeds").mkdir(parents=True)
    with locked(lab / "runs" / "sweep-seeds"), pytest.raises(ValueError, match="executed by another process"):
        sweep.run_grid(grid)
    jobs = [["run", "--jobs", "0"], ["sweep", str(lab / "seeds.yaml"), "--jobs", "0"]]
    for words in (["sweep", "absent.yaml"], ["run", "--set", "SEDD=1"], *jobs):
        assert CliRunner().invoke(app, words).exit_code == 2


def break_off(blow: int, reached: Callable[[], bool], *words: str) -> int:
    """Start a command, strike it once it has come so far, and return its exit code: no kernel outlives it.

    It heeds Ctrl-C, as a shell's background job, and so what it starts, would not.
    """
    command = [sys.executable, "-c", "from emolib.cli import app; app()", *words]
    process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while not reached():
        assert process.poll() is None
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(blow)
    code = process.wait(20)
    _, living = psutil.wait_procs(started, 20)
    assert started and not living
    return code


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_broken_off_sweep_goes_on_and_leaves_no_process(lab, blow):
    slow = 'import time\nfrom emolib import results\nresults.record("00_one", {"seed": SEED})\n'
    write_notebook(lab, "00_one", "SEED = 0", slow + "time.sleep(60 if SEED == 1 else 0)")
    (lab / "notebooks" / "01_two.ipynb").unlink()
    (lab / "slow.yaml").write_text("axes: {SEED: [0, 1]}")
    reached = lab / "runs" / "sweep-slow" / "seed1" / "results" / "00_one.json"
    code = break_off(blow, reached.exists, "sweep", str(lab / "slow.yaml"))
    assert code == (-signal.SIGKILL if blow == signal.SIGKILL else 130)
    grid = sweep.read_grid(lab / "slow.yaml")
    assert [path.parent.parent.name for path in lab.glob("runs/*/*/done/*.json")] == ["seed0"]
    assert reached.exists(), "which without a stamp counts for nothing"
    write_notebook(lab, "00_one", "SEED = 0", slow)
    assert sweep.run_grid(grid).count()["failed"] == 0


def test_so_many_go_at_once_as_there_are_cores_and_memory_for(home, monkeypatch):
    memory = types.SimpleNamespace()
    monkeypatch.setattr(sweep.psutil, "virtual_memory", lambda: memory)
    for cores, gigabytes, gpus, device, expected in (
        (1, 64, [], "auto", 1), (3, 64, [], "auto", 3), (64, 64, [], "auto", 4), (64, 5, [], "auto", 2),
        (64, 1, [], "auto", 1), (64, 64, ["0"], "auto", 1), (64, 64, ["0"], "cpu", 4),
    ):  # fmt: skip
        monkeypatch.setenv("EMOLIB_JOBS", str(cores))
        monkeypatch.setattr(sweep.scheduling, "visible_gpus", lambda found=gpus: found)
        memory.available = gigabytes << 30
        assert sweep._at_once({"DEVICE": device}) == expected
    order = sweep.long_ones_early([Path(f"{n:02d}_x.ipynb") for n in range(8)])
    assert [path.stem[:2] for path in order] == ["00", *sweep.LONG, "02"]
    assert sweep.long_ones_early([]) == []


def test_a_run_that_is_broken_off_goes_on_and_leaves_no_process(lab):
    """Of two notebooks at once, one is done when Ctrl-C comes: the same command does the other."""
    waiting = "import time\nfrom pathlib import Path\nPath(LOG + '.waits').touch()\n"
    waiting += "time.sleep(0 if Path(LOG + '.mended').exists() else 60)"
    given = f'{PARAMETERS}\nPROFILE = "quick"\nDEVICE = "auto"\nLOG = "{lab / "log"}"'
    write_notebook(lab, "01_two", given, waiting)

    def one_is_done() -> bool:
        return bool(list(lab.glob("runs/*/done/00_one.json"))) and (lab / "log.waits").exists()

    assert break_off(signal.SIGINT, one_is_done, "run", "--jobs", "2") == 130
    (lab / "log.mended").touch()
    again = CliRunner().invoke(app, ["run", "--jobs", "2"])
    assert again.exit_code == 0 and "done before" in again.stdout
    assert len(list(lab.glob("runs/2*"))) == 1 and (lab / "log").read_text() == "x"


def test_a_run_takes_over_what_an_earlier_one_did_of_the_same(lab):
    first, ended = sweep.run({"SEED": 1}, ["00"], fresh=True)
    assert not ended[0].skipped
    second, ended = sweep.run({"SEED": 1}, ["00"])
    assert second != first and ended[0].skipped
    assert all((second / name).is_file() for name in ("results/00_one.json", "summary.json"))
    assert (second / "00_one.ipynb").read_bytes() == (first / "00_one.ipynb").read_bytes()
    other, ended = sweep.run({"SEED": 2}, ["00"])
    assert not ended[0].skipped, "another seed"
    (other / "results" / "00_one.json").unlink()
    third, ended = sweep.run({"SEED": 2}, ["00"])
    assert third != other and not ended[0].skipped, "what it recorded is gone"
    again, ended = sweep.run({"SEED": 1}, ["00"], fresh=True)
    assert again not in (first, second) and not ended[0].skipped
