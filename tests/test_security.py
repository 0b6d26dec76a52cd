"""What keeps a user safe: nothing unpickled, no shell, no open door, no unchecked download, no corpus."""

import ast
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_architecture import SOUNDS, sources, unsafe
from typer.testing import CliRunner

from emolib import corpora, encoders
from emolib.cli import app
from emolib.corpora import fetch
from emolib.corpora.fetch import FetchError, unpack

ROOT = Path(__file__).resolve().parents[1]


def scripts() -> Iterator[tuple[str, str]]:
    """Yield the package, the notebooks and the benchmarks as Python, by name."""
    yield from sources()
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


EVERYTHING = [pytest.param(*source, id=source[0]) for source in scripts()]


def calls(code: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def option(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


# ------------------------------------------------------------------------------------- nothing is unpickled


def pickling(code: str) -> list[str]:
    """Return what a piece of code does that reads or could write a pickle."""
    found = unsafe(code)
    for name, call in calls(code):
        tail = name.split(".")[-1]
        if name in ("np.save", "numpy.save") and option(call, "allow_pickle") != "False":
            found.append(f"{name} of what may be objects")
        if name in ("yaml.load", "yaml.load_all") and "Safe" not in (option(call, "Loader") or ""):
            found.append(name)
        if tail in ("Unpickler", "Pickler", "unsafe_load_all", "full_load", "read_hdf", "to_hdf"):
            found.append(name)
    return found


@pytest.mark.parametrize("name, code", EVERYTHING)
def test_nothing_is_pickled(name, code):
    assert pickling(code) == [], name


@pytest.mark.parametrize(
    "code", ["np.save('x', y)", "yaml.load_all(f)", "pickle.Unpickler(f)", "yaml.full_load(f)", "import dill"]
)
def test_the_search_for_pickles_finds_them(code):
    assert pickling(code)


class Alarm:
    """Pickled, it tells that it was unpickled by making a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_weights_that_hide_a_program_do_not_run_it(model_folder, tmp_path):
    import pickle
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder(), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Alarm(str(tmp_path / "alarm"))}))
    with pytest.raises(ValueError, match="holds no usable model"):
        encoders.load(str(folder), device="cpu")
    assert not (tmp_path / "alarm").exists()


# ------------------------------------------------------------------------------------- no shell


SHELLS = (
    "os.system", "os.popen", "pty.spawn", "subprocess.getoutput", "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell", "get_ipython().system",
)  # fmt: skip


def shells(code: str) -> list[str]:
    """Return the calls that give a string to a shell."""
    found = []
    for name, call in calls(code):
        found += [name] if name in SHELLS else []
        if option(call, "shell") not in (None, "False"):
            found.append(f"{name}(shell=True)")
        if name.startswith("subprocess.") and call.args:
            first = call.args[0]
            if isinstance(first, ast.JoinedStr) or (
                isinstance(first, ast.Constant) and isinstance(first.value, str)
            ):
                found.append(f"{name} of a string")
    return found


@pytest.mark.parametrize("name, code", EVERYTHING)
def test_no_string_goes_to_a_shell(name, code):
    assert shells(code) == [], name


@pytest.mark.parametrize(
    "code", ["os.system('ls')", "subprocess.run(x, shell=True)", "subprocess.run(f'rm {x}')", "os.popen(c)"]
)
def test_the_search_for_shells_finds_them(code):
    assert shells(code)


def notebook_cells() -> list[tuple[str, dict]]:
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found += [(path.name, cell) for cell in cells if cell["cell_type"] == "code"]
    return found


def test_no_notebook_calls_a_shell_or_a_magic_that_does():
    pattern = re.compile(r"^\s*(!|%%?(bash|sh|script|system|sx)\b)", re.MULTILINE)
    assert not [name for name, cell in notebook_cells() if pattern.search("".join(cell["source"]))]


def test_a_name_that_a_shell_would_run_is_a_name(tmp_path):
    trap = tmp_path / "alarm"
    for word in (f"$(touch {trap})", f"; touch {trap} #", f"`touch {trap}`"):
        ended = CliRunner().invoke(app, ["probe", "demo", "--encoder", word])
        assert ended.exit_code != 0
    assert not trap.exists()


# ------------------------------------------------------------------------------------- servers


def recipe(target: str) -> str:
    """Return the commands of one of the Makefile's targets."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found, f"the Makefile has no target {target}"
    return found[1]


def test_jupyter_keeps_its_token_and_stays_on_this_machine():
    command = recipe("lab")
    assert "jupyter lab" in command
    forbidden = ("token", "password", "disable_check_xsrf", "allow_origin", "allow_remote", "--ip", "0.0.0.0")
    assert not [word for word in forbidden if word in command]
    assert not list(ROOT.glob("**/jupyter_*config.*")) or not any(
        "token" in path.read_text() for path in ROOT.glob("*/jupyter_*config.*")
    )


def test_voila_shows_no_tracebacks_and_no_sources():
    from voila.configuration import VoilaConfiguration

    command = recipe("app")
    assert "voila" in command
    assert not [word for word in ("show_tracebacks=True", "strip_sources=False", "--ip") if word in command]
    assert VoilaConfiguration().show_tracebacks is False  # what holds where the command says nothing
    assert VoilaConfiguration().strip_sources is True


# ------------------------------------------------------------------------------------- downloads


def test_every_archive_is_fetched_over_https_and_checked():
    assert fetch.SOURCES
    for name, source in fetch.SOURCES.items():
        assert source.url.startswith("https://"), name
        assert source.lfs is None or source.lfs.startswith("https://"), name
        assert source.checksum is None or re.fullmatch(
            "(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})", source.checksum
        )


@pytest.mark.parametrize("name, code", EVERYTHING)
def test_nothing_names_an_address_without_encryption(name, code):
    words = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    found = [word for word in words if isinstance(word, str) and re.search(r"\bhttp://\w", word)]
    assert not [
        word for word in found if not re.search(r"http://(127\.0\.0\.1|localhost|www\.w3\.org)", word)
    ]


def test_one_module_opens_connections():
    clients = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "socket", "ftplib"}
    users = set()
    for name, code in sources():
        for node in ast.walk(ast.parse(code)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            users |= {name for module in names if module in clients}
    assert users == {"emolib/corpora/fetch.py"}


# ------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize(
    "name", ["../alarm", "deep/../../alarm", "/tmp/emolib-alarm", "..\\alarm", "C:\\alarm"]
)
def test_no_archive_writes_outside_its_folder(tmp_path, name):
    archive = tmp_path / "in" / "archive"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("first.txt", b"1")
        packed.writestr(name, b"2")
    with pytest.raises(FetchError, match="would leave its folder; refused"):
        unpack(archive, tmp_path / "out" / "corpus")
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*alarm*"))
    assert not Path("/tmp/emolib-alarm").exists()


def test_no_name_of_a_clip_leads_out_of_the_folder_of_an_export(tmp_path):
    from emolib import paths

    for name in ("../alarm", "/tmp/alarm", "..", "a/../../alarm", ".hidden", "~/alarm"):
        place = (tmp_path / paths.folder_name(name)).resolve()
        assert place.parent == tmp_path.resolve() and place != tmp_path.resolve()


# ------------------------------------------------------------------------------------- no corpus in here

MAGIC = (b"RIFF", b"FORM", b"fLaC", b"OggS", b"ID3", b"RF64", b".snd", b"caff", b"NIST_1A")
#: One page of synthesised speech, no corpus's, may stand in the gallery.
GALLERY = "figures/06_gallery.html"


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_sound_is_tracked_under_any_name(tracked):
    sounds = [path for path in tracked if path.suffix.lower() in SOUNDS]
    for path in tracked:
        with path.open("rb") as file:
            sounds += [path] if file.read(12).startswith(MAGIC) else []
    assert not sounds


def test_no_sound_is_embedded_in_a_tracked_text(tracked):
    allowed = {ROOT / GALLERY, *(ROOT / "notebooks").glob("*.ipynb")}
    texts = [path for path in tracked if path.suffix in (".html", ".md", ".svg", ".json", ".js", ".ipynb")]
    found = [path for path in texts if re.search(rb"data:audio/[\w.+-]+;base64,\w", path.read_bytes())]
    assert not set(found) - allowed


def players(cell: dict) -> list[str]:
    """Return the sounds in a cell's outputs, as base64."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        found += ["".join(value) for kind, value in data.items() if kind.startswith("audio/")]
        for kind in ("text/html", "application/vnd.jupyter.widget-view+json"):
            text = data.get(kind, "")
            text = "".join(text) if isinstance(text, list) else str(text)
            found += re.findall(r"data:audio/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)", text)
    return found


def test_notebooks_carry_a_few_seconds_of_the_embedded_corpus_alone():
    by_notebook: dict[str, list[str]] = {}
    for name, cell in notebook_cells():
        by_notebook.setdefault(name, []).extend(players(cell))
        if "parameters" in cell["metadata"].get("tags", []):
            values = {
                node.targets[0].id: node.value.value
                for node in ast.parse("".join(cell["source"])).body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            }
            assert values.get("CORPUS", "demo") == "demo", name
    for name, sounds in by_notebook.items():
        assert len(sounds) <= 3 and sum(map(len, sounds)) <= 1_000_000, name


def test_the_corpora_s_folder_is_not_tracked(tracked):
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "data/corpora/ravdess/a.wav", "data/features/x"],
        capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert len(listed) == 2
    assert {name for name in corpora.names() if (ROOT / "data" / name) in tracked} == set()


def test_what_is_saved_is_plain(tmp_path):
    from emolib.axis import EmotionAxis

    X = np.random.default_rng(0).standard_normal((20, 3))
    EmotionAxis(method="mean-difference").fit(X, np.array(["calm", "angry"] * 10)).save(tmp_path / "axis")
    assert sorted(path.name for path in (tmp_path / "axis").iterdir()) == ["config.json", "model.safetensors"]
