"""The manifest: columns, duplicates, bad files, tables of every format; real corpora where they are here."""

import csv
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import needs_audio, reasons, refused, speech, write_noise

from emolib import audio, corpora, finetune, mapper, metrics, pretrain, probing, prosody, splits, steering
from emolib.axis import EmotionAxis
from emolib.cli.app import TableFormat
from emolib.corpora import scan, tables

RATE = 16_000


def write_table(folder: Path, rows: list[str], header: str = "path,speaker,emotion") -> Path:
    table = folder / "clips.csv"
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return table


def load(folder: Path, rows: list[str], header: str = "path,speaker,emotion", **options) -> pd.DataFrame:
    """Load a table of rows whose files, where they aren't there, are written first."""
    for number, name in enumerate(row.split(",")[0] for row in rows):
        if name and not (folder / name).exists():
            write_noise(folder / name, number)
    return corpora.load("folder", table=write_table(folder, rows, header), **options)


def ravdess_tree(root: Path) -> Path:
    for seed, name in enumerate(("03-01-01-01-01-01-01", "03-01-05-02-02-01-02", "03-01-02-01-01-02-02")):
        write_noise(root / f"Actor_{name[-2:]}" / f"{name}.wav", seed)
    return root


# ------------------------------------------------------------------------------------- the manifest


def test_columns_order_and_types(tmp_path):
    manifest = corpora.load("ravdess", ravdess_tree(tmp_path))
    assert tuple(manifest.columns) == corpora.COLUMNS
    assert list(manifest["clip"]) == sorted(manifest["clip"])
    assert isinstance(manifest.index, pd.RangeIndex)
    assert set(manifest["speaker"]) == {"ravdess-01", "ravdess-02"}
    assert all(Path(path).is_absolute() for path in manifest["path"])
    assert manifest["arousal"].isna().all() and manifest["arousal"].dtype == np.float64
    assert (manifest["duration_s"] == 0.1).all() and (manifest["sample_rate"] == RATE).all()
    assert manifest["sha256"].str.fullmatch("[0-9a-f]{64}").all() and manifest["sha256"].is_unique
    assert manifest.attrs["notes"][0] == "ravdess: 3 of 1440 published clips found"
    again = corpora.load("folder", table=corpora.save(manifest, tmp_path / "m.csv"))
    pd.testing.assert_frame_equal(again, manifest)


def test_manifest_survives_csv(tmp_path):
    """A column of the user's own is one of numbers where no cell loses by it, such as the zeros of 007."""
    rows = ['a.wav,007,angry,01,"He said ""no"",\nthen left",0.25,12,007', "b.wav,008,calm,NA,null,,,1"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,text_id,text,arousal,age,code")
    back = corpora.read(corpora.save(manifest, tmp_path / "new" / "manifest.csv"))
    pd.testing.assert_frame_equal(back, manifest)
    assert list(back["speaker"]) == ["folder-007", "folder-008"] and list(back["text_id"]) == ["01", "NA"]
    assert back["arousal"][0] == 0.25 and np.isnan(back["arousal"][1])
    assert back["age"][0] == 12 and list(back["code"]) == ["007", "1"]
    assert back.attrs == {"skipped": [], "duplicates": [], "notes": []}
    refused("not a manifest, it lacks: clip, corpus", corpora.read, write_table(tmp_path, ["a.wav,1,calm"]))


def test_names_cards_and_where_to_get_a_corpus(tmp_path, monkeypatch):
    listed = "demo ravdess emodb nemo crema-d esd mead savee tess emov-db emodb-2 emovo cafe shemo subesco "
    listed += "jl-corpus asvp-esd turev-db ased baved casia expresso iemocap meld msp-podcast folder"
    assert " ".join(corpora.names()) == listed
    for call in (corpora.info, corpora.load):
        refused(r"unknown corpus 'RAVDES' \(did you mean 'ravdess'\?\)", call, "RAVDES")
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"nemo: no folder .*; run `emolib fetch nemo`, or .*--root"):
        corpora.load("nemo")
    with pytest.raises(FileNotFoundError, match=r"iemocap: no folder .*; get it by signed request at https"):
        corpora.load("iemocap")
    ravdess_tree(tmp_path / "ravdess")
    assert len(corpora.load("ravdess")) == 3


def test_equal_codes_of_two_corpora_are_two_people(tmp_path):
    """Three speakers 1, 2, 3 of each of two corpora are six, whatever groups them."""
    rows = []
    for i, (corpus, who, word, text) in enumerate(product(("a", "b"), "123", ("sad", "angry"), "xy")):
        audio.write(tmp_path / f"{i:02d}.wav", speech(0.8, seed=i), RATE)
        rows.append(f"{i:02d}.wav,{who},{word},{text},{corpus}")
    manifest = load(tmp_path, rows, "path,speaker,emotion,text_id,corpus")
    y, speakers = manifest["emotion"], manifest["speaker"]
    people = sorted(set(speakers))
    assert people == ["a-1", "a-2", "a-3", "b-1", "b-2", "b-3"]
    X = np.random.default_rng(0).normal(size=(len(manifest), 4))
    X += 9 * (manifest[["corpus"]] == "a").to_numpy()
    centred = pd.DataFrame(probing.centre_speakers(X, speakers)).groupby(speakers.to_numpy()).mean()
    assert np.allclose(centred, 0)
    assert len(splits.folds(manifest, "loso")) == 6
    drawn = metrics.speaker_bootstrap(lambda a, _: a.mean(), X[:, 0], X[:, 0], speakers.to_numpy())
    assert np.isfinite(drawn.low)
    fitted = EmotionAxis("sad", "angry", "mean-difference").fit(X, y, speakers)
    assert sorted(fitted.speakers_) == people
    transform = prosody.ProsodyTransform("sad", "angry").fit(prosody.pairs(manifest, "sad", "angry").pairs)
    assert transform.provenance["speakers"] == people
    assert sorted(chain(*steering.roles(manifest))) == people
    assert sorted(chain(*mapper.training.hold_out(manifest, mapper.Settings()))) == people
    done = finetune.finetune(manifest, tmp_path / "out", finetune.Settings(n_epochs=1))
    assert set(done.held_out) < set(people)
    assert set(pretrain.load_speech(manifest, RATE).speakers) == set(people)


# ----------------------------------------------------------------------------------------- speakers


def test_a_corpus_column_names_the_speaker_once(tmp_path):
    rows = ["a.wav,1,sad,one", "b.wav,one-1,sad,one", "c.wav,1,sad,", "d.wav,1,sad,two"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,corpus")
    assert list(manifest["speaker"]) == ["one-1", "one-1", "folder-1", "two-1"]
    assert len(splits.folds(manifest, "loso")) == 3


# --------------------------------------------------------------------------------------- duplicates


def test_the_reupload_that_holds_each_clip_twice(tmp_path):
    ravdess_tree(tmp_path)
    ravdess_tree(tmp_path / "audio_speech_actors_01-24")
    manifest = corpora.load("ravdess", tmp_path)
    assert len(manifest) == 3 and not manifest["path"].str.contains("audio_speech").any()
    repeats = [(Path(entry["path"]).stem, entry["clip"]) for entry in manifest.attrs["duplicates"]]
    assert len(repeats) == 3 and all(name == clip for name, clip in repeats)


def test_the_clip_that_the_publisher_issued_twice_stays(tmp_path):
    for name in ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07", "03-01-03-01-01-01-07"):
        write_noise(tmp_path / "Actor_07" / f"{name}.wav", 7)
    manifest = corpora.load("ravdess", tmp_path)
    # The first in order is kept, the known twin beside it, and the unknown third is a duplicate.
    assert list(manifest["clip"]) == ["03-01-03-01-01-01-07", "03-01-03-01-02-02-07"]
    assert [entry["clip"] for entry in manifest.attrs["duplicates"]] == ["03-01-03-01-01-01-07"]
    assert any("issued twice" in note for note in manifest.attrs["notes"])


def test_what_differs_between_duplicates_is_told(tmp_path):
    """The first path is kept, whatever the order of the rows."""
    for name in "abcd":
        write_noise(tmp_path / f"{name}.wav", 1)
    manifest = load(tmp_path, ["d.wav,1,angry", "b.wav,2,sad", "c.wav,1,sad", "a.wav,1,sad"])
    assert list(manifest["clip"]) == ["a"] and list(manifest["speaker"]) == ["folder-1"]
    assert [entry["differs"] for entry in manifest.attrs["duplicates"]] == ["speaker", "", "emotion"]
    assert manifest.attrs["notes"][1:] == [
        "folder: 1 duplicates contradict the clip that was kept: d.wav (angry) repeats a (sad)",
        "folder: 1 recordings occur under two speakers: b.wav (folder-2) repeats a (folder-1): "
        "a leak if they fall on both sides of a split",
    ]


def test_one_clip_id_with_two_contents(tmp_path):
    for seed, folder in enumerate(("one", "two")):
        write_noise(tmp_path / folder / "03a01Fa.wav", seed)
    manifest = corpora.load("emodb", tmp_path)
    assert len(manifest) == 1 and "/one/" in manifest["path"][0]
    assert "the clip id 03a01Fa belongs to" in reasons(manifest)["03a01Fa.wav"]


# ---------------------------------------------------------------------------------------- bad input


#: What ails files, and what is found of them; the others are odd but sound.
BAD = {
    "cut.wav": "truncated", "cut.flac": "not readable as sound|truncated", "empty.wav": "empty file",
    "text.wav": "not readable as sound", "packed.m4a": "needs a decoder|not readable as sound",
    "pointer.wav": "a Git LFS pointer", "silent.wav": "silent", "nan.wav": "NaN",
    "onesample.wav": "too short", "fifo.wav": "not a regular file", "dangling.wav": "can't be opened",
    "absent.wav": "can't be opened", "bad\N{REPLACEMENT CHARACTER}name.wav": "can't be opened",
    "whole.wav": "the clip id whole belongs to",
}  # fmt: skip


def test_bad_files_get_their_reason_and_good_ones_stay(tmp_path):
    whole = {end: write_noise(tmp_path / f"whole.{end}", len(end)).read_bytes() for end in ("wav", "flac")}
    contents = {f"cut.{end}": sound[: len(sound) // 2] for end, sound in whole.items()}
    contents |= {"empty.wav": b"", "text.wav": b"I am no sound at all, only words.\n" * 9}
    contents |= {"pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"}
    contents |= {"packed.m4a": b"\0\0\0\x20ftypM4A " + bytes(64)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    sf.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    sf.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    odd = {
        "onesample": {"seconds": 0}, "stereo": {"channels": 2}, "high": {"rate": 96_000},
        "eight": {"subtype": "PCM_U8"}, "twentyfour": {"subtype": "PCM_24"}, "float": {"subtype": "FLOAT"},
    }  # fmt: skip
    for seed, (name, options) in enumerate(odd.items()):
        write_noise(tmp_path / f"{name}.wav", 9 + seed, **options)
    names = sorted(path.name for path in corpora.sound_files(tmp_path))
    table = write_table(tmp_path, [f"{name},1,calm" for name in [*names, "absent.wav", "bad\0name.wav"]])
    manifest = corpora.load("folder", table=table).set_index("clip")
    assert sorted(manifest.index) == ["eight", "float", "high", "stereo", "twentyfour", "whole"]
    found = reasons(manifest)
    assert set(found) == set(BAD)
    for name, pattern in BAD.items():
        assert re.search(pattern, found[name]) and "\n" not in found[name], (name, found[name])
    assert manifest["channels"]["stereo"] == 2 and manifest["sample_rate"]["high"] == 96_000


def test_a_file_is_decoded_again_only_after_it_was_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    decoded, read = [], audio.read
    monkeypatch.setattr(audio, "read", lambda path, *part: (decoded.append(path.name), read(path, *part))[1])
    (tmp_path / "empty.wav").touch()
    rows = ["a.wav,1,calm,,", "b.wav,2,calm,0.02,0.08", "empty.wav,1,calm,,"]

    def once_more(**options) -> pd.DataFrame:
        decoded.clear()
        return load(tmp_path, rows, "path,speaker,emotion,start,end", **options)

    monkeypatch.setattr(scan, "_SETTLED_S", 3600.0)
    once_more()
    first = once_more()
    assert sorted(decoded) == ["a.wav", "b.wav", "empty.wav"]  # written a moment ago: they may still change
    monkeypatch.setattr(scan, "_SETTLED_S", -1.0)
    once_more()
    again = once_more()
    assert decoded == ["empty.wav"]  # what can't be used is looked at each time
    pd.testing.assert_frame_equal(again, first)
    assert again.attrs == first.attrs
    once_more(trim_silence=True)
    assert len(decoded) == 3
    write_noise(tmp_path / "a.wav", 7)
    changed = once_more()
    assert sorted(decoded) == ["a.wav", "empty.wav"] and changed["sha256"][0] != first["sha256"][0]
    for damage in (lambda text: "", lambda text: "[]", lambda text: text.replace("0.1,", "0.2,", 1)):
        for note in (tmp_path / "home" / "data" / "manifests").iterdir():
            note.write_text(damage(note.read_text()))
        pd.testing.assert_frame_equal(once_more(), changed)
        assert len(decoded) == 3


def test_odd_names_hidden_files_and_links(tmp_path):
    ravdess_tree(tmp_path)
    (tmp_path / "Actor_01" / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"")
    for folder in (".fetch", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "03-01-01-01-01-01-01.wav").write_bytes(b"junk")
    (tmp_path / "._03-01-01-01-01-01-01.wav").write_bytes(b"junk")
    (tmp_path / "Actor_01" / "round").symlink_to(tmp_path)
    (tmp_path / "Link").symlink_to(tmp_path / "Actor_02")
    write_noise(tmp_path / "03-01-03-01-01-01-01.wav", 9).rename(tmp_path / "03-01-03-01-01-01-01.WAV")
    manifest = corpora.load("ravdess", tmp_path)
    [skipped] = manifest.attrs["skipped"]
    assert len(manifest) == 4 and skipped["path"].encode("utf-8") and manifest.attrs["duplicates"] == []


def test_no_usable_clip(tmp_path):
    refused(r"ravdess: no usable clip in .*; no sound file \(.aif", corpora.load, "ravdess", tmp_path)
    write_noise(tmp_path / "notes.wav")
    refused("1 skipped, 0 duplicates; the first: notes", corpora.load, "ravdess", tmp_path)


# ------------------------------------------------------------------------------------------- folder


def test_folder_reads_relative_paths_from_its_root(tmp_path):
    write_noise(tmp_path / "audio" / "deep" / "a.wav")
    (tmp_path / "tables").mkdir()
    table = write_table(tmp_path / "tables", [" deep/a.wav ,01, Angry "])
    row = corpora.load("folder", root=tmp_path / "audio", table=table).iloc[0]
    told = (row["clip"], row["speaker"], row["emotion"], row["label"])
    assert told == ("deep/a", "folder-01", "angry", "Angry")
    refused("no usable clip", corpora.load, "folder", table=table)


def test_folder_skips_rows_that_say_too_little(tmp_path):
    manifest = load(tmp_path, ["a.wav,1,xxx", "b.wav,,angry", ",1,angry", "c.wav,1", "d.wav,1,NEUTRAL"])
    assert list(manifest["emotion"]) == ["neutral"]
    found = reasons(manifest)
    assert found["a.wav"] == "no emotion, but 'xxx'; expected a word such as angry or amused"
    assert found["b.wav"] == "no speaker in its row" and found[tmp_path.name] == "no path in its row"
    assert "no emotion, but ''" in found["c.wav"]


#: What everyday tables call emotions, and the word for it.
EVERYDAY = {
    "joy": "happy", "ang": "angry", "neu": "neutral", "hap": "happy", "exc": "excited", "fru": "frustrated",
    "amused": "amused", "Amusement": "amused", "sleepiness": "sleepy", "pleasant surprise": "surprised",
    "pleasant_surprise": "surprised", "other": "other", "low": "low", "normal": "normal", "high": "high",
    "Sadness": "sad",
}  # fmt: skip


def test_every_word_of_an_everyday_table_comes_through(tmp_path):
    manifest = load(tmp_path, [f"{number:02d}.wav,1,{label}" for number, label in enumerate(EVERYDAY)])
    table = tmp_path / "clips.csv"
    assert dict(zip(manifest["label"], manifest["emotion"], strict=True)) == EVERYDAY
    assert manifest.attrs["skipped"] == []
    renamed = manifest.attrs["renamed"]
    assert renamed.startswith("folder: labels renamed: Amusement to amused (1), Sadness to sad (1), ang to")
    assert manifest.attrs["notes"][-2:] == [
        "folder: emotions beyond the named ones, without an anchor: amused (2), high (1), low (1), "
        "normal (1), other (1), sleepy (1)",
        renamed,
    ]
    merged = corpora.load(
        "folder", table=table, mapping={"JOY": "amused", "high": "exc", "surprised": "other"}
    )
    words = merged.set_index("label")["emotion"]
    assert (words["joy"], words["hap"], words["high"]) == ("amused", "happy", "excited")
    assert words["pleasant surprise"] == words["pleasant_surprise"] == "other"
    refused("renames 'jyo', which no clip has", corpora.load, "folder", table=table, mapping={"jyo": "happy"})
    again = corpora.load("folder", table=corpora.save(manifest, tmp_path / "again.csv"))
    assert again.attrs["renamed"] == "" and list(again["emotion"]) == list(manifest["emotion"])
    notes = load(tmp_path, ["00.wav,1,angyr"]).attrs["notes"]
    assert notes[-1].endswith("angyr (1) (did you mean 'angry'?)")


def test_a_mapping_renames_the_emotions_of_a_named_corpus(tmp_path, monkeypatch):
    ravdess_tree(tmp_path)
    manifest = corpora.load("ravdess", tmp_path, mapping={"05": "furious", "calm": "neutral"})
    assert list(manifest["emotion"]) == ["neutral", "neutral", "furious"]
    assert manifest.attrs["renamed"] == "ravdess: labels renamed: angry to furious (1), calm to neutral (1)"
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path / "nowhere"))
    with pytest.warns(corpora.NoAudioWarning):
        shipped = corpora.load("ravdess", mapping={"calm": "neutral"})
    assert shipped["emotion"].nunique() == 7 and "calm to neutral (192)" in shipped.attrs["notes"][-1]


def test_folder_refuses_what_is_no_table(tmp_path):
    refused("needs a table", corpora.load, "folder", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such table"):
        corpora.load("folder", table=tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="belongs to the corpus 'folder', not to 'emodb'"):
        corpora.load("emodb", root=tmp_path, table=tmp_path / "clips.csv")
    write_noise(tmp_path / "a.wav")
    rated, plain = "path,speaker,emotion,valence\n", "path,speaker,emotion\n"
    no_table = "not readable as a table|lacks the columns"
    for content, why in [
        ("", no_table), ("a\nb,c,d\n", no_table), (f'{plain}"a.wav,1,calm\n', no_table),
        (f"{plain}a.wav,1,sad,\n", no_table),  # pandas would take a.wav for the row's name
        ("path,path,speaker,emotion\na.wav,b.wav,1,sad\n", "two columns are named 'path'"),
        ("path,who\na.wav,1\n", "lacks the columns speaker, emotion; it has path, who"),
        *((f"{rated}a.wav,1,calm,0.5\na.wav,1,calm,{x}\n", rf"'{x}' in row 3; expected a number in \[-1, 1\]")
          for x in ("3.5", "-1.01", "high", "inf")),
    ]:  # fmt: skip
        (tmp_path / "clips.csv").write_text(content)
        refused(why, corpora.load, "folder", table=tmp_path / "clips.csv")
    (tmp_path / "clips.csv").write_bytes(b"\xff\xfe\x00bad")
    refused(no_table, corpora.load, "folder", table=tmp_path / "clips.csv")


def test_folder_refuses_other_files_and_one_channel_of_several(tmp_path):
    for same in ("in/a.b.wav", "a.b.wav", "a.b", "/far/in/a.b.wav", ""):
        assert len(load(tmp_path, [f"in/a.b.wav,{same},1,sad"], "path,file,speaker,emotion")) == 1
    why = r"path 'in/a\.b\.wav' but file 'b\.wav' in row 2; expected one file"
    refused(why, load, tmp_path, ["in/a.b.wav,b.wav,1,sad"], "path,file,speaker,emotion")
    write_noise(tmp_path / "two.wav", 2, channels=2)
    manifest = load(tmp_path, ["one.wav,1,sad,1", "two.wav,1,sad,1"], "path,speaker,emotion,channel")
    assert list(manifest["clip"]) == ["one"] and "its row names a channel" in reasons(manifest)["two.wav"]


# ------------------------------------------------------------------------------------------- padding


def test_silence_at_the_end_is_told_and_left_out_on_request(tmp_path, monkeypatch):
    seconds = np.array([0.4, 0.41, 0.42])
    for i, s in enumerate(seconds):  # each padded to a length that its emotion decides
        pad = np.zeros(RATE * (i + 1) - round(s * RATE), np.float32)
        audio.write(tmp_path / f"{i}.wav", np.append(speech(s, seed=i) + 1e-3, pad), RATE)
    table = write_table(tmp_path, ["0.wav,1,sad", "1.wav,1,angry", "2.wav,1,happy"])
    clips = corpora.load("folder", table=table)
    assert list(clips["duration_s"]) == [1, 2, 3] and clips["end_s"].isna().all()
    assert "3 clips end in exact zeros, up to 2.58 s of them" in clips.attrs["notes"][1]
    trimmed = corpora.load("folder", table=table, trim_silence=True)
    assert np.allclose(trimmed["duration_s"], seconds) and np.allclose(trimmed["end_s"], seconds)
    assert list(trimmed["clip"]) == list(clips["clip"]) and len(trimmed.attrs["notes"]) == 1
    assert set(trimmed["sha256"]).isdisjoint(clips["sha256"])
    for row in trimmed.to_dict("records"):  # what an encoder is given
        assert len(audio.load_clip(row)[0]) == round(row["duration_s"] * RATE) < 0.45 * RATE
    again = corpora.load("folder", table=corpora.save(trimmed, tmp_path / "trimmed.csv"))
    assert list(again["end_s"]) == list(trimmed["end_s"])
    whole = audio.load(tmp_path / "0.wav")[0]  # one recording padded to two lengths is one recording
    audio.write(tmp_path / "3.wav", whole[:8000], RATE)
    table = write_table(tmp_path, ["0.wav,1,sad", "3.wav,2,angry"])
    assert len(corpora.load("folder", table=table)) == 2
    trimmed = corpora.load("folder", table=table, trim_silence=True)
    assert len(trimmed) == 1 and trimmed.attrs["duplicates"][0]["differs"] == "emotion, speaker"
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    with pytest.raises(ValueError, match=r"ravdess: its audio is not on this machine, so no silence can be"):
        corpora.load("ravdess", trim_silence=True)


# ----------------------------------------------------------------------------------- parts of files

#: Names of start and end in use; the second number is a duration where the name says so.
TIMES = (
    "start,end", "start_s,end_s", "begin,end", "onset,offset", "onset,duration", "offset,duration",
    "Start (s),End (s)",
)  # fmt: skip


def test_a_row_with_times_is_a_part_of_its_file(tmp_path):
    write_noise(tmp_path / "long.wav", 1, seconds=2)
    for names in TIMES:
        ends = ("0.75", "1.5") if "duration" not in names else ("0.5", "0.5")
        rows = [f"long.wav,1,sad,0.25,{ends[0]}", f"long.wav,1,angry,1.0,{ends[1]}", "long.wav,1,happy,,"]
        manifest = load(tmp_path, rows, f"path,speaker,emotion,{names}")
        assert list(manifest["clip"]) == ["long", "long_0.250-0.750", "long_1.000-1.500"], names
        assert list(manifest["emotion"]) == ["happy", "sad", "angry"]
        assert list(manifest["duration_s"]) == [2, 0.5, 0.5] and manifest["sha256"].is_unique
        assert list(manifest["start_s"][1:]) == [0.25, 1.0] and list(manifest["end_s"][1:]) == [0.75, 1.5]
        assert manifest.loc[0, ["start_s", "end_s"]].isna().all()
        assert tuple(manifest.columns) == corpora.COLUMNS
    again = corpora.load("folder", table=corpora.save(manifest, tmp_path / "again.csv"))
    pd.testing.assert_frame_equal(again, manifest)
    pd.testing.assert_frame_equal(corpora.read(tmp_path / "again.csv"), manifest)


def test_parts_of_equal_sound_are_duplicates(tmp_path):
    write_noise(tmp_path / "long.wav", 1, seconds=2)
    rows = ["long.wav,1,sad,0.5,1", "long.wav,1,angry,0.5,1", "long.wav,1,sad,0.5,1.1"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,start,end")
    assert list(manifest["clip"]) == ["long_0.500-1.000", "long_0.500-1.100"]
    assert len(manifest.attrs["duplicates"]) == 1 and "contradict" in manifest.attrs["notes"][1]


def test_times_that_fit_no_part_are_refused_by_row(tmp_path):
    write_noise(tmp_path / "long.wav", 1, seconds=2)
    bad = {
        "1,1": "expected a start from 0 and a later end", "-1,1": "expected a start from 0 and a later end",
        "1,3": "but the file lasts 2.000 s", "250,750": "in seconds (not milliseconds or samples)",
        "0,inf": "but the file lasts 2.000 s", "1,": "one of start and end; expected both",
        ",1": "one of start and end; expected both", "0:01,2": "its start '0:01' isn't a number of seconds",
        "1,1.01": "too short, 10.0 ms",
    }  # fmt: skip
    # ends may be rounded up
    rows = ["long.wav,1,sad,1.5,2.01", *(f"long.wav,1,angry,{cells}" for cells in bad)]
    manifest = load(tmp_path, rows, "path,speaker,emotion,start,end")
    assert list(manifest["duration_s"]) == [0.5]
    found = [entry["reason"] for entry in manifest.attrs["skipped"]]
    assert len(found) == len(bad) and all(any(why in reason for reason in found) for why in bad.values())
    rows = ["long.wav,1,sad,1,2,1,1", "long.wav,1,sad,0,1,2,0", "long.wav,1,sad,0.5,1,0.5,1.5"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,start,end,duration,begin")
    assert list(manifest["start_s"]) == [1]
    assert [entry["reason"] for entry in manifest.attrs["skipped"]] == [
        "from 0 to 1 s, but its row says that it lasts 2 s",
        "its columns start and begin disagree: 0.5 and 1.5",
    ]


def test_columns_of_times_that_say_too_little_are_refused(tmp_path):
    for names, why in {
        "start": "'start' has no counterpart", "end": "'end' has no counterpart",
        "offset": "'offset' has no counterpart", "start_ms": "'start_ms' isn't in seconds",
        "Frame offset": "'Frame offset' isn't in seconds",
    }.items():  # fmt: skip
        refused(why, load, tmp_path, ["a.wav,1,sad,1"], f"path,speaker,emotion,{names}")
    row = load(tmp_path, ["a.wav,1,sad,7"], "path,speaker,emotion,duration").iloc[0]  # which alone is kept
    assert row["duration"] == 7 and row["duration_s"] == 0.1 and np.isnan(row["start_s"])


def test_a_part_has_the_samples_of_the_whole(tmp_path):
    for ending in ("wav", "flac"):
        path = write_noise(tmp_path / f"long.{ending}", 1, seconds=2, channels=2)
        whole = audio.load(path)[0]
        row = {"path": str(path), "start_s": 0.29, "end_s": 1.31}
        part, rate = audio.load_clip(row)
        assert rate == RATE and np.array_equal(part, whole[4640:20960])
        row |= {"start_s": np.nan, "end_s": np.nan}
        assert np.array_equal(audio.load_clip(pd.Series(row))[0], whole)


# ---------------------------------------------------------------------- tables in every format

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


@pytest.fixture
def home(tmp_path, monkeypatch) -> None:
    """What Parquet has inside is unpacked into a home of its own."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))


def other(sound: bytes, number: int) -> bytes:
    """Return the same sound with another last sample."""
    return sound[:-2] + number.to_bytes(2, "little")


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def as_csv(folder: Path, rows: Rows, separator: str = ",", name: str = "my.csv", start: str = "") -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return write_text(folder / name, start + text.getvalue())


def renamed(rows: Rows, names: dict[str, str]) -> Rows:
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def as_emobox(folder: Path, rows: Rows) -> Path:
    given = [
        {"key": f"set-{i}", "channel": 1, "length": 0.1} | row
        for i, row in enumerate(renamed(rows, {"path": "wav", "emotion": "emo"}))
    ]
    return write_text(folder / "set.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in given))


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
    found = [
        {"audio": {"bytes": (folder / row["path"]).read_bytes(), "path": row["path"]}, "spk": row["speaker"],
         "emotion": LABELS.index(row["emotion"])}
        for row in rows
    ]  # fmt: skip
    for number, part in enumerate((found[:1], found[1:])):
        pq.write_table(pa.Table.from_pylist(part, schema), folder / "data" / f"train-{number}.parquet")
    return folder / "data"


def as_audformat(folder: Path, rows: Rows) -> Path:
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("mine")
    for name in ("emotion", "speaker"):
        db.schemes[name] = audformat.Scheme(labels=sorted({row[name] for row in rows}))
    for name in ("emotion", "speaker"):
        db[name] = audformat.Table(audformat.filewise_index([row["path"] for row in rows]))
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
    "semicolons": lambda folder, rows: as_csv(folder, rows, ";", start="\ufeff"),
    "tabs in a csv": lambda folder, rows: as_csv(folder, rows, "\t"),
    "tsv": lambda folder, rows: as_csv(folder, rows, "\t", "my.tsv"),
    "json": as_json,
    "json by file": lambda folder, rows: as_json(
        folder, {row["path"]: {"spk": row["speaker"], "emo": row["emotion"]} for row in rows}
    ),
    "emobox": as_emobox, "parquet": as_parquet, "hub": as_hub, "audformat": as_audformat,
    "kaldi": as_kaldi, "audiofolder": as_audiofolder,
}  # fmt: skip


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_truth_back(form, sound):
    @SETTINGS
    @example(clips=[("a.b, c", "007", "joy"), ('"q" ;ü', "7", "angry"), ("a\u2028b", "1e5", "amused")])
    @example(clips=[("a", "  ", "joy"), ("b", "7", "joy")])  # nobody speaks the first
    @given(clips=CLIPS)
    def check(clips):
        # blanks around a cell mean nothing
        truth = {f"{name.strip() or 'x'}.wav": (speaker, label) for name, speaker, label in clips}
        with TemporaryDirectory() as place:
            folder = Path(place)
            for number, name in enumerate(truth):
                (folder / name).write_bytes(other(sound, number))
            rows = [{"path": n, "speaker": who, "emotion": word} for n, (who, word) in truth.items()]
            manifest = corpora.load("folder", table=WRITERS[form](folder, rows))
        blank = [who for who, _ in truth.values() if not who.strip()]
        assert list(reasons(manifest).values()) == ["no speaker in its row"] * len(blank)
        assert manifest.attrs["duplicates"] == []
        found = {Path(row.path).name: (row.speaker, row.label) for row in manifest.itertuples()}
        assert found == {name: (f"folder-{who}", word) for name, (who, word) in truth.items() if who.strip()}

    check()


# ----------------------------------------------------------------------------------- names, segments, layouts


@pytest.fixture
def clips(tmp_path, sound) -> Path:
    """A folder of a.wav, b.wav and c.wav, and of a longer one."""
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.wav").write_bytes(other(sound, number))
    audio.write(tmp_path / "long.wav", speech(2.0), 16_000)
    return tmp_path


def read(table: Path, text: str | None = None, **options: Any) -> pd.DataFrame:
    """Load a table, which is written first where its text is given."""
    return corpora.load("folder", table=table if text is None else write_text(table, text), **options)


def test_columns_by_their_usual_names(clips):
    for names in (
        "file,spk,label", "FileName,SpkrID,EmoClass", "wav,speaker_id,emo",
        "audio_filepath,Actor ID,category", "filename,participant,emotion", "file_name,subject,class",
    ):  # fmt: skip
        [row] = read(clips / "my.csv", f"{names},Sex,transcript\na.wav,007,joy,F,Hi\n").itertuples()
        assert (row.speaker, row.emotion, row.label) == ("folder-007", "happy", "joy"), names
        assert (row.gender, row.text) == ("female", "Hi")
    [row] = read(clips / "my.csv", "file,spk,emotion,label,class\na.wav,1,joy,J,x\n").itertuples()
    assert (row.emotion, row.label, row[-1]) == ("happy", "J", "x")  # and a column of the user's own
    for text, why in {
        "file,spk,actor,emo\na.wav,1,1,sad\nb.wav,1,2,sad\n": "'spk' and 'actor' may both be the speaker, "
        "and differ in row 3; rename",
        "file,spk,emo,class\na.wav,1,sad,4\n": "'emo' and 'class' may both be the emotion",
        "file,wav,spk,emo\na.wav,b.wav,1,sad\n": "path 'a.wav' but wav 'b.wav' in row 2",
    }.items():
        refused(why, read, clips / "my.csv", text)


def test_speakers_out_of_paths(clips):
    rows = "".join(f'{{"key": "x-{n}", "wav": "{n}.wav", "emo": "neu", "channel": 1}}\n' for n in "abc")
    table = write_text(clips / "set.jsonl", rows)
    refused(r"lacks the columns speaker; .*give --speaker-pattern REGEX", read, table)
    assert list(read(table, speaker_pattern=r"([ab])\.wav")["speaker"]) == ["folder-a", "folder-b"]
    assert list(read(table, speaker_pattern=r"^.")["clip"]) == ["x-a", "x-b", "x-c"]
    for pattern, why in {"(": "is no regular expression", "x": "no usable clip"}.items():
        refused(why, read, table, speaker_pattern=pattern)
    text = "path,speaker,emotion\na.wav,1,sad\n"
    refused("has a column of speakers", read, clips / "my.csv", text, speaker_pattern="a")


def test_segments_of_kaldi_and_audformat(clips):
    kaldi = clips / "kaldi"
    kaldi.mkdir()
    for name, text in {
        "wav.scp": "rec ../long.wav", "segments": "u1 rec 0.25 0.75\nu2 rec 1.0 1.5",
        "utt2spk": "u1 s1\nu2 s1", "text": "u1 ang\nu2 hap", "spk2gender": "s1 m",
    }.items():  # fmt: skip
        write_text(kaldi / name, text + "\n")
    for table in (kaldi, kaldi / "wav.scp"):
        found = read(table)
        assert list(found["clip"]) == ["u1", "u2"] and list(found["emotion"]) == ["angry", "happy"]
        assert list(found["start_s"]) == [0.25, 1.0] and set(found["gender"]) == {"male"}
    write_text(kaldi / "text", "u1 he said no\nu2 yes\n")
    refused("no utt2emo", read, kaldi)
    write_text(kaldi / "wav.scp", "rec sox long.wav -t wav - |\n")
    refused("is a command; expected names of files", read, kaldi)
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
    found = read(clips)
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
        [row] = (found := read(at)).itertuples()
        assert (row.clip, row.speaker, row.emotion, row.label) == ("a", "folder-007", "angry", "A")
        assert (row.arousal, row.valence, row.dominance, row.gender, row.split) == (1, -1, 0, "male", "Train")
        assert [entry["reason"][:12] for entry in found.attrs["skipped"]] == ["no emotion, ", "no speaker i"]
    write_text(labels / "labels_consensus.csv", re.sub(r",\w+$", "", table, flags=re.MULTILINE))
    write_text(labels / "Partitions.txt", "Train; a.wav\nTest1; b.wav\n")
    assert list(read(clips)["split"]) == ["Train"]


def test_an_audio_folder_with_splits(clips):
    for name, split in (("a", "train"), ("b", "test")):
        (clips / split).mkdir()
        (clips / f"{name}.wav").rename(clips / split / f"{name}.wav")
        row = {"file_name": f"{name}.wav", "speaker_id": 7, "label": "sad"}
        write_text(clips / split / "metadata.jsonl", json.dumps(row))
    found = read(clips)
    assert list(found["split"]) == ["test", "train"] and set(found["speaker"]) == {"folder-7"}


def test_what_is_no_table_is_refused_in_one_sentence(clips, monkeypatch):
    (clips / "empty").mkdir()
    for table, text, why in (
        ("my.json", "[1]", "expected a list of objects"), ("my.json", "{", "not readable as JSON"),
        ("my.json", "[" * 100_000, "not readable as JSON"),
        ("my.csv", "path,speaker,votes_sad,votes_Sadness\n", "expected one votes_<emotion> for each"),
    ):  # fmt: skip
        refused(why, read, clips / table, text)
    refused(r"a folder without a table; expected one of db\.yaml, wav\.scp", read, clips / "empty")
    refused("unknown format 'xls'; expected one of: csv, json", read, clips / "my.csv", form="xls")
    assert get_args(TableFormat) == get_args(tables.Format)  # what the commands offer
    write_text(clips / "list", "path\tspeaker\temotion\na.wav\t1\tsad\n")
    assert len(read(clips / "list")) == len(read(clips / "list", form="csv")) == 1
    refused("not readable as JSON", read, clips / "list", form="json")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (clips / "my.parquet").write_bytes(b"PAR1")
    refused(r"Parquet needs the package pyarrow: pip install pyarrow", read, clips / "my.parquet")


# ------------------------------------------------------------------------------------- several raters


def test_raters_in_any_shape_become_votes(clips):
    said = {"a": ["joy", "ang", "hap"], "b": ["ang", "ang", "ang"], "c": ["joy", "ang", "xxx"]}
    by_row = [f"{n}.wav,1,{word},r{i},{i / 2}" for n, words in said.items() for i, word in enumerate(words)]
    by_column = [f"{n}.wav,1,{','.join(words)}" for n, words in said.items()]
    shapes = {
        "rows": ["file,spk,emo,annotator_id,arousal", *by_row],
        "columns": ["file,spk,rater_1,rater_2,rater_3", *by_column],
        "lists": [json.dumps([{"file": f"{n}.wav", "spk": 1, "emo": words} for n, words in said.items()])],
        "counts": ["file,spk,votes_Anger,votes_joy", "a.wav,1,1,2", "b.wav,1,3,0", "c.wav,1,1,1"],
    }
    for shape, lines in shapes.items():
        found = read(table := clips / f"my.{'json' if shape == 'lists' else 'csv'}", text := "\n".join(lines))
        assert list(found["emotion"]) == ["happy", "angry"], shape
        by_clip = found.set_index("clip")[["votes_happy", "votes_angry"]]
        assert by_clip.loc["a"].tolist() == [2, 1] and by_clip.loc["b"].tolist() == [0, 3]
        assert [entry["reason"][:28] for entry in found.attrs["skipped"]] == ["no emotion, but 'no agreemen"]
        assert shape != "rows" or list(found["arousal"]) == [0.5, 0.5]
        pd.testing.assert_frame_equal(corpora.read(corpora.save(found, clips / "again.csv")), found)
        if shape in ("rows", "counts"):
            wrong = text.replace("1.0", "high").replace(",3,", ",high,")
            refused("expected numbers, or empty cells", read, clips / "wrong.csv", wrong)
        merged = read(table, mapping={"happy": "moved", "angry": "moved"})
        assert list(merged["votes_moved"]) == [3, 3] and "votes_happy" not in merged


# ------------------------------------------------------------------------------------- real corpora


def whole(name: str) -> pd.DataFrame:
    """Return a corpus in which each file is a clip."""
    manifest = corpora.load(name)
    assert manifest.attrs["skipped"] == [] and manifest.attrs["duplicates"] == []
    return manifest


@needs_audio("ravdess")
def test_real_ravdess():
    manifest = whole("ravdess")
    counts = manifest["emotion"].value_counts()
    assert counts.pop("neutral") == 96 and (counts == 192).all() and len(counts) == 7
    assert manifest["speaker"].nunique() == 24 and (manifest["channels"] == 2).sum() == 5
    assert len(manifest[["speaker", "gender"]].drop_duplicates()) == 24


@needs_audio("emodb")
def test_real_emodb():
    manifest = whole("emodb").set_index("clip")
    counts = {"W": 127, "L": 81, "N": 79, "F": 71, "A": 69, "T": 62, "E": 46}
    assert manifest["label"].value_counts().to_dict() == counts
    assert manifest["speaker"].nunique() == 10 and manifest["duration_s"].nunique() > 100
    assert manifest[["arousal", "valence"]].abs().max().max() <= 1 and manifest["arousal"].notna().all()
    arousal = manifest.groupby("emotion")["arousal"].mean()
    assert arousal["angry"] > arousal["sad"]
    assert manifest.loc["03a01Fa", ["recognition", "naturalness"]].tolist() == [90.0, 75.0]
    assert (manifest["recognition"] >= 80).mean() > 0.9  # the publisher kept what 80 % recognised


@needs_audio("crema-d")
def test_real_crema_d():
    manifest = corpora.load("crema-d")
    assert len(manifest) == 7438
    assert manifest["speaker"].nunique() == 91 and manifest["emotion"].nunique() == 6
    assert list(reasons(manifest)) == ["1076_MTI_SAD_XX.ogg"]
    repeats = {Path(entry["path"]).stem: entry for entry in manifest.attrs["duplicates"]}
    assert {name[:8] for name in repeats} == {"1006_TIE", "1013_WSI", "1017_IWW"}
    assert all(name[:8] == entry["clip"][:8] for name, entry in repeats.items())
    assert all(entry["differs"] == "emotion" for entry in repeats.values())
    # the card names them, and each of the others is usable
    known = " ".join(corpora.info("crema-d").defects)
    assert len(manifest) + len(repeats) + len(manifest.attrs["skipped"]) == corpora.info("crema-d").clips
    assert all(name[:8] in known for name in repeats) and "1076_MTI_SAD_XX is digital silence" in known
    assert manifest["voice_vote"].ne("").all() and set(manifest["gender"]) == {"female", "male"}


@needs_audio("nemo")
def test_real_nemo():
    manifest = corpora.load("nemo")
    assert len(manifest) == 2697 and manifest["speaker"].nunique() == 5 and manifest["emotion"].nunique() == 6
    assert "nemo: 2697 of 4481 published clips found" in manifest.attrs["notes"]
    assert len(manifest[["text_id", "text"]].drop_duplicates()) == 90
