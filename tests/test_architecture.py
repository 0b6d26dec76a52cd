"""The shape of the package: who may import whom, what is loaded and how, what is tracked by git."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import emolib

PACKAGE = Path(emolib.__file__).resolve().parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: The order that the package's docstring states.
ORDER = re.findall(r"``(\w+)``", re.sub(r"``(from|import) .*?``", "", emolib.__doc__, flags=re.DOTALL))
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".sph", ".webm")


def name_of(path: Path) -> str:
    """Return the module, or subpackage, that a file is a part of."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST, part_of: str = "") -> Iterator[str]:
    """Yield the modules of the package that a syntax tree imports, wherever in it that happens."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("emolib."))
        elif isinstance(node, ast.ImportFrom):
            inside = ["emolib", part_of][: 3 - node.level] if node.level else []
            parts = [*inside, *(node.module or "").split(".")]
            parts = [part for part in parts if part]
            if parts[0] == "emolib":
                yield from parts[1:2] or (alias.name for alias in node.names)


def sources() -> Iterator[tuple[str, str]]:
    """Yield every module and every notebook as Python, with a name to report."""
    for path in MODULES:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield path.name, re.sub(r"^(\s*)[%!?].*$", r"\1pass", "\n".join(code), flags=re.MULTILINE)


# ------------------------------------------------------------------------------------- order of modules


def test_the_docstring_lists_every_module_once():
    found = {name_of(path) for path in MODULES} - {"__init__"}
    assert set(ORDER) == found
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_those_before_it(path):
    name = name_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = set(ORDER[: ORDER.index(name) + (path.parent != PACKAGE)]) if name in ORDER else set()
    later = sorted(set(imported(tree, name)) & set(ORDER) - own)
    assert not later, f"{name} imports {', '.join(later)}, which the docstring lists after it"


def test_the_parser_of_imports_sees_every_form():
    code = (
        "import emolib.audio, numpy\nfrom emolib import paths, demo\nfrom emolib.store import FeatureStore\n"
    )
    code += "def f():\n    from .manifest import read\n    from ..axis import Axis\n    from .. import tts\n"
    assert set(imported(ast.parse(code), "corpora")) == {
        "audio",
        "paths",
        "demo",
        "store",
        "corpora",
        "axis",
        "tts",
    }


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"numpy", "torch", "pandas", "scipy", "sklearn", "matplotlib", "librosa", "transformers", "typer"}
    code = "import sys, emolib; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert "emolib" in loaded and not heavy & set(loaded)


def test_the_command_line_starts_without_torch():
    code = "import sys, emolib.cli; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert "emolib.cli" in loaded and not {"torch", "transformers", "librosa", "sklearn"} & set(loaded)


# ------------------------------------------------------------------------------------- nothing is unpickled

PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}


def unsafe(code: str) -> list[str]:
    """Return what a piece of code does that would run whatever a file says."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLERS]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] * (node.module.split(".")[0] in PICKLERS)
            found += [
                f"joblib.{a.name}"
                for a in node.names
                if node.module == "joblib" and a.name in ("load", "dump")
            ]
            found += [
                f"torch.{a.name}" for a in node.names if node.module == "torch" and a.name in ("load", "save")
            ]
        elif isinstance(node, ast.Call):
            found += _unsafe_call(node)
    return found


def _unsafe_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    found = [name] if name.split(".")[-1] in ("read_pickle", "to_pickle", "unsafe_load") else []
    found += [name] if name in ("eval", "exec", "joblib.load", "joblib.dump", "torch.save") else []
    found += [name] if name == "torch.load" and options.get("weights_only") != "True" else []
    found += [name] if name == "yaml.load" and "Safe" not in options.get("Loader", "") else []
    found += [
        f"{name}(allow_pickle)" for value in [options.get("allow_pickle")] if value not in (None, "False")
    ]
    found += [
        f"{name}(trust_remote_code)" for v in [options.get("trust_remote_code")] if v not in (None, "False")
    ]
    return found


@pytest.mark.parametrize("name, code", [pytest.param(*source, id=source[0]) for source in sources()])
def test_nothing_is_pickled_or_unpickled(name, code):
    assert unsafe(code) == [], name


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from cloudpickle import loads", "from joblib import dump", "joblib.load('x')",
        "torch.save(x, 'y')",         "torch.load('x')", "torch.load('x', weights_only=False)",
        "np.load('x', allow_pickle=True)", "frame.to_pickle('x')",
        "def f():\n    import pickle as p", "np.save('x', y, allow_pickle=flag)",
        "pd.read_pickle('x')", "eval('1')",
        "AutoModel.from_pretrained('x', trust_remote_code=True)", "from torch import load", "yaml.load(f)",
    ],
)  # fmt: skip
def test_the_search_finds_what_is_unsafe(code):
    assert unsafe(code)


def test_the_search_lets_safe_code_pass():
    code = "torch.load('x', weights_only=True)\nnp.load('x', allow_pickle=False)\nx.network.eval()\n"
    code += "from joblib import Parallel"
    assert unsafe(code) == []


# ------------------------------------------------------------------------------------- docstrings


def undocumented(tree: ast.AST, prefix: str = "") -> list[str]:
    """Return public functions, classes and methods without a docstring."""
    names = []
    for node in ast.iter_child_nodes(tree):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        names += [] if ast.get_docstring(node) else [prefix + node.name]
        names += undocumented(node, f"{prefix}{node.name}.") if isinstance(node, ast.ClassDef) else []
    return names


#: These speak for themselves by the contract of their base class.
INHERITED = {"forward"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_all_that_is_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has none"
    bare = [name for name in undocumented(tree) if name.split(".")[-1] not in INHERITED]
    assert not bare


def test_the_search_finds_a_missing_docstring():
    code = "class A:\n 'x'\n def b(self): ...\n def _c(self): ...\ndef d():\n 'y'\nasync def e(): ..."
    assert undocumented(ast.parse(code)) == ["A.b", "e"]


# ------------------------------------------------------------------------------------- what git tracks


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_large_is_tracked_but_weights(tracked):
    assert ROOT / "pyproject.toml" in tracked
    large = [path for path in tracked if path.stat().st_size > 2_000_000 and path.suffix != ".safetensors"]
    assert not large


def test_no_sound_and_no_array_is_tracked(tracked):
    unwanted = (*SOUNDS, ".npy", ".npz", ".pkl", ".pt", ".pth", ".ckpt", ".bin")
    assert not [path for path in tracked if path.suffix.lower() in unwanted]


def test_no_home_folder_is_named_in_what_is_tracked(tracked):
    texts = [
        path for path in tracked if path.suffix in (".py", ".ipynb", ".md", ".toml", ".json", ".csv", ".svg")
    ]
    pattern = re.compile(r"/(home|Users)/[a-z]\w*/|/root/\w")
    assert texts
    assert not [path for path in texts if pattern.search(path.read_text(encoding="utf-8"))]
