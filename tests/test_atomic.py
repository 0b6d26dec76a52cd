"""Folders written whole or not at all."""

import pytest

from emolib.atomic import build_folder


def fill(folder):
    (folder / "content.txt").write_text("whole")


def siblings(folder):
    return {path.name for path in folder.parent.iterdir()}


def test_a_finished_folder_is_reused(tmp_path):
    folder = tmp_path / "corpus"
    calls = []
    for _ in range(2):
        build_folder(folder, "stamp.json", {"a": 1}, lambda path: (calls.append(path), fill(path)))
    assert len(calls) == 1
    assert (folder / "content.txt").read_text() == "whole"
    assert siblings(folder) == {"corpus"}


def test_another_recipe_replaces_it(tmp_path):
    folder = tmp_path / "corpus"
    build_folder(folder, "stamp.json", {"a": 1}, lambda path: (path / "old.txt").touch())
    build_folder(folder, "stamp.json", {"a": 2}, fill)
    assert {path.name for path in folder.iterdir()} == {"content.txt", "stamp.json"}
    assert siblings(folder) == {"corpus"}


def test_a_failed_build_leaves_nothing(tmp_path):
    folder = tmp_path / "corpus"

    def fail(path):
        fill(path)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build_folder(folder, "stamp.json", {}, fail)
    assert siblings(folder) == set()


def test_a_failed_rebuild_keeps_the_old_one(tmp_path):
    folder = build_folder(tmp_path / "corpus", "stamp.json", {"a": 1}, fill)
    with pytest.raises(ZeroDivisionError):
        build_folder(folder, "stamp.json", {"a": 2}, lambda path: 1 / 0)
    assert (folder / "content.txt").read_text() == "whole"
    assert siblings(folder) == {"corpus"}


def test_leftovers_of_a_killed_build_are_cleared(tmp_path):
    leftover = tmp_path / ".corpus.99999.tmp"
    leftover.mkdir()
    fill(leftover)
    other = tmp_path / ".corpus-of-another.1.tmp"
    other.mkdir()
    build_folder(tmp_path / "corpus", "stamp.json", {}, fill)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", other.name}


def test_someone_elses_files_are_safe(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("mine")
    with pytest.raises(ValueError, match="not made here"):
        build_folder(folder, "stamp.json", {}, fill)
    assert (folder / "chapter.txt").read_text() == "mine"
