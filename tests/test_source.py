"""A digest of code follows what the code does, not how it is described."""

from emolib import demo, scheduling, source

CODE = '"""A module."""\n\n\ndef f(x):\n    """Add."""\n    return x + 1  # one\n'


def test_the_tree_follows_the_code_alone():
    same = (
        CODE.replace("A module.", "Another text."),
        CODE.replace('    """Add."""\n', ""),
        CODE.replace("# one", "# a comment"),
        CODE.replace("x + 1", "(x\n            + 1)"),
    )
    other = (
        CODE.replace("+ 1", "+ 2"),
        CODE.replace("(x)", "(x, y=0)"),
        CODE + "g = 'a text'\n",
        CODE + "'a'\n",
    )
    assert len({source.tree_of(code.encode()) for code in (CODE, *same)}) == 1
    assert len({source.tree_of(code.encode()) for code in (CODE, *other)}) == 5


def test_a_name_is_part_of_the_digest(tmp_path):
    (tmp_path / "a.py").write_text(CODE)
    assert source.digest({"a": tmp_path / "a.py"}) != source.digest({"b": tmp_path / "a.py"})


def test_the_package_and_the_demo_corpus_follow_their_code_alone(tmp_path, monkeypatch):
    """A comment makes no notebook stale and renders no clip anew; an edit of the code does both."""
    for name in ("__init__.py", "demo.py", "rest.py"):
        (tmp_path / name).write_text(CODE)
    monkeypatch.setattr(scheduling.emolib, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "demo.py"))

    def look() -> tuple[str, object]:
        scheduling.package_digest.cache_clear()
        return scheduling.package_digest(), demo._recipe([], 0)["sha256"]

    try:
        before = look()
        (tmp_path / "demo.py").write_text(CODE + "# a comment\n")
        assert look() == before
        (tmp_path / "demo.py").write_text(CODE.replace("+ 1", "+ 2"))
        after = look()
    finally:
        scheduling.package_digest.cache_clear()
    assert after[0] != before[0] and after[1] != before[1]
