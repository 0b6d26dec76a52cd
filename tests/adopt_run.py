"""Take the outputs of a finished default run into the committed notebooks: `python tests/adopt_run.py [RUN]`.

All pages then come from one run of one commit. The last cells show the comparison with what `tests/spread.py
write` made of that run. What differs between machines and runs is stripped.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import nbformat
from IPython.core.formatters import DisplayFormatter

from emolib import results
from emolib.sweep.grid import declared

ROOT = Path(__file__).parent.parent


def adopt(executed: Path) -> Path:
    """Write the outputs of one executed copy into the notebook of its name."""
    place = ROOT / "notebooks" / executed.name
    own, done = (nbformat.read(path, as_version=4) for path in (place, executed))
    # a run injects a cell of parameters, which are the defaults in a default run
    theirs = [cell for cell in done.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    pairs = [
        pair
        for pair in zip(own.cells, theirs, strict=True)
        if "code" in (pair[0].cell_type, pair[1].cell_type)
    ]
    if changed := [mine.id for mine, other in pairs if mine.source != other.source]:
        raise SystemExit(f"{executed.name}: the cells {', '.join(changed)} have changed since; run it again")
    for count, (mine, other) in enumerate(pairs, start=1):
        mine.outputs, mine.execution_count = other.outputs, count
        for output in mine.outputs:
            if "execution_count" in output:
                output.execution_count = count
    record = executed.parent / "results" / f"{executed.stem}.json"
    pairs[-1][0].outputs = [compared(place, pairs[-1][0].source, json.loads(record.read_text()), len(pairs))]
    nbformat.write(own, place)
    return place


def setting_of(notebook: Path, source: str) -> list:
    """Return the defaults of the parameters that a notebook's last cell hands to `results.compare`."""
    [call] = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "results.compare"
    ]
    defaults = declared(notebook)
    return [defaults[ast.unparse(argument)] for argument in call.args[2:]]


def compared(notebook: Path, source: str, found: dict, count: int) -> nbformat.NotebookNode:
    """Return the output of a notebook's last cell, from the recorded results."""
    table = results.compare(notebook.stem, found, *setting_of(notebook, source))
    data, metadata = DisplayFormatter().format(table)
    return nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=count)


if __name__ == "__main__":
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "latest"
    written = [adopt(path) for path in sorted(run.glob("*.ipynb"))]
    command = [Path(sys.executable).parent / "nbstripout", "--keep-output", "--keep-count", "--keep-id"]
    subprocess.run([*command, *written], check=True)
