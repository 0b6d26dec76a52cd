"""How thick the code is: `make size` prints files and lines of code by part, beside the goal.

Lines of code are those that are neither blank nor comments nor docstrings.
"""

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

#: The goal, most files and most lines of code; recipes beside shipped models have none.
GOAL = {"emolib": ", the goal is 11,000 in 95", "tests": ", the goal is 8,000 in 60", "models": ""}
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """Count the lines of code in a module's text."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def parts(folder: Path) -> Counter[str]:
    """Return the lines of code of each part: a module, or the modules of a folder."""
    lines: Counter[str] = Counter()
    for path in folder.rglob("*.py"):
        lines[path.relative_to(folder).parts[0].removesuffix(".py")] += code_lines(path.read_text("utf-8"))
    return lines


def main() -> None:
    """Print the table."""
    for name, goal in GOAL.items():
        folder = Path(__file__).parents[1] / name
        found, files = parts(folder), len(list(folder.rglob("*.py")))
        for part, lines in found.most_common():
            print(f"{lines:7,}  {name}/{part}")
        print(f"{found.total():7,}  lines in {files} files of {name}{goal}\n")


if __name__ == "__main__":
    main()
