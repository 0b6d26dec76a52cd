"""What the README says is true: its snippets run, its files and commands exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"\d+\.\d+")


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def test_snippets_run_and_print_what_is_said(capsys):
    namespace = {}
    for block in _blocks("python"):
        exec(block, namespace)
    printed, (promised,) = capsys.readouterr().out, _blocks("text")
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised)
    # networks differ in the last bits from one processor to another, which may tip single clips
    assert [float(x) for x in NUMBER.findall(printed)] == pytest.approx(
        [float(x) for x in NUMBER.findall(promised)], abs=0.02
    )
    assert namespace["hidden_states"][0].shape[0] == 2


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_commands_exist():
    from emolib.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name or group.typer_instance.info.name for group in app.registered_groups}
    assert set(re.findall(r"^(?:\.venv/bin/)?emolib ([a-z-]+)", TEXT, flags=re.M)) <= known
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", TEXT, flags=re.M)) <= targets


def test_every_notebook_is_listed():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.name}" in TEXT
