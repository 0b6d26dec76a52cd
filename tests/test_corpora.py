"""The manifest: columns, round trip, duplicates, bad files, tables; real corpora where they are at hand."""

import os
import re
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from samples import needs_audio, reasons, refused, speech, write_noise

from emolib import audio, corpora, finetune, mapper, metrics, pretrain, probing, prosody, splits, steering
from emolib.axis import EmotionAxis
from emolib.corpora.manifest import numbers
from emolib.corpora.scan import sound_files

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
    rows = ['a.wav,007,angry,01,"He said ""no"",\nthen left",0.25,12', "b.wav,008,calm,NA,null,,"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,text_id,text,arousal,age")
    back = corpora.read(corpora.save(manifest, tmp_path / "new" / "manifest.csv"))
    pd.testing.assert_frame_equal(back, manifest)
    assert list(back["speaker"]) == ["folder-007", "folder-008"] and list(back["text_id"]) == ["01", "NA"]
    assert back["arousal"][0] == 0.25 and np.isnan(back["arousal"][1]) and back["age"][0] == 12
    assert back.attrs == {"skipped": [], "duplicates": [], "notes": []}
    refused("not a manifest, it lacks: clip, corpus", corpora.read, write_table(tmp_path, ["a.wav,1,calm"]))


def test_a_column_is_numeric_only_without_loss():
    for cells in (["1", "2.5", "", "nan"], ["0.5", "0"]):
        assert pd.api.types.is_numeric_dtype(numbers(pd.Series(cells, dtype=str)))
    for cells in (["007", "1"], ["", ""], ["1", "x"]):
        assert not pd.api.types.is_numeric_dtype(numbers(pd.Series(cells, dtype=str)))


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


def test_demo_is_built_and_read(tmp_path, monkeypatch):
    def build(root):
        write_noise(tmp_path / "clips" / "c1.wav")
        (tmp_path / "demo.csv").write_text(
            "clip,path,speaker,gender,emotion,intensity,text_id,text,language,arousal,valence,dominance\n"
            "c1,clips/c1.wav,01,female,happy,normal,03,Hello,en,0.4,0.75,nan\n"
        )
        return tmp_path

    monkeypatch.setattr("emolib.demo.build", build)
    row = corpora.load("demo").iloc[0]
    assert (row["clip"], row["corpus"], row["speaker"], row["valence"]) == ("c1", "demo", "demo-01", 0.75)


# ----------------------------------------------------------------------------------------- speakers


def test_a_corpus_column_names_the_speaker_once(tmp_path):
    rows = ["a.wav,1,sad,one", "b.wav,one-1,sad,one", "c.wav,1,sad,"]
    manifest = load(tmp_path, rows, "path,speaker,emotion,corpus")
    assert list(manifest["speaker"]) == ["one-1", "one-1", "folder-1"]


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
    assert set(pretrain.batches.load_speech(manifest).speakers) == set(people)


# --------------------------------------------------------------------------------------- duplicates


def test_the_reupload_that_holds_each_clip_twice(tmp_path):
    ravdess_tree(tmp_path)
    ravdess_tree(tmp_path / "audio_speech_actors_01-24")
    manifest = corpora.load("ravdess", tmp_path)
    assert len(manifest) == 3 and not manifest["path"].str.contains("audio_speech").any()
    assert len(manifest.attrs["duplicates"]) == 3
    for duplicate in manifest.attrs["duplicates"]:
        assert Path(duplicate["path"]).stem == duplicate["clip"]


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
    write_noise(tmp_path / "one" / "03a01Fa.wav", 1)
    write_noise(tmp_path / "two" / "03a01Fa.wav", 2)
    manifest = corpora.load("emodb", tmp_path)
    assert len(manifest) == 1 and "/one/" in manifest["path"][0]
    assert "the clip id 03a01Fa belongs to" in reasons(manifest)["03a01Fa.wav"]


# ---------------------------------------------------------------------------------------- bad input


def bad_tree(root: Path) -> Path:
    """Lay out one good clip, several odd but sound ones, and many bad ones, each named for what ails it."""
    whole = write_noise(root / "whole.wav", 1).read_bytes()
    (root / "cut.wav").write_bytes(whole[: len(whole) // 2])
    flac = write_noise(root / "whole.flac", 2).read_bytes()
    (root / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (root / "empty.wav").write_bytes(b"")
    (root / "text.wav").write_text("I am no sound at all, only words.\n" * 9)
    (root / "packed.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(64))
    (root / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    sf.write(root / "silent.wav", np.zeros(RATE), RATE)
    sf.write(root / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    write_noise(root / "onesample.wav", 3, seconds=0)
    os.mkfifo(root / "fifo.wav")
    (root / "dangling.wav").symlink_to(root / "nowhere.wav")
    write_noise(root / "eight.wav", 4, subtype="PCM_U8")
    write_noise(root / "twentyfour.wav", 5, subtype="PCM_24")
    write_noise(root / "float.wav", 6, subtype="FLOAT")
    write_noise(root / "stereo.wav", 7, channels=2)
    write_noise(root / "high.wav", 8, rate=96_000)
    return root


def test_bad_files_get_their_reason_and_good_ones_stay(tmp_path):
    bad_tree(tmp_path)
    names = sorted(path.name for path in sound_files(tmp_path))
    table = write_table(tmp_path, [f"{name},1,calm" for name in [*names, "absent.wav", "bad\0name.wav"]])
    manifest = corpora.load("folder", table=table)
    fit = ["eight", "float", "high", "stereo", "twentyfour", "whole"]
    assert sorted(set(manifest["clip"])) == fit
    expected = {
        "cut.wav": "truncated", "cut.flac": "not readable as sound|truncated", "empty.wav": "empty file",
        "text.wav": "not readable as sound", "packed.m4a": "needs a decoder|not readable as sound",
        "pointer.wav": "a Git LFS pointer", "silent.wav": "silent", "nan.wav": "NaN",
        "onesample.wav": "too short", "fifo.wav": "not a regular file", "dangling.wav": "can't be opened",
        "absent.wav": "can't be opened", "bad\N{REPLACEMENT CHARACTER}name.wav": "can't be opened",
        "whole.wav": "the clip id whole belongs to",
    }  # fmt: skip
    found = reasons(manifest)
    assert set(found) == set(expected)
    for name, pattern in expected.items():
        assert re.search(pattern, found[name]) and "\n" not in found[name], (name, found[name])
    by_clip = manifest.set_index("clip")
    assert by_clip.loc["stereo", "channels"] == 2 and by_clip.loc["high", "sample_rate"] == 96_000


def test_a_name_that_is_no_text(tmp_path):
    ravdess_tree(tmp_path)
    (tmp_path / "Actor_01" / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"")
    manifest = corpora.load("ravdess", tmp_path)
    [skipped] = manifest.attrs["skipped"]
    assert len(manifest) == 3 and skipped["path"].encode("utf-8")


def test_hidden_files_and_links(tmp_path):
    ravdess_tree(tmp_path)
    for folder in (".fetch", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "03-01-01-01-01-01-01.wav").write_bytes(b"junk")
    (tmp_path / "._03-01-01-01-01-01-01.wav").write_bytes(b"junk")
    (tmp_path / "Actor_01" / "round").symlink_to(tmp_path)
    (tmp_path / "Link").symlink_to(tmp_path / "Actor_02")
    write_noise(tmp_path / "03-01-03-01-01-01-01.wav", 9).rename(tmp_path / "03-01-03-01-01-01-01.WAV")
    manifest = corpora.load("ravdess", tmp_path)
    assert len(manifest) == 4 and manifest.attrs["skipped"] == [] and manifest.attrs["duplicates"] == []


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


def test_folder_reads_what_a_spreadsheet_writes(tmp_path):
    write_noise(tmp_path / "Zürich 1.wav", 1)
    write_noise(tmp_path / "b.wav", 2)
    rows = [("path", "speaker", "emotion"), ("Zürich 1.wav", "7", "Sadness"), ("b.wav", "7", "fear")]
    for separator, ending in [(",", "csv"), (";", "csv"), ("\t", "tsv")]:
        table = tmp_path / f"mine.{ending}"
        table.write_text("\n".join(map(separator.join, rows)), encoding="utf-8-sig")
        told = corpora.load("folder", table=table)[["emotion", "label"]]
        assert told.to_numpy().tolist() == [["sad", "Sadness"], ["fearful", "fear"]]


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


def test_folder_refuses_two_columns_of_files_that_disagree(tmp_path):
    for same in ("in/a.b.wav", "a.b.wav", "a.b", "/far/in/a.b.wav", ""):
        assert len(load(tmp_path, [f"in/a.b.wav,{same},1,sad"], "path,file,speaker,emotion")) == 1
    why = r"path 'in/a\.b\.wav' but file 'b\.wav' in row 2; expected one file"
    refused(why, load, tmp_path, ["in/a.b.wav,b.wav,1,sad"], "path,file,speaker,emotion")


def test_folder_refuses_one_channel_of_several(tmp_path):
    write_noise(tmp_path / "two.wav", 2, channels=2)
    manifest = load(tmp_path, ["one.wav,1,sad,1", "two.wav,1,sad,1"], "path,speaker,emotion,channel")
    assert list(manifest["clip"]) == ["one"] and "its row names a channel" in reasons(manifest)["two.wav"]


# ------------------------------------------------------------------------------------------- padding


def padded_corpus(root: Path) -> Path:
    """Write clips of three speakers, each padded with zeros to a length that its emotion decides."""
    rows = []
    for i, (who, word, _) in enumerate(product("123", ("sad", "angry", "happy"), range(4))):
        wave = speech(0.4 + 0.01 * (i % 4), seed=i) + 1e-3
        pad = np.zeros(RATE * {"sad": 1, "angry": 2, "happy": 3}[word] - len(wave), np.float32)
        audio.write(root / f"{i:02d}.wav", np.concatenate([wave, pad]), RATE)
        rows.append(f"{i:02d}.wav,{who},{word}")
    return write_table(root, rows)


def test_silence_at_the_end_is_told_and_left_out_on_request(tmp_path):
    table = padded_corpus(tmp_path)
    clips = corpora.load("folder", table=table)
    assert sorted(set(clips["duration_s"])) == [1, 2, 3] and clips["end_s"].isna().all()
    assert "36 clips end in exact zeros, up to 2.60 s of them" in clips.attrs["notes"][1]
    trimmed = corpora.load("folder", table=table, trim_silence=True)
    assert np.allclose(trimmed["duration_s"], 0.4 + 0.01 * (np.arange(36) % 4))
    assert np.allclose(trimmed["end_s"], trimmed["duration_s"])
    assert list(trimmed["clip"]) == list(clips["clip"]) and len(trimmed.attrs["notes"]) == 1
    assert set(trimmed["sha256"]).isdisjoint(clips["sha256"])
    for row in trimmed.to_dict("records")[:3]:  # what an encoder is given
        assert len(audio.load_clip(row)[0]) == round(row["duration_s"] * RATE) < 0.45 * RATE
    again = corpora.load("folder", table=corpora.save(trimmed, tmp_path / "trimmed.csv"))
    assert list(again["end_s"]) == list(trimmed["end_s"])


def test_one_recording_padded_to_two_lengths_is_one_recording(tmp_path):
    wave = speech(0.4, seed=1) + 1e-3
    for name, zeros in (("a", 1_600), ("b", 8_000)):
        audio.write(tmp_path / f"{name}.wav", np.append(wave, np.zeros(zeros, np.float32)), RATE)
    table = write_table(tmp_path, ["a.wav,1,sad", "b.wav,2,angry"])
    assert len(corpora.load("folder", table=table)) == 2
    trimmed = corpora.load("folder", table=table, trim_silence=True)
    assert len(trimmed) == 1 and trimmed.attrs["duplicates"][0]["differs"] == "emotion, speaker"


def test_silence_cannot_be_trimmed_without_the_audio(monkeypatch, tmp_path):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    with pytest.raises(ValueError, match=r"ravdess: its audio is not on this machine, so no silence can be"):
        corpora.load("ravdess", trim_silence=True)


# ----------------------------------------------------------------------------------- parts of files

#: Names of start and end in use; the second number is a duration where the name says so.
TIMES = (
    "start,end", "start_s,end_s", "begin,end", "onset,offset", "onset,duration", "offset,duration",
    "Start (s),End (s)",
)  # fmt: skip


@pytest.mark.parametrize("names", TIMES)
def test_a_row_with_times_is_a_part_of_its_file(tmp_path, names):
    write_noise(tmp_path / "long.wav", 1, seconds=2)
    ends = ("0.75", "1.5") if "duration" not in names else ("0.5", "0.5")
    rows = [f"long.wav,1,sad,0.25,{ends[0]}", f"long.wav,1,angry,1.0,{ends[1]}", "long.wav,1,happy,,"]
    manifest = load(tmp_path, rows, f"path,speaker,emotion,{names}")
    assert list(manifest["clip"]) == ["long", "long_0.250-0.750", "long_1.000-1.500"]
    assert list(manifest["emotion"]) == ["happy", "sad", "angry"]
    assert list(manifest["duration_s"]) == [2, 0.5, 0.5] and manifest["sha256"].is_unique
    assert list(manifest["start_s"][1:]) == [0.25, 1.0] and list(manifest["end_s"][1:]) == [0.75, 1.5]
    assert manifest.loc[0, ["start_s", "end_s"]].isna().all() and tuple(manifest.columns) == corpora.COLUMNS
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


# ------------------------------------------------------------------------------------- real corpora


@needs_audio("ravdess")
def test_real_ravdess():
    manifest = corpora.load("ravdess")
    counts = manifest["emotion"].value_counts()
    assert counts.pop("neutral") == 96 and (counts == 192).all() and len(counts) == 7
    assert manifest["speaker"].nunique() == 24 and (manifest["channels"] == 2).sum() == 5
    assert len(manifest[["speaker", "gender"]].drop_duplicates()) == 24
    assert manifest.attrs["skipped"] == [] and manifest.attrs["duplicates"] == []


@needs_audio("emodb")
def test_real_emodb():
    manifest = corpora.load("emodb")
    counts = {"W": 127, "L": 81, "N": 79, "F": 71, "A": 69, "T": 62, "E": 46}
    assert manifest["label"].value_counts().to_dict() == counts
    assert manifest["speaker"].nunique() == 10 and manifest["duration_s"].nunique() > 100
    assert manifest.attrs["skipped"] == [] and manifest.attrs["duplicates"] == []
    assert manifest[["arousal", "valence"]].abs().max().max() <= 1 and manifest["arousal"].notna().all()
    arousal = manifest.groupby("emotion")["arousal"].mean()
    assert arousal["angry"] > arousal["sad"]
    by_clip = manifest.set_index("clip")
    assert by_clip.loc["03a01Fa", ["recognition", "naturalness"]].tolist() == [90.0, 75.0]
    assert (by_clip["recognition"] >= 80).mean() > 0.9  # the publisher kept what 80 % recognised


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
