"""Folders follow the two environment variables, and names of corpora and encoders become safe."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from emolib import paths


def test_home_override_moves_every_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    assert paths.home() == tmp_path.resolve()
    for folder in (paths.data, paths.models, paths.figures, paths.runs):
        assert folder() == tmp_path.resolve() / folder.__name__
    assert paths.corpora() == paths.data() / "corpora"
    assert paths.corpus("nemo") == paths.corpora() / "nemo"


def test_a_home_of_its_own_still_has_what_the_checkout_ships(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path / "checkout")
    shipped, own = tmp_path / "checkout" / "models" / "net", tmp_path / "home" / "models" / "net"
    assert paths.model("net") == own and paths.notebooks() == tmp_path / "home" / "notebooks"
    for folder in (shipped, tmp_path / "checkout" / "notebooks"):
        folder.mkdir(parents=True)
    assert paths.model("net") == shipped and paths.notebooks() == tmp_path / "checkout" / "notebooks"
    own.mkdir(parents=True)
    assert paths.model("net") == own and paths.model("other") == own.parent / "other"


def test_overrides_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOLIB_HOME", "lab")
    monkeypatch.setenv("EMOLIB_CORPORA", "~/speech")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.home() == (tmp_path / "lab").resolve()
    assert paths.corpora() == (tmp_path / "speech").resolve()
    assert paths.data() == (tmp_path / "lab" / "data").resolve()
    monkeypatch.delenv("EMOLIB_HOME")
    root = Path(paths.__file__).resolve().parent.parent
    assert paths.home() == (root if (root / "notebooks").is_dir() else Path.cwd())


def test_each_corpus_and_encoder_has_folders_of_its_own():
    others = {paths.gallery("demo", "logmel"), paths.gallery("nemo", "logmel"), paths.gallery("nemo")}
    assert len(others) == 3 and all(folder.parent == paths.figures() == paths.gallery() for folder in others)
    stores = {paths.feature_store("demo", name) for name in ("a/b", "a-b", "random:a/b")}
    assert len(stores) == 3 and {store.parent for store in stores} == {paths.data() / "features" / "demo"}


@example("..")
@example("../../etc")
@example("C:\\x")
@given(st.text(max_size=30))
def test_folder_names_are_single_and_stable(name):
    folder = paths.folder_name(name)  # which a hostile one can't leave
    assert folder not in ("", ".", "..") and not set(folder) & set("/\\:\0\n *?")
    assert paths.folder_name(folder) == folder
