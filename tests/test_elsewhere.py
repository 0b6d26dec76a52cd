"""Colab and Binder: what is installed fits what is there, nothing is editable, and the address is one."""

import email
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT, code_cells, tracked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COLAB = ROOT / "docs" / "colab"
#: Older on Colab than the package's floors, but bound to its pages; and one that would have to be compiled.
LEFT = {"ipykernel", "ipywidgets", "pesq"}


def listed(path: Path) -> dict[str, Requirement]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def version(pinned: Requirement) -> str:
    [only] = pinned.specifier
    return only.version


def test_colab_has_or_gets_all_that_the_package_needs_and_keeps_what_it_has():
    there, added = listed(COLAB / "packages.txt"), listed(COLAB / "requirements.txt")
    extras = PROJECT["project"]["optional-dependencies"]["whisper"]
    needed = [Requirement(line) for line in PROJECT["project"]["dependencies"] + extras]
    fits = {
        name: name in added or (name in there and one.specifier.contains(version(there[name])))
        for one in needed
        for name in [canonicalize_name(one.name)]
    }
    assert {name for name, is_met in fits.items() if not is_met} == LEFT
    assert set(added) & set(there) == set() and set(added) <= set(fits)
    assert all(str(spec).startswith(">=") for one in added.values() for spec in one.specifier)


def test_what_a_run_needs_is_locked_apart_from_what_tests_need():
    run, tests = listed(ROOT / "requirements.txt"), listed(ROOT / "requirements-dev.txt")
    extras = PROJECT["project"]["optional-dependencies"]
    needed = map(Requirement, PROJECT["project"]["dependencies"] + extras["whisper"])
    assert {canonicalize_name(one.name) for one in needed} | {"jupyterlab", "voila", "nbval"} <= set(run)
    assert {canonicalize_name(Requirement(one).name) for one in extras["dev"]} <= set(run) | set(tests)
    assert not set(run) & set(tests)


def test_nothing_is_editable_and_the_address_comes_from_one_place():
    cells = code_cells(ROOT / "docs" / "colab.ipynb")
    files = [cell["source"] for cell in cells] + [(ROOT / ".binder" / "postBuild").read_text()]
    assert not any(re.search(r"--editable|pip install.* -e ", text) for text in files)
    [address] = [json.loads(x) for text in files for x in re.findall(r'^REPOSITORY = (".*?")', text, re.M)]
    assert address == PROJECT["tool"]["emolib"]["repository"]


def needs(wheel: Path) -> list[Requirement]:
    """Return what a wheel needs on Colab's Python."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    colab = {"python_version": "3.13", "python_full_version": "3.13.15", "extra": ""}
    return [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate(colab)]


@pytest.mark.long
def test_what_colab_gets_has_wheels_that_fit_what_it_has(tmp_path):
    """For Colab's Python; of what they need in turn, Colab's version fits or there is a wheel as well."""
    there, wanted = listed(COLAB / "packages.txt"), listed(COLAB / "requirements.txt")
    got, fights = set(), []
    while wanted:
        folder = tmp_path / str(len(got))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
        command += ["--python-version", "3.13", "--only-binary", ":all:", *map(str, wanted.values())]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        got |= set(wanted)
        asked = [(wheel.name, one) for wheel in folder.glob("*.whl") for one in needs(wheel)]
        wanted = {}
        for wheel, one in asked:
            name = canonicalize_name(one.name)
            if name in there and not one.specifier.contains(version(there[name])):
                fights.append(f"{wheel} needs {one}, Colab has {there[name]}")
            if name not in there and name not in got:
                wanted[name] = Requirement(f"{one.name}{one.specifier}")
    assert fights == [] and len(got) < 30


@pytest.mark.long
def test_binder_s_installation_answers_in_a_bare_environment(tmp_path):
    """From a copy of what git tracks, in an environment with nothing but pip."""
    for path in tracked():
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    place = tmp_path / "bare"
    venv.create(place, with_pip=True)
    environment = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "TORCH_INDEX": ""}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(["bash", ".binder/postBuild"], **options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert subprocess.run(["python", "-m", "pip", "check"], **options).returncode == 0
    ask = ["emolib", "probe", "ravdess", "--folds", "emobox", "--json"]
    found = subprocess.run(["bash", str(tmp_path / ".binder" / "start"), *ask], **options)
    assert json.loads(found.stdout.splitlines()[-1])["ua"] == pytest.approx(0.72, abs=0.02), found.stderr
