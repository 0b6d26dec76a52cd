"""Files, folders and saved models: written whole or not at all, for readers and after a kill."""

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from samples import refused

from emolib import demo, files, scheduling
from emolib.files import build_folder

KIND = "thing"


def fill(folder):
    (folder / "content.txt").write_text("whole")


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_finished_folder_is_reused_and_another_recipe_replaces_it(tmp_path):
    folder, calls = tmp_path / "corpus", []
    leftover, other = tmp_path / ".corpus.99999.tmp", tmp_path / ".corpus-of-another.1.tmp"
    for place in (leftover, other):
        place.mkdir()
    for _ in range(2):
        build_folder(folder, "stamp.json", {"a": 1}, lambda path: (calls.append(path), fill(path)))
    assert len(calls) == 1 and (folder / "content.txt").read_text() == "whole"
    build_folder(folder, "stamp.json", {"a": 2}, lambda path: (path / "new.txt").touch())
    assert names(folder) == {"new.txt", "stamp.json"}
    assert names(tmp_path) == {"corpus", other.name}, "what a killed build left is cleared"


def test_a_failed_build_leaves_what_was_there(tmp_path):
    def fail(path):
        fill(path)
        raise RuntimeError("power cut")

    for n_built in (0, 1):
        with pytest.raises(RuntimeError, match="power cut"):
            build_folder(tmp_path / "corpus", "stamp.json", {"a": 2}, fail)
        assert len(names(tmp_path)) == n_built
        build_folder(tmp_path / "corpus", "stamp.json", {"a": 1}, fill)
    assert (tmp_path / "corpus" / "content.txt").read_text() == "whole" and names(tmp_path) == {"corpus"}
    refused("not made here", build_folder, tmp_path, "stamp.json", {"a": 1}, fill)
    assert names(tmp_path) == {"corpus"}, "another's files are safe"


def save(folder: Path, number: int) -> Path:
    return files.write_model(folder, KIND, {"number": number}, {"x": np.full(5_000, number)})


def number_in(folder: Path) -> int:
    config, arrays = files.read_model(folder, KIND)
    assert (arrays["x"] == config["number"]).all()
    return int(config["number"])


def killed_at(monkeypatch, name: str, *, after: bool) -> None:
    """Let the next move of a file to this name fail, before or after it has happened."""
    move = Path.replace

    def replace(self, target):
        if Path(target).name == name:
            if after:
                move(self, target)
            raise SystemExit
        return move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    # what cleans up after an exception does not run in a process that is killed
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)


def test_a_kill_leaves_the_old_model_or_the_new_one(tmp_path, monkeypatch):
    for name, after, found in ((files.WEIGHTS, False, 1), (files.WEIGHTS, True, 2), (files.CONFIG, False, 2)):
        save(tmp_path, 1)
        # a second kill doesn't lose what the first one left
        for number, at, late in ((2, name, after), (3, files.WEIGHTS, False)):
            with monkeypatch.context() as patch, pytest.raises(SystemExit):
                killed_at(patch, at, after=late)
                save(tmp_path, number)
            assert number_in(tmp_path) == found
        assert number_in(save(tmp_path, 4)) == 4
        assert not list(tmp_path.glob("*.new"))


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(files, "write_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path, 2)
    assert number_in(tmp_path) == 1
    assert names(tmp_path) == {files.CONFIG, files.WEIGHTS}


def test_readers_beside_writers_see_whole_models(tmp_path):
    save(tmp_path, 0)
    stop = threading.Event()

    def rewrite(first: int) -> None:
        for number in itertools.count(first, 2):
            if stop.is_set():
                return
            save(tmp_path, number)

    seen, until_s = list[int](), time.monotonic() + 60
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(rewrite, first) for first in (1, 2)]
        try:
            while len(seen) < 300 or (len(set(seen)) < 3 and time.monotonic() < until_s):  # on a busy machine
                seen.append(number_in(tmp_path))
        finally:
            stop.set()
    assert len(set(seen)) > 2 and [writer.result() for writer in writers] == [None, None]


@pytest.mark.parametrize("moments", itertools.combinations_with_replacement(range(4), 2))
def test_a_writer_between_any_two_reads_is_no_damage(tmp_path, monkeypatch, moments):
    """One save ends, and another follows whole, each before the reader's config number `moments`."""
    save(tmp_path, 1)
    unfinished = save(tmp_path / "other", 2)
    (unfinished / files.CONFIG).replace(tmp_path / f"{files.CONFIG}.new")
    (unfinished / files.WEIGHTS).replace(tmp_path / files.WEIGHTS)
    read, numbers = files.read_json, itertools.count()

    def interrupted(path: Path) -> dict[str, object]:
        number = next(numbers)
        if number == moments[0]:
            (tmp_path / f"{files.CONFIG}.new").replace(tmp_path / files.CONFIG)
        if number == moments[1]:
            save(tmp_path, 3)
        return read(path)

    monkeypatch.setattr(files, "read_json", interrupted)
    assert number_in(tmp_path) in (2, 3)


def test_damage_and_foreign_kinds_are_told(tmp_path):
    save(tmp_path, 1)
    refused("not of a saved other", files.read_model, tmp_path, "other")
    told = json.loads((tmp_path / files.CONFIG).read_text())
    (tmp_path / files.CONFIG).write_text(json.dumps(told | {"sha256": "0"}))
    refused("damaged", files.read_model, tmp_path, KIND)
    (tmp_path / files.WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="there is no model"):
        files.read_model(tmp_path, KIND)


# ------------------------------------------------------------------------------------- digests of code

CODE = '"""A module."""\n\n\ndef f(x):\n    """Add."""\n    return x + 1  # one\n'


def test_the_tree_follows_the_code_alone(tmp_path):
    same = [("A module.", "Another text."), ('    """Add."""\n', ""), ("# one", "# a comment")]
    same += [("x + 1", "(x\n            + 1)")]
    other = [("+ 1", "+ 2"), ("(x)", "(x, y=0)"), ("# one", "\ng = 'a text'"), ("# one", "\n'a'")]
    for edits, n_trees in ((same, 1), (other, 5)):
        codes = [CODE, *(CODE.replace(*edit) for edit in edits)]
        assert len({files.code_tree(code.encode()) for code in codes}) == n_trees
    (tmp_path / "a.py").write_text(CODE)
    assert len({files.code_digest({name: tmp_path / "a.py"}) for name in "ab"}) == 2, "a name is a part of it"


def test_the_package_and_the_demo_corpus_follow_their_code_alone(tmp_path, monkeypatch):
    """A comment makes no notebook stale and renders no clip anew; an edit of the code does both."""
    for name in ("__init__.py", "demo.py", "rest.py"):
        (tmp_path / name).write_text(CODE)
    monkeypatch.setattr(scheduling.emolib, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "demo.py"))

    def look() -> tuple[str, object]:
        return scheduling.package_digest.__wrapped__(), demo._recipe([])["sha256"]

    before = look()
    (tmp_path / "demo.py").write_text(CODE + "# a comment\n")
    assert look() == before
    (tmp_path / "demo.py").write_text(CODE.replace("+ 1", "+ 2"))
    assert all(new != old for new, old in zip(look(), before, strict=True))


def test_a_missing_package_is_told_from_a_broken_one(tmp_path, monkeypatch):
    (tmp_path / "broken_one.py").write_text("raise ImportError('libsound.so is missing')\n")
    (tmp_path / "in_need.py").write_text("import absent_one\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(r"^This needs the package absent-one: pip install", files.optional, "absent_one.part", "This")
    refused(r"broken-one \(libsound\.so is missing\): pip", files.optional, "broken_one", "This")
    refused(r"in-need \(No module named 'absent_one'\): pip", files.optional, "in_need", "This")
