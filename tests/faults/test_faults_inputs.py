"""Anything may stand in a name, a table or a grid: it is read, or refused in one line, and never lost."""

import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fault_jobs as jobs
import pandas as pd
import pytest
from fault_tally import repeats, tried
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import speech

from emolib import audio, corpora, emotions, sweep
from emolib.corpora import manifest as manifests

SETTINGS = settings(
    max_examples=10 * repeats(), deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
#: Text without what no file and no UTF-8 can hold.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
#: Pieces of the names that corpora use, to come near them.
PIECES = st.sampled_from(
    ["03", "01", "-", "_", "a", "W", "1001", "DFA", "ANG", "XX", "Actor_01", "16a02", "Ses01F", "0011", "."]
)
NAMES = st.lists(st.one_of(PIECES, TEXT), min_size=1, max_size=7).map("".join)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    return audio.write(tmp_path_factory.mktemp("clip") / "clip.wav", speech(0.3), 16_000).read_bytes()


def told(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a call returns, or None where it refuses its input in one line."""
    try:
        return call(*args, **options)
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error).splitlines()) == 1, str(error)


@pytest.mark.parametrize("corpus", ["ravdess", "emodb", "nemo", "crema-d", "esd", "iemocap", "mead"])
def test_every_file_of_a_corpus_is_used_skipped_or_a_repeat(clip, corpus):
    @SETTINGS
    @given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True))
    def check(names):
        with TemporaryDirectory() as folder, tried("any file names in a corpus"):
            for number, name in enumerate(names):
                path = Path(folder) / "Actor_01" / f"{name.replace('/', '-')[:60].strip('.') or 'x'}.wav"
                path.parent.mkdir(exist_ok=True)
                try:
                    path.write_bytes(clip[:-2] + number.to_bytes(2, "little"))
                except OSError:  # a name too long in bytes
                    continue
            written = sum(not path.name.startswith(".") for path in Path(folder).rglob("*.wav"))
            if (table := told(corpora.load, corpus, folder)) is None:
                return
            said = table.attrs["skipped"], table.attrs["duplicates"]
            assert len(table) + sum(map(len, said)) >= written
            assert set(table["emotion"]) <= set(emotions.EMOTIONS) and table["clip"].is_unique

    check()


CELL = st.one_of(
    TEXT, st.sampled_from(["happy", "angry", "clip.wav", "", "nan", "NA", "0.5", "7", "-1", "007"])
)
ROWS = st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=6)


@SETTINGS
@given(rows=ROWS, column=st.sampled_from(["valence", "clip", "text", "gender", "anything"]))
def test_every_row_of_a_table_is_used_or_skipped(clip, rows, column):
    with TemporaryDirectory() as folder, tried("any cells in a table of recordings"):
        (Path(folder) / "clip.wav").write_bytes(clip)
        table = Path(folder) / "table.csv"
        pd.DataFrame(rows, columns=["path", "speaker", "emotion", column]).to_csv(table, index=False)
        if (manifest := told(corpora.load, "folder", table=table)) is None:
            return
        said = manifest.attrs["skipped"], manifest.attrs["duplicates"]
        assert len(manifest) + sum(map(len, said)) == len(rows)


@SETTINGS
@example(data=b"\x00\x00\x0b\x00")  # a column whose name would break the line
@given(data=st.one_of(st.binary(max_size=300), TEXT.map(str.encode)))
def test_any_bytes_for_a_table(data):
    with TemporaryDirectory() as folder, tried("any bytes for a table"):
        path = Path(folder) / "table.csv"
        path.write_bytes(b"path,speaker,emotion\n" + data if len(data) % 2 else data)
        for read in (manifests.read, lambda csv: corpora.load("folder", table=csv)):
            assert told(read, path) is None


@SETTINGS
@given(
    texts=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4),
    ratings=st.lists(st.one_of(st.just(math.nan), st.floats(-1, 1)), min_size=4, max_size=4),
)
def test_a_manifest_comes_back_as_it_was(texts, ratings):
    blank = dict.fromkeys(manifests.COLUMNS, "") | {"sample_rate": 16_000, "channels": 1, "duration_s": 0.5}
    blank |= dict.fromkeys(("start_s", "end_s", "valence", "dominance"), math.nan)
    before = manifests.frame([
        blank | {"clip": f"c{n}", "speaker": speaker, "label": label, "text": text, "arousal": rating}
        for n, ((speaker, label, text), rating) in enumerate(zip(texts, ratings, strict=False))
    ])  # fmt: skip
    with TemporaryDirectory() as folder, tried("any text in a manifest"):
        after = manifests.read(manifests.save(before, Path(folder) / "manifest.csv"))
        columns = list(manifests.COLUMNS)
        pd.testing.assert_frame_equal(after[columns], before[columns], check_dtype=False, check_exact=True)


# ------------------------------------------------------------------------------------- grids

SCALARS = st.one_of(TEXT, st.integers(-3, 9), st.floats(), st.booleans(), st.none(), st.just("SEED"))
KEYS = st.one_of(TEXT, st.sampled_from(["axes", "SEED", "include", "name"]))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
GRIDS = st.fixed_dictionaries(
    {"axes": st.one_of(TREES, st.just({"SEED": [1, 2]}))},
    optional=dict.fromkeys(("name", "notebooks", "parameters", "include", "exclude", "x"), TREES),
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    return jobs.write_notebooks(tmp_path)


@SETTINGS
@given(grid=st.one_of(GRIDS, TREES, st.binary(max_size=60)))
def test_any_grid_is_read_or_refused(home, grid):
    import yaml

    data = grid if isinstance(grid, bytes) else yaml.safe_dump(grid, allow_unicode=True).encode()
    (home / "any.yaml").write_bytes(data)
    with tried("any grid"):
        if read := told(sweep.read_grid, home / "any.yaml"):
            assert read.cells and all(set(cell) <= {"SEED"} for cell in read.cells.values())
