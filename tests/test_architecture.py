"""The shape of the package: who may import whom, what is loaded when, what is documented and tracked."""

import ast
import graphlib
import re
import subprocess
import sys

from checkout import PACKAGE, ROOT, modules, offenders, tracked

#: Each floor imports from those above it in this table, and within itself without circles.
FLOORS = {
    "ground": "paths emotions files training threads",
    "signal": "audio world phase vocoder",
    "speech": "corpora demo",
    "features": "encoders store scheduling embeddings features channels",
    "evidence": "splits metrics probing quality instruments ser results benchmark",
    "geometry": "axis av codebook",
    "sound": "prosody mapper steering tts generate finetune pretrain",
    "pages": "plots widgets report studies sweep cli",
}
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS.values()) for part in parts.split()}


def part_of(name: str) -> str:
    """Return the module or subpackage that a file of the package belongs to."""
    return name.split("/")[1].removesuffix(".py")


def imported(tree: ast.AST, package: str = "emolib") -> list[str]:
    """Return the full names that a file imports, anywhere in it; `package` is the file's own."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*around, *filter(None, [node.module])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def parts_imported(tree: ast.AST, package: str) -> set[str]:
    """Return the parts of emolib that a file imports."""
    return {name.split(".")[1] for name in imported(tree, package) if name.startswith("emolib.")}


def imports() -> dict[str, set[str]]:
    """Return what each part of the package imports of the others."""
    parts: dict[str, set[str]] = {}
    for name, tree in modules().items():
        package = name.rpartition("/")[0].replace("/", ".")
        parts.setdefault(part_of(name), set()).update(parts_imported(tree, package))
    return {part: {other for other in others if other in FLOOR_OF} - {part} for part, others in parts.items()}


def test_a_part_imports_only_from_floors_above_its_own_and_in_no_circle():
    graph = imports()
    assert set(graph) - {"__init__"} <= set(FLOOR_OF), "a part without a floor"
    climbs = {
        (part, other)
        for part, others in graph.items()
        for other in others
        if part != "__init__" and FLOOR_OF[part] < FLOOR_OF[other]
    }
    assert climbs == set()
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_nothing_imports_a_study_but_the_commands():
    assert [part for part, others in imports().items() if "studies" in others and part != "cli"] == []


def test_the_parser_of_imports_sees_every_form():
    code = (
        "import emolib.audio, numpy\nfrom emolib import paths, demo\nfrom emolib.store import FeatureStore\n"
    )
    code += "def f():\n    from .manifest import read\n    from ..axis import Axis\n    from .. import tts\n"
    assert imported(ast.parse(code), "emolib.corpora")[:2] == ["emolib.audio", "numpy"]
    found = parts_imported(ast.parse(code), "emolib.corpora")
    assert found == {"audio", "paths", "demo", "store", "corpora", "axis", "tts"}


def test_the_package_imports_nothing_heavy_and_the_command_line_no_networks():
    heavy = {"numpy", "torch", "pandas", "scipy", "sklearn", "matplotlib", "librosa", "transformers", "typer"}
    for module, forbidden in {
        "emolib": heavy,
        "emolib.cli": {"torch", "transformers", "librosa", "sklearn"},
    }.items():
        command = [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
        assert module in loaded and not forbidden & set(loaded)


def test_the_map_of_the_package_names_what_there_is():
    import emolib

    named = re.findall(r"^``(\w+)``", emolib.__doc__, flags=re.MULTILINE)
    found = {part_of(name) for name in modules()}
    assert len(named) > 8 and set(named) <= found


def undocumented(tree: ast.AST, prefix: str = "") -> list[str]:
    """Return a module's public functions, classes and methods without a docstring, and the module itself."""
    names = ["the module"] if isinstance(tree, ast.Module) and not ast.get_docstring(tree) else []
    for node in ast.iter_child_nodes(tree):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        # a network's `forward` is described by torch
        if not isinstance(node, kinds) or node.name.startswith("_") or node.name == "forward":
            continue
        names += [] if ast.get_docstring(node) else [prefix + node.name]
        names += undocumented(node, f"{prefix}{node.name}.") if isinstance(node, ast.ClassDef) else []
    return names


def test_all_that_is_public_has_a_docstring():
    assert offenders(undocumented, modules()) == {}
    code = "'m'\nclass A:\n 'x'\n def b(self): ...\n def _c(self): ...\ndef d():\n 'y'\nasync def e(): ..."
    assert undocumented(ast.parse(code)) == ["A.b", "e"] and undocumented(ast.parse("x = 1"))


# ------------------------------------------------------------------------------------- what git tracks


def test_what_is_tracked_is_small_and_names_no_home_folder():
    assert ROOT / "pyproject.toml" in tracked() and PACKAGE / "__init__.py" in tracked()
    arrays = (".npy", ".npz", ".pkl", ".pt", ".pth", ".ckpt", ".bin")
    assert [path for path in tracked() if path.suffix.lower() in arrays] == []
    weights = (".safetensors", ".parquet")
    assert [p for p in tracked() if p.stat().st_size > 2_000_000 and p.suffix not in weights] == []
    home = re.compile(r"/(home|Users)/[a-z]\w*/|/root/\w")
    texts = [p for p in tracked() if p.suffix in (".py", ".ipynb", ".md", ".toml", ".json", ".csv", ".svg")]
    assert [path for path in texts if home.search(path.read_text(encoding="utf-8"))] == []
