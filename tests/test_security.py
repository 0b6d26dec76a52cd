"""What keeps a user safe: nothing unpickled, no shell, no open door, no unchecked download, no corpus."""

import ast
import pickle
import re
import shutil
import subprocess

from checkout import NOTEBOOKS, ROOT, code_cells, offenders, scripts, tracked
from samples import refused
from test_architecture import imported
from typer.testing import CliRunner

from emolib import corpora, encoders
from emolib.cli import app
from emolib.corpora import fetch

# ------------------------------------------------------------------------------------- what code may not do

#: What no statement may hold.
UNSAFE = re.compile(
    "|".join((
        # what writes a pickle, or runs whatever a file says
        r"^\s*(import|from)\b.*\b(c?_?[pP]ickle|dill|cloudpickle|shelve|marshal|jsonpickle)\b",
        r"\b(Unp|P)ickler\(", r"\b(read|to)_(pickle|hdf)\(", r"(?<![\w.])(eval|exec)\(",
        r"\bjoblib\.(load|dump)\b", r"^\s*from joblib import .*\b(load|dump)\b",
        r"\btorch\.save\b", r"^\s*from torch import .*\b(load|save)\b",
        r"\btorch\.load\((?!.*weights_only=True)",
        r"\bnp\.save\((?!.*allow_pickle=False)", r"\b(allow_pickle|trust_remote_code)=(?!False)",
        r"\byaml\.load\w*\((?!.*Loader=.*Safe)", r"\b(unsafe|full)_load",
        # what gives a string to a shell
        r"\bos\.(system|popen)\(", r"\bpty\.spawn\(", r"get_ipython\(\)\.system\(", r"_subprocess_shell\(",
        r"\bsubprocess\.get(status)?output\(", r"\bsubprocess\.\w+\(f?['\"]", r"\bshell=(?!False)",
        # an address without encryption, other than this machine's
        r"\bhttp://(?!127\.0\.0\.1|localhost|www\.w3\.org)\w",
    ))
)  # fmt: skip


def unsafe(tree: ast.AST) -> list[str]:
    """Return the lines of some code, each a statement, that are not safe."""
    return [line for line in ast.unparse(tree).splitlines() if UNSAFE.search(line)]


def test_nothing_is_unpickled_no_string_goes_to_a_shell_and_addresses_are_encrypted():
    assert offenders(unsafe, scripts()) == {}
    magic = re.compile(r"^\s*(!|%%?(bash|sh|script|system|sx)\b)", re.MULTILINE)
    cells = [(path.name, cell["source"]) for path in NOTEBOOKS for cell in code_cells(path)]
    assert [name for name, source in cells if magic.search(source)] == []


def test_the_search_for_what_is_unsafe_finds_it_and_nothing_else():
    bad = """import pickle|from cloudpickle import loads|from joblib import dump|joblib.load('x')|import dill
        torch.save(x, 'y')|torch.load('x')|torch.load('x', weights_only=False)|from torch import load
        np.load('x', allow_pickle=True)|np.save('x', y, allow_pickle=flag)|np.save('x', y)|eval('1')
        pd.read_pickle('x')|frame.to_pickle('x')|yaml.load(f)|yaml.load_all(f)|yaml.full_load(f)
        pickle.Unpickler(f)|AutoModel.from_pretrained('x', trust_remote_code=True)
        os.system('ls')|subprocess.run(x, shell=True)|subprocess.run(f'rm {x}')|os.popen(c)|x = 'http://a.de'"""
    lines = [line.strip() for row in bad.splitlines() for line in row.split("|")]
    assert [line for line in lines if not unsafe(ast.parse(line))] == []
    good = "torch.load('x', weights_only=True)\nnp.load('x', allow_pickle=False)\nx.network.eval()\n"
    good += "yaml.load(f, Loader=yaml.SafeLoader)\nsubprocess.run(['ls'])\nx = 'http://localhost'\n"
    assert unsafe(ast.parse(good + "from joblib import Parallel")) == []


class Alarm:
    """Pickled, it tells that it was unpickled by making a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_weights_that_hide_a_program_do_not_run_it(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder(), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Alarm(str(tmp_path / "alarm"))}))
    refused("holds no usable model", encoders.load, str(folder), device="cpu")
    assert not (tmp_path / "alarm").exists()


def test_a_name_that_a_shell_would_run_is_a_name(tmp_path):
    trap = tmp_path / "alarm"
    for word in (f"$(touch {trap})", f"; touch {trap} #", f"`touch {trap}`"):
        assert CliRunner().invoke(app, ["probe", "demo", "--encoder", word]).exit_code != 0
    assert not trap.exists()


# ------------------------------------------------------------------------------------- servers


def test_the_servers_stay_on_this_machine_and_show_neither_tokens_nor_sources():
    from voila.configuration import VoilaConfiguration

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    forbidden = ("token", "password", "disable_check_xsrf", "allow_origin", "allow_remote", "--ip", "0.0.0.0")
    forbidden += ("show_tracebacks=True", "strip_sources=False")
    for target, server in {"lab": "jupyter lab", "app": "voila"}.items():
        [command] = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert server in command and [word for word in forbidden if word in command] == []
    assert not [path for path in tracked() if re.fullmatch(r"jupyter_\w*config\.\w+", path.name)]
    assert VoilaConfiguration().show_tracebacks is False  # what holds where the command says nothing
    assert VoilaConfiguration().strip_sources is True


# ------------------------------------------------------------------------------------- downloads


def test_every_archive_is_fetched_over_https_and_checked():
    assert fetch.SOURCES
    for name, source in fetch.SOURCES.items():
        assert name in corpora.names()
        assert source.url.startswith("https://"), name
        assert source.lfs is None or source.lfs.startswith("https://"), name
        checksum = source.checksum
        assert checksum is None or re.fullmatch("(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})", checksum), name


def test_one_module_opens_connections():
    clients = ("urllib.request", "http.client", "requests", "httpx", "aiohttp", "socket", "ftplib", "pooch")
    opening = offenders(lambda tree: [n for n in imported(tree) if n.startswith(clients)], scripts())
    assert len(opening) == 1 and next(iter(opening)).startswith("emolib/corpora/")


# ------------------------------------------------------------------------------------- no corpus in here

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".sph", ".webm")
MAGIC = (b"RIFF", b"FORM", b"fLaC", b"OggS", b"ID3", b"RF64", b".snd", b"caff", b"NIST_1A")
#: One page of synthesised speech, no corpus's, may stand in the gallery.
GALLERY = "figures/06_gallery.html"


def test_no_sound_is_tracked_under_any_name_or_in_a_text():
    sounds = [path for path in tracked() if path.suffix.lower() in SOUNDS]
    for path in tracked():
        with path.open("rb") as file:
            sounds += [path] if file.read(12).startswith(MAGIC) else []
    assert sounds == []
    allowed = {ROOT / GALLERY, *NOTEBOOKS}
    texts = [path for path in tracked() if path.suffix in (".html", ".md", ".svg", ".json", ".js", ".ipynb")]
    found = [path for path in texts if re.search(rb"data:audio/[\w.+-]+;base64,\w", path.read_bytes())]
    assert set(found) - allowed == set()


def players(cell: dict) -> list[str]:
    """Return the sounds in a cell's outputs, as base64."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        found += ["".join(value) for kind, value in data.items() if kind.startswith("audio/")]
        for kind in ("text/html", "application/vnd.jupyter.widget-view+json"):
            text = "".join(data[kind]) if isinstance(data.get(kind), list) else str(data.get(kind, ""))
            found += re.findall(r"data:audio/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)", text)
    return found


def test_notebooks_carry_a_few_seconds_of_the_embedded_corpus_alone():
    for path in NOTEBOOKS:
        cells = code_cells(path)
        sounds = [sound for cell in cells for sound in players(cell)]
        assert sum(map(len, sounds)) <= 1_000_000, path.name
        sources = "\n".join("".join(cell["source"]) for cell in cells)
        of_demo = r'^(CORPUS|PLAYED) = "demo"|corpora\.load\("demo"\)|= demo\.build\('
        assert sounds == [] or re.search(of_demo, sources, re.M), path.name


def test_the_folder_of_the_corpora_is_not_tracked():
    command = ["git", "-C", str(ROOT), "check-ignore", "data/corpora/ravdess/a.wav", "data/features/x"]
    assert len(subprocess.run(command, capture_output=True, text=True).stdout.split()) == 2
    assert [name for name in corpora.names() if (ROOT / "data" / name) in tracked()] == []
