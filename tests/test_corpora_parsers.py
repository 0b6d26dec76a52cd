"""Each corpus's grammar, on any text and on tiny trees laid out as published."""

import math
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from emolib import corpora, emotions
from emolib.corpora import crema_d, emodb, esd, iemocap, mead, nemo, ravdess
from emolib.corpora.manifest import Label, Skipped, from_five_points

ANY_NAME = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40)
# Text that nearly fits is where a grammar goes wrong; digits of other scripts are the classic.
NEAR_NAME = st.text(st.sampled_from("0123456789abFWMXANG_-.٣३ level/"), min_size=1, max_size=30)
PARSERS = [ravdess.parse, emodb.parse, crema_d.parse, esd.parse, mead.parse]


def write_noise(path: Path, seed: int) -> Path:
    """Write 50 ms of noise whose content depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.random.default_rng(seed).uniform(-0.3, 0.3, 800), 16_000)
    return path


def write_tree(root: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        write_noise(root / name, seed)
    return root


def reasons(manifest: pd.DataFrame) -> dict[str, str]:
    return {Path(entry["path"]).name: entry["reason"] for entry in manifest.attrs["skipped"]}


@given(st.sampled_from(PARSERS), ANY_NAME | NEAR_NAME)
def test_any_name_is_a_label_or_skipped(parse, name):
    item = parse(Path("corpus", name))
    assert isinstance(item, Label | Skipped)
    if isinstance(item, Label):
        emotions.check(item.emotion)
    else:
        assert item.reason and "\n" not in item.reason


@given(st.lists(ANY_NAME, min_size=1, max_size=6))
def test_any_line_is_harmless(words):
    line = " ".join(words)
    assert all(isinstance(text, str) for _, text in esd.parse_transcript(line))
    assert all(isinstance(found, iemocap.Evaluation) for found in iemocap.parse_evaluation(line))
    evaluation = iemocap.Evaluation(line, words[0], 3.0, 3.0, 3.0)
    assert isinstance(iemocap.label(Path("x.wav"), evaluation, "Session1", ""), Skipped)
    row = {"speaker_id": words[0], "emotion": words[-1], "gender": "male", "raw_text": line, "age": line}
    assert isinstance(nemo.parse(Path("a", words[0]), row), Skipped)


def test_five_points():
    assert [from_five_points(rating) for rating in (1, 3, 4.5, 5)] == [-1, 0, 0.75, 1]
    assert all(math.isnan(from_five_points(rating)) for rating in (0.99, 5.5, math.nan))


# ------------------------------------------------------------------------------------------ RAVDESS


@given(
    st.sampled_from(sorted(ravdess.EMOTIONS)), st.sampled_from(["01", "02"]), st.sampled_from(["01", "02"]),
    st.sampled_from(["01", "02"]), st.sampled_from(ravdess.ACTORS), st.sampled_from([".wav", ".flac"]),
)  # fmt: skip
def test_ravdess_round_trip(emotion, intensity, text, repetition, actor, suffix):
    name = "-".join(("03", "01", emotion, intensity, text, repetition, actor))
    item = ravdess.parse(Path(f"Actor_{actor}", name + suffix))
    if (emotion, intensity) == ("01", "02"):
        assert isinstance(item, Skipped) and "strong neutral" in item.reason
        return
    assert isinstance(item, Label)
    assert (item.clip, item.speaker, item.label, item.text_id) == (name, actor, emotion, text)
    assert item.gender == ("female" if int(actor) % 2 == 0 else "male")
    assert item.intensity == ("normal" if intensity == "01" else "strong")


def test_ravdess_skips():
    for name, reason in [
        ("03-02-01-01-01-01-01", "not audio-only speech"),
        ("02-01-01-01-01-01-01", "not audio-only speech"),
        ("03-01-09-01-01-01-01", "unknown emotion"),
        ("03-01-03-03-01-01-01", "unknown emotion, intensity"),
        ("03-01-03-01-01-01-25", "unknown repetition or actor"),
        ("03-01-03-01-01-01-00", "unknown repetition or actor"),
        ("03-01-03-01-01-01-01 (1)", "its name isn't seven"),
        ("03-01-03-01-01-01-٠١", "its name isn't seven"),
    ]:
        item = ravdess.parse(Path(f"{name}.wav"))
        assert isinstance(item, Skipped) and reason in item.reason


# -------------------------------------------------------------------------------------------- EmoDB


@given(
    st.sampled_from(sorted(emodb.SPEAKERS)), st.sampled_from(sorted(emodb.TEXTS)),
    st.sampled_from(sorted(emodb.EMOTIONS)), st.sampled_from(["", *string.ascii_lowercase]),
)  # fmt: skip
def test_emodb_round_trip(speaker, text, letter, version):
    item = emodb.parse(Path(f"{speaker}{text}{letter}{version}.wav"))
    assert isinstance(item, Label)
    assert item.clip == speaker + text + letter + version
    assert (item.speaker, item.text_id, item.label) == (speaker, text, letter)


def test_emodb_tree(tmp_path):
    root = write_tree(
        tmp_path / "emodb", ["wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/07a01Fa.wav", "wav/x.wav"]
    )
    (root / "erkennung.txt").write_bytes(
        b"Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\xa0\t03a01Fa.wav\t90,00\xa0\xa0\t75,50\xa0\xa0\n"
    )
    without = corpora.load("emodb", root)
    assert without["arousal"].isna().all()
    assert any("no emodb_activation_valence.csv" in note for note in without.attrs["notes"])
    (tmp_path / emodb.RATINGS).write_text("file,activation,valence\n03a01Fa.wav,4.0,2.5\n16b10Wb.wav,5.5,1\n")
    manifest = corpora.load("emodb", root).set_index("clip")
    assert list(manifest["gender"]) == ["male", "female"] and list(manifest["age"]) == [31, 31]
    assert manifest.loc["03a01Fa", ["arousal", "valence"]].tolist() == [0.5, -0.25]
    assert np.isnan(manifest.loc["16b10Wb", "arousal"]) and manifest.loc["16b10Wb", "valence"] == -1
    assert manifest.loc["03a01Fa", ["recognition", "naturalness"]].tolist() == [90.0, 75.5]
    assert np.isnan(manifest.loc["16b10Wb", "recognition"])
    assert manifest.loc["03a01Fa", "text"] == "Der Lappen liegt auf dem Eisschrank."
    assert set(reasons(manifest)) == {"07a01Fa.wav", "x.wav"}


def test_emodb_ratings_without_columns(tmp_path):
    root = write_tree(tmp_path, ["03a01Fa.wav"])
    (root / emodb.RATINGS).write_text("name,a,v\n")
    with pytest.raises(ValueError, match="lacks the columns activation, file, valence"):
        corpora.load("emodb", root)


# --------------------------------------------------------------------------------------------- nEMO

NEMO_HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def nemo_row(name: str, emotion: str, speaker: str, age: str = "23") -> str:
    return f'{name}\t{emotion}\t"Ród smoka” to serial.\tród smoka\t{speaker}\tmale\t{age}\n'


@given(
    st.tuples(st.text("ABXYZ", min_size=2, max_size=3), st.sampled_from("012")).map("".join),
    st.sampled_from(sorted(nemo.EMOTIONS)),
    st.integers(1, 99),
)
def test_nemo_round_trip(speaker, emotion, sentence):
    row = {"speaker_id": speaker, "emotion": emotion, "gender": "female", "raw_text": "Tak.", "age": "23"}
    item = nemo.parse(Path(f"{speaker}_{emotion}_{sentence}.wav"), row)
    assert isinstance(item, Label)
    assert (item.speaker, item.label, item.text_id) == (speaker, emotion, str(sentence))


def test_nemo_tree(tmp_path):
    names = ["WR0_surprised_64", "KS0_anger_1", "KS0_fear_2", "MM0_anger_3"]
    write_tree(tmp_path, [f"samples/{name}.ogg" for name in names])
    rows = nemo_row("WR0_surprised_64.wav", "surprised", "WR0") + nemo_row(
        "KS0_anger_1.wav", "anger", "KS0", ""
    )
    rows += nemo_row("KS0_fear_2.wav", "anger", "KS0") + nemo_row("AA0_fear_9.wav", "fear", "AA0")
    (tmp_path / "data.tsv").write_text(NEMO_HEADER + rows, encoding="utf-8")
    manifest = corpora.load("nemo", tmp_path)
    assert list(manifest["emotion"]) == ["angry", "surprised"] and list(manifest["text_id"]) == ["1", "64"]
    assert (
        manifest["text"][0].startswith('"Ród smoka”')
        and np.isnan(manifest["age"][0])
        and manifest["age"][1] == 23
    )
    found = reasons(manifest)
    assert "no line in data.tsv" in found["MM0_anger_3.ogg"] and "disagree" in found["KS0_fear_2.ogg"]
    assert found["AA0_fear_9.wav"] == "named in data.tsv but not there"


def test_nemo_without_its_table(tmp_path):
    write_tree(tmp_path, ["samples/WR0_surprised_64.wav"])
    with pytest.raises(FileNotFoundError, match=r"data\.tsv: nEMO's table of labels is missing"):
        corpora.load("nemo", tmp_path)
    (tmp_path / "data.tsv").write_text("file_id\temotion\nWR0_surprised_64.wav\tsurprised\n")
    with pytest.raises(ValueError, match="lacks the columns raw_text, speaker_id, gender, age"):
        corpora.load("nemo", tmp_path)


# ------------------------------------------------------------------------------------------ CREMA-D


@given(
    st.sampled_from(sorted(crema_d.ACTORS)), st.sampled_from(sorted(crema_d.TEXTS)),
    st.sampled_from(sorted(crema_d.EMOTIONS)), st.sampled_from(["LO", "MD", "HI", "XX"]),
)  # fmt: skip
def test_crema_d_round_trip(actor, text, emotion, level):
    item = crema_d.parse(Path(f"{actor}_{text}_{emotion}_{level}.wav"))
    assert isinstance(item, Label)
    assert (item.speaker, item.text_id, item.label) == (actor, text, emotion)
    assert item.intensity == {"LO": "low", "MD": "medium", "HI": "high", "XX": ""}[level]


def test_crema_d_tree(tmp_path):
    names = ["1001_DFA_ANG_XX", "1002_IEO_HAP_LO", "1040_ITH_SAD_X", "1092_DFA_ANG_XX", "1001_DFA_ANG"]
    write_tree(tmp_path, [f"AudioWAV/{name}.wav" for name in names] + ["AudioMP3/1001_DFA_ANG_XX.mp3"])
    plain = corpora.load("crema-d", tmp_path)
    assert set(plain["gender"]) == {""} and "voice_vote" not in plain and len(plain.attrs["notes"]) == 3
    (tmp_path / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","x","y"\n1002,21,"Female","x","y"\n'
    )
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults" / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
        '"1","1002_IEO_HAP_LO","N","71.67","H","57","H","57.38"\n'
        '"2","1040_ITH_SAD_XX","A:F","30.67:51.00","N","63.5","S","60"\n'
    )
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text(
        '"","A","D","F","H","N","S","fileName","numResponses"\n'
        '"100002",0,0,0,3,6,0,"1002_IEO_HAP_LO",9\n"200002",0,0,0,9,1,0,"1002_IEO_HAP_LO",10\n'
    )
    manifest = corpora.load("crema-d", tmp_path).set_index("clip")
    votes = manifest.filter(like="votes_")
    assert list(votes) == [f"votes_{w}" for w in ("angry", "disgust", "fearful", "happy", "neutral", "sad")]
    assert votes.loc["1002_IEO_HAP_LO"].tolist() == [0, 0, 0, 3, 6, 0] and votes.to_numpy().sum() == 9
    assert list(manifest.index) == ["1001_DFA_ANG_XX", "1002_IEO_HAP_LO", "1040_ITH_SAD_X"]
    assert list(manifest["gender"]) == ["male", "female", ""]
    assert list(manifest["voice_vote"]) == ["", "neutral", "angry:fearful"]
    assert manifest.loc["1002_IEO_HAP_LO", ["multimodal_vote", "multimodal_level"]].tolist() == [
        "happy",
        "57.38",
    ]
    assert manifest.loc["1040_ITH_SAD_X", "voice_level"] == "30.67:51.00"
    assert set(reasons(manifest)) == {"1092_DFA_ANG_XX.wav", "1001_DFA_ANG.wav"}


# ---------------------------------------------------------------------------------------------- ESD


@given(
    st.sampled_from(esd.SPEAKERS), st.sampled_from(sorted(esd.EMOTIONS)),
    st.sampled_from(["", *esd.PARTITIONS]), st.integers(1, 1750),
)  # fmt: skip
def test_esd_round_trip(speaker, emotion, partition, number):
    item = esd.parse(Path("ESD", speaker, emotion, partition, f"{speaker}_{number:06d}.wav"))
    assert isinstance(item, Label)
    assert (item.speaker, item.label, item.extra) == (speaker, emotion, {"partition": partition})
    assert item.language == ("zh" if int(speaker) <= 10 else "en")
    assert 1 <= int(item.text_id[2:]) <= 350 and (number - int(item.text_id[2:])) % 350 == 0


ENCODINGS = [
    ("0001", "gb18030"),
    ("0003", "utf-16"),
    ("0011", "utf-8-sig"),
    ("0016", "cp1252"),
    ("0012", "utf-16"),
]


@pytest.mark.parametrize(("speaker", "encoding"), ENCODINGS)
def test_esd_transcripts_in_each_encoding(tmp_path, speaker, encoding):
    words, word = (
        ("打远一看，它们的确很是美丽，", "中立")
        if speaker <= "0010"
        else ("The café’s nine eggs.", "Neutral")
    )
    root = write_tree(tmp_path, [f"Emotion Speech Dataset/{speaker}/Neutral/train/{speaker}_000001.wav"])
    transcript = root / "Emotion Speech Dataset" / speaker / f"{speaker}.txt"
    transcript.write_bytes(f"{speaker}_000001\t{words}\t{word}\r\n".encode(encoding))
    row = corpora.load("esd", root).iloc[0]
    assert (row["text"], row["emotion"], row["partition"]) == (words, "neutral", "train")


def test_esd_tree(tmp_path):
    names = ["0011/Angry/test/0011_000351.wav", "0011/Surprise/0011_001401.wav"]
    names += ["0021/Angry/0021_000351.wav", "0011/Angry/0011_001751.wav", "0011/Bored/0011_000001.wav"]
    manifest = corpora.load("esd", write_tree(tmp_path, names))
    assert list(manifest["emotion"]) == ["angry", "surprised"] and list(manifest["text_id"]) == [
        "en001",
        "en001",
    ]
    assert list(manifest["partition"]) == ["test", ""]
    assert "esd: no transcript for 2 clips: their text stays empty" in manifest.attrs["notes"]
    assert "'Bored' names none of the emotions" in reasons(manifest)["0011_000001.wav"]
    assert len(manifest.attrs["skipped"]) == 3


def test_esd_transcript_lines_without_tabs_or_emotion():
    text = "0012_000001 The fisherman  sees.\n\n0012_000002\tNo end.\t\njunk\n0012_000003\tSad\tSad\n"
    found = dict(esd.parse_transcript(text))
    assert found == {"0012_000001": "The fisherman sees.", "0012_000002": "No end.", "0012_000003": "Sad"}


# ------------------------------------------------------------------------------------------ IEMOCAP

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 3.0000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[4.5000, 5.0000, 5.5000]
[12.0100 - 13.3925]\tSes01F_impro01_F002\txxx\t[3.0000, 3.0000, 3.0000]
[14.0100 - 15.3925]\tSes01F_impro01_M003\toth\t[3.0000, 3.0000, 3.0000]
[16.0100 - 17.3925]\tSes01F_impro01_FXX0\tfru\t[1.0000, 3.0000, 3.0000]
[18.0100 - 19.3925]\tSes01F_impro01_M004\thap\t[4.0000, 3.0000, 3.0000]
"""


def iemocap_tree(root: Path) -> Path:
    session = root / "IEMOCAP_full_release" / "Session1"
    turns = ["F000", "M001", "F002", "M003", "FXX0", "F099"]
    write_tree(
        session / "sentences" / "wav" / "Ses01F_impro01", [f"Ses01F_impro01_{turn}.wav" for turn in turns]
    )
    (session / "dialog" / "EmoEvaluation" / "Categorical").mkdir(parents=True)
    (session / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_text(EVALUATION)
    (session / "dialog" / "EmoEvaluation" / "._Ses01F_impro01.txt").write_bytes(b"\0\5\x16\7")
    (session / "dialog" / "transcriptions").mkdir()
    (session / "dialog" / "transcriptions" / "Ses01F_impro01.txt").write_text(
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: [BREATHING]\n"
    )
    return root


def test_iemocap_tree(tmp_path):
    manifest = corpora.load("iemocap", iemocap_tree(tmp_path)).set_index("clip")
    assert list(manifest["emotion"]) == ["neutral", "frustrated", "excited"]
    assert list(manifest["speaker"]) == [f"iemocap-Ses01{who}" for who in "FFM"]
    assert set(manifest["session"]) == {"Session1"}
    first, excited = manifest.loc["Ses01F_impro01_F000"], manifest.loc["Ses01F_impro01_M001"]
    assert first[["valence", "arousal", "dominance"]].tolist() == [-0.25, -0.25, 0.0]
    assert excited[["valence", "arousal"]].tolist() == [0.75, 1.0] and np.isnan(excited["dominance"])
    assert (first["text"], excited["text"], first["scenario"]) == ("Excuse me.", "", "impro01")
    found = reasons(manifest)
    assert found["Ses01F_impro01_F002.wav"] == "no agreed category (xxx)"
    assert found["Ses01F_impro01_M003.wav"] == "no agreed category (oth)"
    assert "can't be opened" in found["Ses01F_impro01_M004.wav"]
    assert found["Ses01F_impro01_F099.wav"] == "no line in the evaluation files"
    assert "iemocap: 1 ratings outside 1 to 5 were left empty" in manifest.attrs["notes"]


@given(
    st.integers(1, 5), st.sampled_from("FM"), st.sampled_from(["impro01", "impro05b", "script02_2"]),
    st.sampled_from("FM"), st.integers(0, 999), st.sampled_from(sorted(iemocap.EMOTIONS)),
    st.tuples(*3 * [st.floats(1, 5)]),
)  # fmt: skip
def test_iemocap_round_trip(session, wearer, scenario, talker, number, code, ratings):
    turn = f"Ses0{session}{wearer}_{scenario}_{talker}{number:03d}"
    values = ", ".join(f"{rating:.4f}" for rating in ratings)
    (line,) = iemocap.parse_evaluation(f"[6.2901 - 8.2357]\t{turn}\t{code}\t[{values}]\n")
    item = iemocap.label(Path(f"{turn}.wav"), line, f"Session{session}", "")
    assert isinstance(item, Label)
    assert (item.clip, item.speaker, item.label) == (turn, f"Ses0{session}{talker}", code)
    assert item.emotion == iemocap.EMOTIONS[code] and item.extra["scenario"] == scenario
    expected = [(rating - 3) / 2 for rating in ratings]
    assert np.allclose([item.valence, item.arousal, item.dominance], expected, atol=1e-4)


# --------------------------------------------------------------------------------------------- MEAD


@given(
    st.sampled_from("MW"), st.integers(0, 999), st.sampled_from(sorted(mead.EMOTIONS)),
    st.sampled_from("123"), st.integers(1, 999), st.sampled_from(["audio/", ""]),
)  # fmt: skip
def test_mead_round_trip(letter, speaker, emotion, level, number, folder):
    item = mead.parse(Path(f"/x/{letter}{speaker:03d}/{folder}{emotion}/level_{level}/{number:03d}.wav"))
    assert isinstance(item, Label)
    assert item.clip == f"{letter}{speaker:03d}_{emotion}_level_{level}_{number:03d}"
    assert item.gender == ("male" if letter == "M" else "female") and item.label == emotion
    assert item.intensity == ("" if emotion == "neutral" else {"1": "low", "2": "medium", "3": "high"}[level])


def test_mead_tree(tmp_path):
    write_tree(tmp_path, ["M003/audio/contempt/level_1/001.wav", "W009/audio/fear/level_3/001.wav"])
    write_tree(tmp_path, ["M003/audio/joy/level_1/001.wav"])
    for name in ("M003/audio/contempt/level_1/001.m4a", "M003/audio/contempt/level_1/002.m4a"):
        (tmp_path / name).write_bytes(b"\0\0\0\x20ftypM4A " + bytes(64))
    manifest = corpora.load("mead", tmp_path)
    assert list(manifest["clip"]) == ["M003_contempt_level_1_001", "W009_fear_level_3_001"]
    assert list(manifest["emotion"]) == ["contempt", "fearful"]
    assert list(manifest["intensity"]) == ["low", "high"]
    found = [entry["reason"] for entry in manifest.attrs["skipped"]]
    assert len(found) == 3 and sum("converted copy" in reason for reason in found) == 1
    assert sum("not readable as sound" in reason for reason in found) == 1
    assert any("2 .m4a files" in note for note in manifest.attrs["notes"])


# -------------------------------------------------------------------------------------- all of them


def test_each_corpus_speaks_the_vocabulary():
    for parser in (ravdess, emodb, nemo, crema_d, esd, iemocap, mead):
        assert set(parser.EMOTIONS.values()) <= set(emotions.EMOTIONS)
