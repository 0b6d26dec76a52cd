"""Tables as people have them: every format from one truth, usual names, raters, and what is refused."""

import csv
import importlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import reasons, refused, speech

from emolib import audio, corpora
from emolib.cli.app import TableFormat
from emolib.corpora import tables

#: Characters that a file's name may hold; of the rest, a name has at least one.
ODD = " ,;'\"\t#%&äöüßéπ語-_.~()[]{}|=+$€\u2028"
NAME = st.text(st.sampled_from("ab01" + ODD), min_size=1, max_size=9)
LABELS = ("angry", "joy", "amused", "pleasant surprise", "überrascht")
SPEAKERS = ("007", "7", "12", "1e5", "anna", "Zoë", "spk-1", "o'neil, jr.", "nan1")
CLIPS = st.lists(
    st.tuples(NAME, st.sampled_from(SPEAKERS), st.sampled_from(LABELS)),
    min_size=1, max_size=4, unique_by=lambda row: row[0],
)  # fmt: skip
SETTINGS = settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    return audio.write(tmp_path_factory.mktemp("sound") / "a.wav", speech(0.1), 16_000).read_bytes()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    """What Parquet has inside is unpacked into a home of its own."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))


def other(sound: bytes, number: int) -> bytes:
    """Return the same sound with another last sample."""
    return sound[:-2] + number.to_bytes(2, "little")


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def as_csv(folder: Path, rows: Rows, separator: str = ",", name: str = "my.csv") -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return write_text(folder / name, text.getvalue())


def renamed(rows: Rows, names: dict[str, str]) -> Rows:
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def as_emobox(folder: Path, rows: Rows) -> Path:
    names = {"path": "wav", "emotion": "emo"}
    more = {"channel": 1, "length": 0.1}
    given = [{"key": f"set-{i}"} | more | row for i, row in enumerate(renamed(rows, names))]
    lines = [json.dumps(row, ensure_ascii=False) for row in given]
    return write_text(folder / "set.jsonl", "\n".join(lines) + "\n")


def as_json(folder: Path, rows: Any) -> Path:
    return write_text(folder / "my.json", json.dumps(rows))


def as_parquet(folder: Path, rows: Rows) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), importlib.import_module("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "my.parquet")
    return folder / "my.parquet"


def as_hub(folder: Path, rows: Rows) -> Path:
    """Write what a dataset of the hub is: sound in the table, emotions as numbers, in two files."""
    pa, pq = pytest.importorskip("pyarrow"), importlib.import_module("pyarrow.parquet")
    feature = {"emotion": {"names": list(LABELS), "_type": "ClassLabel"}}
    columns = {"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "spk": pa.string()}
    about = {"huggingface": json.dumps({"info": {"features": feature}})}
    schema = pa.schema(columns | {"emotion": pa.int64()}, about)
    (folder / "data").mkdir()
    for number, part in enumerate((rows[:1], rows[1:])):
        sounds = [{"bytes": (folder / row["path"]).read_bytes(), "path": row["path"]} for row in part]
        found = [
            {"audio": sound, "spk": row["speaker"], "emotion": LABELS.index(row["emotion"])}
            for sound, row in zip(sounds, part, strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(found, schema), folder / "data" / f"train-{number}.parquet")
    return folder / "data"


def as_audformat(folder: Path, rows: Rows) -> Path:
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("mine")
    for name in ("emotion", "speaker"):
        db.schemes[name] = audformat.Scheme(labels=sorted({row[name] for row in rows}))
    index = audformat.filewise_index([row["path"] for row in rows])
    for name in ("emotion", "speaker"):
        db[name] = audformat.Table(index)
        db[name][name] = audformat.Column(scheme_id=name)
        db[name][name].set([row[name] for row in rows])
    db.save(str(folder))
    return folder


def as_kaldi(folder: Path, rows: Rows) -> Path:
    for name, key in (("wav.scp", "path"), ("utt2spk", "speaker"), ("utt2emo", "emotion")):
        write_text(folder / name, "".join(f"utt{i} {row[key]}\n" for i, row in enumerate(rows)))
    return folder


def as_audiofolder(folder: Path, rows: Rows) -> Path:
    as_csv(folder, renamed(rows, {"path": "file_name"}), name="metadata.csv")
    return folder


WRITERS: dict[str, Callable[[Path, Rows], Path]] = {
    "csv": as_csv,
    "semicolons": lambda folder, rows: as_csv(folder, rows, ";"),
    "tabs in a csv": lambda folder, rows: as_csv(folder, rows, "\t"),
    "tsv": lambda folder, rows: as_csv(folder, rows, "\t", "my.tsv"),
    "json": as_json,
    "json by file": lambda folder, rows: as_json(
        folder, {row["path"]: {"spk": row["speaker"], "emo": row["emotion"]} for row in rows}
    ),
    "emobox": as_emobox, "parquet": as_parquet, "hub": as_hub, "audformat": as_audformat,
    "kaldi": as_kaldi, "audiofolder": as_audiofolder,
}  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_truth_back(form, sound):
    @SETTINGS
    @example(clips=[("a.b, c", "007", "joy"), ('"q" ;ü', "7", "angry"), ("a\u2028b", "1e5", "amused")])
    @example(clips=[("a", "  ", "joy"), ("b", "7", "joy")])  # nobody speaks the first
    @given(clips=CLIPS)
    def check(clips):
        names = [f"{name.strip() or 'x'}.wav" for name, _, _ in clips]  # blanks around a cell mean nothing
        if len(set(names)) < len(names):
            return
        truth = {name: row[1:] for name, row in zip(names, clips, strict=True)}
        with TemporaryDirectory() as place:
            folder = Path(place)
            for number, name in enumerate(truth):
                (folder / name).write_bytes(other(sound, number))
            rows = [{"path": n, "speaker": who, "emotion": word} for n, (who, word) in truth.items()]
            manifest = corpora.load("folder", table=WRITERS[form](folder, rows))
            blank = sum(not who.strip() for who, _ in truth.values())
            assert list(reasons(manifest).values()) == ["no speaker in its row"] * blank
            assert manifest.attrs["duplicates"] == []
            found = {Path(row.path).name: (row.speaker, row.label) for row in manifest.itertuples()}
            assert found == {
                name: (f"folder-{who}", word) for name, (who, word) in truth.items() if who.strip()
            }

    check()


# ----------------------------------------------------------------------------------- names, segments, layouts


@pytest.fixture
def clips(tmp_path, sound) -> Path:
    """A folder of a.wav, b.wav and c.wav, and of a longer one."""
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.wav").write_bytes(other(sound, number))
    audio.write(tmp_path / "long.wav", speech(2.0), 16_000)
    return tmp_path


def load(table: Path, text: str | None = None, **options: Any) -> pd.DataFrame:
    return corpora.load("folder", table=table if text is None else write_text(table, text), **options)


def test_columns_by_their_usual_names(clips):
    for names in (
        "file,spk,label", "FileName,SpkrID,EmoClass", "wav,speaker_id,emo",
        "audio_filepath,Actor ID,category", "filename,participant,emotion", "file_name,subject,class",
    ):  # fmt: skip
        [row] = load(clips / "my.csv", f"{names},Sex,transcript\na.wav,007,joy,F,Hi\n").itertuples()
        assert (row.speaker, row.emotion, row.label) == ("folder-007", "happy", "joy"), names
        assert (row.gender, row.text) == ("female", "Hi")
    [row] = load(clips / "my.csv", "file,spk,emotion,label,class\na.wav,1,joy,J,x\n").itertuples()
    assert (row.emotion, row.label, row[-1]) == ("happy", "J", "x")  # and a column of the user's own
    for text, why in {
        "file,spk,actor,emo\na.wav,1,1,sad\nb.wav,1,2,sad\n": "'spk' and 'actor' may both be the speaker, "
        "and differ in row 3; rename",
        "file,spk,emo,class\na.wav,1,sad,4\n": "'emo' and 'class' may both be the emotion",
        "file,wav,spk,emo\na.wav,b.wav,1,sad\n": "path 'a.wav' but wav 'b.wav' in row 2",
    }.items():
        refused(why, load, clips / "my.csv", text)


def test_speakers_out_of_paths(clips):
    rows = "".join(f'{{"key": "x-{n}", "wav": "{n}.wav", "emo": "neu", "channel": 1}}\n' for n in "abc")
    table = write_text(clips / "set.jsonl", rows)
    refused(r"lacks the columns speaker; .*give --speaker-pattern REGEX", load, table)
    assert list(load(table, speaker_pattern=r"([ab])\.wav")["speaker"]) == ["folder-a", "folder-b"]
    assert list(load(table, speaker_pattern=r"^.")["clip"]) == ["x-a", "x-b", "x-c"]
    for pattern, why in {"(": "is no regular expression", "x": "no usable clip"}.items():
        refused(why, load, table, speaker_pattern=pattern)
    text = "path,speaker,emotion\na.wav,1,sad\n"
    refused("has a column of speakers", load, clips / "my.csv", text, speaker_pattern="a")


def test_segments_of_kaldi_and_audformat(clips):
    kaldi = clips / "kaldi"
    kaldi.mkdir()
    for name, text in {
        "wav.scp": "rec ../long.wav", "segments": "u1 rec 0.25 0.75\nu2 rec 1.0 1.5",
        "utt2spk": "u1 s1\nu2 s1", "text": "u1 ang\nu2 hap", "spk2gender": "s1 m",
    }.items():  # fmt: skip
        write_text(kaldi / name, text + "\n")
    for table in (kaldi, kaldi / "wav.scp"):
        found = load(table)
        assert list(found["clip"]) == ["u1", "u2"] and list(found["emotion"]) == ["angry", "happy"]
        assert list(found["start_s"]) == [0.25, 1.0] and set(found["gender"]) == {"male"}
    write_text(kaldi / "text", "u1 he said no\nu2 yes\n")
    refused("no utt2emo", load, kaldi)
    write_text(kaldi / "wav.scp", "rec sox long.wav -t wav - |\n")
    refused("is a command; expected names of files", load, kaldi)
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("mine")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    db.schemes["speaker"] = audformat.Scheme(labels={"007": {"gender": "male"}})
    db.schemes["arousal"] = audformat.Scheme("float", minimum=0, maximum=1)
    db.raters["one"], db.raters["two"] = audformat.Rater("human"), audformat.Rater("human")
    parts = audformat.segmented_index(["long.wav"] * 2, ["0.25s", "1s"], ["0.75s", "1.5s"])
    db["seg"] = audformat.Table(parts)
    for rater, labels in (("one", ["joy", "joy"]), ("two", ["joy", "anger"])):
        column = audformat.Column(scheme_id="emotion", rater_id=rater)
        db["seg"][f"emotion.{rater}"] = column
        db["seg"][f"emotion.{rater}"].set(labels)
    db["seg"]["arousal"] = audformat.Column(scheme_id="arousal")
    db["seg"]["arousal"].set([1.0, 0.0])
    db["files"] = audformat.Table(audformat.filewise_index(["long.wav"]))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set(["007"])
    db.save(str(clips))
    found = load(clips)
    assert list(found["start_s"]) == [0.25] and list(found["speaker"]) == ["folder-007"]
    assert (found["votes_happy"][0], found["votes_angry"][0], found["arousal"][0]) == (2, 0, 1)
    assert "no agreement" in found.attrs["skipped"][0]["reason"]


def test_msp_podcast(clips):
    labels = clips / "Labels"
    labels.mkdir()
    (clips / "Audios").mkdir()
    for name in "abc":
        (clips / f"{name}.wav").rename(clips / "Audios" / f"{name}.wav")
    table = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    table += "a.wav,A,7,1,4,007,Male,Train\nb.wav,X,4,4,4,8,Female,Test1\n"
    table += "c.wav,H,4,4,4,Unknown,Unknown,Train\n"
    write_text(labels / "labels_consensus.csv", table)
    for at in (clips, labels / "labels_consensus.csv"):
        [row] = (found := load(at)).itertuples()
        assert (row.clip, row.speaker, row.emotion, row.label) == ("a", "folder-007", "angry", "A")
        assert (row.arousal, row.valence, row.dominance, row.gender, row.split) == (1, -1, 0, "male", "Train")
        assert [entry["reason"][:12] for entry in found.attrs["skipped"]] == ["no emotion, ", "no speaker i"]
    write_text(labels / "labels_consensus.csv", re.sub(r",\w+$", "", table, flags=re.MULTILINE))
    write_text(labels / "Partitions.txt", "Train; a.wav\nTest1; b.wav\n")
    assert list(load(clips)["split"]) == ["Train"]


def test_an_audio_folder_with_splits(clips):
    for name, split in (("a", "train"), ("b", "test")):
        (clips / split).mkdir()
        (clips / f"{name}.wav").rename(clips / split / f"{name}.wav")
        row = {"file_name": f"{name}.wav", "speaker_id": 7, "label": "sad"}
        write_text(clips / split / "metadata.jsonl", json.dumps(row))
    found = load(clips)
    assert list(found["split"]) == ["test", "train"] and set(found["speaker"]) == {"folder-7"}


def test_the_commands_offer_every_format():
    assert get_args(TableFormat) == get_args(tables.Format)


def test_what_is_no_table_is_refused_in_one_sentence(clips, monkeypatch):
    (clips / "empty").mkdir()
    for table, text, why in (
        ("my.json", "[1]", "expected a list of objects"), ("my.json", "{", "not readable as JSON"),
        ("my.json", "[" * 100_000, "not readable as JSON"),
        ("my.csv", "path,speaker,votes_sad,votes_Sadness\n", "expected one votes_<emotion> for each"),
    ):  # fmt: skip
        refused(why, load, clips / table, text)
    refused(r"a folder without a table; expected one of db\.yaml, wav\.scp", load, clips / "empty")
    refused("unknown format 'xls'; expected one of: csv, json", load, clips / "my.csv", form="xls")
    write_text(clips / "list", "path\tspeaker\temotion\na.wav\t1\tsad\n")
    assert len(load(clips / "list")) == len(load(clips / "list", form="csv")) == 1
    refused("not readable as JSON", load, clips / "list", form="json")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (clips / "my.parquet").write_bytes(b"PAR1")
    refused(r"Parquet needs the package pyarrow: pip install pyarrow", load, clips / "my.parquet")


# ------------------------------------------------------------------------------------- several raters

VOTED = {"a": {"votes_happy": 2, "votes_angry": 1}, "b": {"votes_happy": 0, "votes_angry": 3}}


@pytest.mark.parametrize("shape", ["rows", "columns", "lists", "counts"])
def test_raters_in_any_shape_become_votes(clips, shape):
    said = {"a": ["joy", "ang", "hap"], "b": ["ang", "ang", "ang"], "c": ["joy", "ang", "xxx"]}
    if shape == "rows":
        rows = [f"{n}.wav,1,{word},r{i},{i / 2}" for n, words in said.items() for i, word in enumerate(words)]
        text = "\n".join(["file,spk,emo,annotator_id,arousal", *rows])
    elif shape == "columns":
        rows = [f"{n}.wav,1,{','.join(words)}" for n, words in said.items()]
        text = "\n".join(["file,spk,rater_1,rater_2,rater_3", *rows])
    elif shape == "lists":
        text = json.dumps([{"file": f"{n}.wav", "spk": 1, "emo": words} for n, words in said.items()])
    else:
        text = "file,spk,votes_Anger,votes_joy\na.wav,1,1,2\nb.wav,1,3,0\nc.wav,1,1,1\n"
    found = load(table := clips / ("my.json" if shape == "lists" else "my.csv"), text)
    assert list(found["emotion"]) == ["happy", "angry"]
    for name, votes in VOTED.items():
        assert found.set_index("clip").loc[name, list(votes)].to_dict() == votes
    assert [entry["reason"][:28] for entry in found.attrs["skipped"]] == ["no emotion, but 'no agreemen"]
    assert shape != "rows" or list(found["arousal"]) == [0.5, 0.5]
    again = corpora.read(corpora.save(found, clips / "again.csv"))
    assert again.set_index("clip").loc["a", "votes_happy"] == 2
    if shape in ("rows", "counts"):
        wrong = text.replace("1.0", "high").replace(",3,", ",high,")
        refused("expected numbers, or empty cells", load, clips / "wrong.csv", wrong)
    merged = load(table, mapping={"happy": "moved", "angry": "moved"})
    assert list(merged["votes_moved"]) == [3, 3] and "votes_happy" not in merged
