"""Each corpus's grammar, on any text and on tiny trees laid out as published."""

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import reasons, refused, write_noise

from emolib import corpora
from emolib.corpora import labelled, published
from emolib.corpora.manifest import Label, Skipped

ANY_NAME = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40)
# Text that nearly fits is where a grammar goes wrong; digits of other scripts are the classic.
NEAR_NAME = st.text(st.sampled_from("0123456789abFWMXANG_-.٣३ level/"), min_size=1, max_size=30)
BY_NAME = published.CORPORA


def write_tree(root: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        write_noise(root / name, seed)
    return root


@given(st.sampled_from(sorted(BY_NAME)), ANY_NAME | NEAR_NAME)
def test_any_name_is_a_label_or_skipped(corpus, name):
    item = BY_NAME[corpus].parse(Path("corpus", name))
    assert isinstance(item, Label | Skipped)
    if isinstance(item, Label):
        assert item.emotion and item.speaker and item.label
    else:
        assert item.reason and "\n" not in item.reason


@given(st.lists(ANY_NAME, min_size=1, max_size=6))
def test_any_line_is_harmless(words):
    line = " ".join(words)
    assert all(isinstance(text, str) for _, text in labelled.esd_transcript(line))
    assert isinstance(labelled.iemocap_row(Path("x.wav"), line, {"category": words[0]}), Skipped)
    row = {"speaker_id": words[0], "emotion": words[-1], "gender": "male", "raw_text": line, "age": line}
    assert isinstance(labelled.nemo_row(BY_NAME["nemo"].parse(Path("a", words[0])), row), Skipped)


# -------------------------------------------------------------- names, as each publisher writes them


def spellings(corpus: published.NamedCorpus) -> dict[str, dict[str, str]]:
    """Return paths like the corpus's example with each combination of codes, and those codes."""
    example = corpus.example.split(" or ")[0]
    match = re.fullmatch(f"(?:.*/)?(?:{corpus.pattern})", example)
    books = {"speaker": corpus.speaker_codes, "emotion": corpus.emotion_codes, "text": corpus.texts}
    books = {name: book for name, book in (books | {"intensity": corpus.intensity_codes}).items() if book}
    found = {}
    for codes in itertools.product(*books.values()):
        given, path = dict(zip(books, codes, strict=True)), example
        for name in sorted(given, key=match.start, reverse=True):
            path = path[: match.start(name)] + given[name] + path[match.end(name) :]
        found[path] = given
    return found


@pytest.mark.parametrize("corpus", BY_NAME.values(), ids=BY_NAME)
def test_a_name_made_from_its_codes_is_read_back_under_an_id_of_its_own(corpus):
    clips = set()
    for n, (path, codes) in enumerate(found := spellings(corpus).items()):
        item = corpus.parse(Path("/any/where", path + (".wav", ".flac", ".WAV")[n % 3]))
        if corpus.card.name == "ravdess" and (codes["emotion"], codes["intensity"]) == ("01", "02"):
            assert isinstance(item, Skipped) and "strong neutral" in item.reason
            continue
        assert isinstance(item, Label), item
        assert (item.label, item.emotion) == (codes["emotion"], corpus.emotion_codes[codes["emotion"]])
        if corpus.speaker_codes:
            assert (item.speaker, item.gender) == (codes["speaker"], corpus.speaker_codes[codes["speaker"]])
        if item.intensity or item.emotion != "neutral":
            assert item.intensity == corpus.intensity_codes.get(codes.get("intensity", ""), "")
        if corpus.texts:
            assert (item.text_id, item.text) == (codes["text"], corpus.texts[codes["text"]])
        clips.add(item.clip)
    if corpus.card.name != "esd":  # whose numbers are each of one emotion
        assert len(clips) + 48 * (corpus.card.name == "ravdess") == len(found)


#: Corpus, path; clip, speaker, emotion, gender, intensity, text's id, own columns: read by eye.
READ = r"""
crema-d | AudioWAV/1001_DFA_ANG_XX | 1001_DFA_ANG_XX | 1001 | angry | | | DFA
nemo | samples/WR0_surprised_64 | WR0_surprised_64 | WR0 | surprised | | | 64
ravdess | 03-01-06-02-02-01-12 | 03-01-06-02-02-01-12 | 12 | fearful | female | strong | 02
savee | SAVEE/JK/sa03 | JK_sa03 | JK | sad | male | | sa03
savee | ALL/KL_n30 | KL_n30 | KL | neutral | male | | n30
tess | OAF_neutral/OA_bite_neutral | OA_bite_neutral | OAF | neutral | female | | bite
tess | YAF_pleasant_surprised/YAF_youth_ps | YAF_youth_ps | YAF | surprised | female | | youth
emov-db | bea_Neutral/Neutral_85-112_0109 | bea_Neutral_0109 | bea | neutral | female | | 0109
emov-db | josh/Sleepy/sleepiness_113_140_0113 | josh_sleepiness_0113 | josh | sleepy | male | | 0113
emodb-2 | wav/16b10Wb | 16b10Wb | 16 | angry | female | | b10
emovo | f1/gio-f1-n5 | gio-f1-n5 | f1 | happy | female | | n5
cafe | CaFE_48k/D‚go–t/Fort/03-D-2-5 | 03-D-2-5 | 03 | disgust | male | high | 5
cafe | CaFE/Neutre/08-N-1-1 | 08-N-1-1 | 08 | neutral | female | | 1
shemo | male/M12W07 | M12W07 | M12 | surprised | male | |
subesco | F_02_MONIKA_S_2_SURPRISE_3] | F_02_MONIKA_S_2_SURPRISE_3] | F_02 | surprised | female | | 2
jl-corpus | male2_encouraging_3b_2 | male2_encouraging_3b_2 | male2 | encouraging | male | | 3b
asvp-esd | actor_7/03-01-05-02-08-07-02 | 03-01-05-02-08-07-02 | 007 | angry | female | strong | | speech
asvp-esd | 03-02-04-01-52-150-04 -03 | 03-02-04-01-52-150-04 -03 | 150 | sad | male | normal | | non-speech
turev-db | Sad/7895_hl_ogul1 | 7895_hl_ogul1 | 7895 | sad | | | ogul
ased | 04Sad/S4-04-02-01-29 | S4-04-02-01-29 | 29 | sad | female | | s04
ased | 05Angry/a5-02-01-02-33 | a5-02-01-02-33 | 33 | angry | male | | 02
baved | 2/55-m-16-2-0-778 | 55-m-16-2-0-778 | 55 | low | male | | 2 | 16
casia | wangzhe/fear/201 | wangzhe_fear_201 | wangzhe | fearful | | | 201
expresso | ex03_default_emphasis_00010 | ex03_default_emphasis_00010 | ex03 | neutral | | | 00010
esd | 0011/Angry/train/0011_000351 | 0011_000351 | 0011 | angry | male | | en001 | train
mead | W009/audio/neutral/level_1/004 | W009_neutral_level_1_004 | W009 | neutral | female | | neutral_004
"""


def test_what_the_fields_mean():
    for line in READ.strip().splitlines():
        name, path, *meant = [cell.strip() for cell in line.split("|")]
        item = BY_NAME[name].parse(Path(f"/x/{path}.wav"))
        assert isinstance(item, Label), (name, item)
        told = [item.clip, item.speaker, item.emotion, item.gender, item.intensity, item.text_id]
        assert [*told, *item.extra.values()] == meant, name


#: Corpus, path, and why it is no clip.
NO_CLIP = """
savee | DC/a1 | its path isn't like DC/a01
emov-db | bea_Amused/amused_11 | its path isn't like bea_Amused/amused_1-28_0011
emodb | laryngo/03a01Fa | a laryngogram
emodb-2 | emodb/laryngo/03a01Fa | a laryngogram
baved | 2/55-m-16-7-0-778 | unknown text '7'
casia | wangzhe/201 | its path isn't like wangzhe/angry/201
expresso | conversational/ex04-ex01/laughing/ex04-ex01_laughing_001 | a dialogue of two speakers
ravdess | 03-02-01-01-01-01-01 | not audio-only speech
ravdess | 03-01-09-01-01-01-01 | unknown emotion
ravdess | 03-01-03-03-01-01-01 | unknown intensity
ravdess | 03-01-03-01-01-01-25 | unknown speaker
ravdess | 03-01-03-01-01-03-01 | its path isn't like 03-01-06-01-02-01-12
ravdess | 03-01-03-01-01-01-01 (1) | its path isn't like
ravdess | 03-01-03-01-01-01-٠١ | its path isn't like
"""


def test_what_is_no_clip_says_why():
    for line in NO_CLIP.strip().splitlines():
        name, path, reason = line.split(" | ")
        item = BY_NAME[name].parse(Path(f"/x/{path}.wav"))
        assert isinstance(item, Skipped) and item.reason.startswith(reason), item


def test_each_grammar_on_a_tree_of_tiny_files(tmp_path):
    """Each tree has a misnamed file, which is listed, and every well-named one is in the manifest."""
    rng = random.Random(0)
    for name, corpus in BY_NAME.items():
        if name == "nemo":  # has a table, and a tree below
            continue
        names = rng.sample(found := sorted(spellings(corpus)), min(3, len(found)))
        files = [f"{corpus.folder}/{one}.wav" for one in [*names, "no-name"]]
        clips = corpora.load(name, write_tree(tmp_path / name, [file.strip("/") for file in files]))
        labels = {item.clip for item in map(corpus.parse, map(Path, names)) if isinstance(item, Label)}
        assert set(clips["clip"]) == labels and set(clips["corpus"]) == {name}
        assert "no-name.wav" in reasons(clips) and clips["speaker"].str.startswith(f"{name}-").all()


def test_each_card_says_what_is_known():
    for name in corpora.names():
        card = corpora.info(name)
        assert card.title and card.licence and card.citation and card.source, name
        if name not in ("demo", "folder", "nemo", "iemocap"):
            assert card.defects and all(line == line.strip(". ") for line in card.defects), name


# -------------------------------------------------------------------------------------------- EmoDB


def test_emodb_tree(tmp_path):
    names = ("03a01Fa", "16b10Wb", "07a01Fa", "x")
    root = write_tree(tmp_path / "emodb", [f"wav/{name}.wav" for name in names])
    (root / "erkennung.txt").write_bytes(
        b"Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\xa0\t03a01Fa.wav\t90,00\xa0\xa0\t75,50\xa0\xa0\n"
    )
    without = corpora.load("emodb", root)
    assert without["arousal"].isna().all()
    assert any("no emodb_activation_valence.csv" in note for note in without.attrs["notes"])
    ratings = tmp_path / labelled.RATINGS
    ratings.write_text("file,activation,valence\n03a01Fa.wav,4.0,2.5\n16b10Wb.wav,5.5,1\n")
    manifest = corpora.load("emodb", root).set_index("clip")
    assert list(manifest["gender"]) == ["male", "female"] and list(manifest["age"]) == [31, 31]
    assert manifest.loc["03a01Fa", ["arousal", "valence"]].tolist() == [0.5, -0.25]
    assert np.isnan(manifest.loc["16b10Wb", "arousal"]) and manifest.loc["16b10Wb", "valence"] == -1
    assert manifest.loc["03a01Fa", ["recognition", "naturalness"]].tolist() == [90.0, 75.5]
    assert np.isnan(manifest.loc["16b10Wb", "recognition"])
    assert manifest.loc["03a01Fa", "text"] == "Der Lappen liegt auf dem Eisschrank."
    assert set(reasons(manifest)) == {"07a01Fa.wav", "x.wav"}
    ratings.write_text("name,a,v\n")
    refused("lacks the columns file, activation, valence", corpora.load, "emodb", root)


# --------------------------------------------------------------------------------------------- nEMO


def test_nemo_tree(tmp_path):
    names = ["WR0_surprised_64", "KS0_anger_1", "KS0_fear_2", "MM0_anger_3"]
    write_tree(tmp_path, [f"samples/{name}.ogg" for name in names])
    header = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    lines = ["WR0_surprised_64.wav surprised WR0 23", "KS0_anger_1.wav anger KS0 ",
             "KS0_fear_2.wav anger KS0 23", "AA0_fear_9.wav fear AA0 23"]  # fmt: skip
    text = '{}\t{}\t"Ród smoka” to serial.\tród smoka\t{}\tmale\t{}\n'
    rows = "".join(text.format(*line.split(" ")) for line in lines)
    (tmp_path / "data.tsv").write_text(header + rows, encoding="utf-8")
    manifest = corpora.load("nemo", tmp_path)
    assert list(manifest["emotion"]) == ["angry", "surprised"] and list(manifest["text_id"]) == ["1", "64"]
    assert manifest["text"][0].startswith('"Ród smoka”')
    assert np.isnan(manifest["age"][0]) and manifest["age"][1] == 23
    found = reasons(manifest)
    assert "no line in data.tsv" in found["MM0_anger_3.ogg"] and "disagree" in found["KS0_fear_2.ogg"]
    assert found["AA0_fear_9"] == "named in data.tsv but not there"
    (tmp_path / "data.tsv").write_text("file_id\temotion\nWR0_surprised_64.wav\tsurprised\n")
    refused("lacks the columns raw_text, speaker_id, gender, age", corpora.load, "nemo", tmp_path)
    (tmp_path / "data.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no data\.tsv, which has the labels; get it"):
        corpora.load("nemo", tmp_path)


# ------------------------------------------------------------------------------------------ CREMA-D


def test_crema_d_tree(tmp_path):
    names = ["1001_DFA_ANG_XX", "1002_IEO_HAP_LO", "1040_ITH_SAD_X", "1092_DFA_ANG_XX", "1001_DFA_ANG"]
    write_tree(tmp_path, [f"AudioWAV/{name}.wav" for name in names] + ["AudioMP3/1001_DFA_ANG_XX.mp3"])
    plain = corpora.load("crema-d", tmp_path)
    assert set(plain["gender"]) == {""} and "voice_vote" not in plain and len(plain.attrs["notes"]) == 3
    (tmp_path / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","x","y"\n1002,21,"Female","x","y"\n'
    )
    (results := tmp_path / "processedResults").mkdir()
    (results / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
        '"1","1002_IEO_HAP_LO","N","71.67","H","57","H","57.38"\n'
        '"2","1040_ITH_SAD_XX","A:F","30.67:51.00","N","63.5","S","60"\n'
    )
    (results / "tabulatedVotes.csv").write_text(
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
    seen = manifest.loc["1002_IEO_HAP_LO", ["multimodal_vote", "multimodal_level"]].tolist()
    assert seen == ["happy", "57.38"] and manifest.loc["1040_ITH_SAD_X", "voice_level"] == "30.67:51.00"
    assert set(reasons(manifest)) == {"1092_DFA_ANG_XX.wav", "1001_DFA_ANG.wav"}


# ---------------------------------------------------------------------------------------------- ESD


def test_esd_transcripts_in_each_encoding(tmp_path):
    zh, en = "打远一看，它们的确很是美丽，", "The café’s nine eggs."
    encodings = {"0001": "gb18030", "0003": "utf-16", "0011": "utf-8-sig", "0016": "cp1252", "0012": "utf-16"}
    for speaker, encoding in encodings.items():
        words, word = (zh, "中立") if speaker <= "0010" else (en, "Neutral")
        write_noise(tmp_path / speaker / "Neutral" / "train" / f"{speaker}_000001.wav", int(speaker))
        text = f"{speaker}_000001\t{words}\t{word}\r\n"
        (tmp_path / speaker / f"{speaker}.txt").write_bytes(text.encode(encoding))
    clips = corpora.load("esd", tmp_path)
    assert list(clips["text"]) == [zh, zh, en, en, en]
    assert set(clips["emotion"]) == {"neutral"} and set(clips["partition"]) == {"train"}


def test_esd_tree(tmp_path):
    names = ["0011/Angry/test/0011_000351.wav", "0011/Surprise/0011_001401.wav"]
    names += ["0021/Angry/0021_000351.wav", "0011/Angry/0011_001751.wav", "0011/Bored/0011_000001.wav"]
    manifest = corpora.load("esd", write_tree(tmp_path, names))
    assert list(manifest["emotion"]) == ["angry", "surprised"] and set(manifest["text_id"]) == {"en001"}
    assert list(manifest["partition"]) == ["test", ""]
    assert "esd: no transcript for 2 clips: their text stays empty" in manifest.attrs["notes"]
    assert "unknown emotion 'Bored'" in reasons(manifest)["0011_000001.wav"]
    assert len(manifest.attrs["skipped"]) == 3
    # lines without tabs, or without an emotion
    text = "0012_000001 The fisherman  sees.\n\n0012_000002\tNo end.\t\njunk\n0012_000003\tSad\tSad\n"
    found = dict(labelled.esd_transcript(text))
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


def test_iemocap_tree(tmp_path):
    session = tmp_path / "IEMOCAP_full_release" / "Session1"
    turns = ["F000", "M001", "F002", "M003", "FXX0", "F099"]
    write_tree(session / "sentences/wav/Ses01F_impro01", [f"Ses01F_impro01_{turn}.wav" for turn in turns])
    evaluations, transcripts = session / "dialog" / "EmoEvaluation", session / "dialog" / "transcriptions"
    (evaluations / "Categorical").mkdir(parents=True)
    (evaluations / "Ses01F_impro01.txt").write_text(EVALUATION)
    (evaluations / "._Ses01F_impro01.txt").write_bytes(b"\0\5\x16\7")
    transcripts.mkdir()
    text = "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: [BREATHING]\n"
    (transcripts / "Ses01F_impro01.txt").write_text(text)
    manifest = corpora.load("iemocap", tmp_path).set_index("clip")
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
    assert found["Ses01F_impro01_M004"] == "named in the evaluation files but not there"
    assert "no line in the evaluation files" in found["Ses01F_impro01_F099.wav"]
    assert "iemocap: 1 ratings outside 1 to 5 were left empty" in manifest.attrs["notes"]


# --------------------------------------------------------------------------------------------- MEAD


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
    # without a decoder it says what to install, with one that this is no whole file
    assert sum("`pip install av`" in reason or "not readable as sound" in reason for reason in found) == 1


# ------------------------------------------------------------------------------- MELD and MSP-Podcast


def test_meld_tree(tmp_path):
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    rows = {
        "train": '1,"Oh, my God.",Phoebe,joy,positive,0,0\n2,No.,Ross and Joey,anger,negative,0,1\n',
        "dev": "1,Why?,Ross,surprise,neutral,0,0\n",
        "test": "1,So.,Mark,neutral,neutral,93,5\n2,Gone.,Mark,fear,negative,7,7\n",
    }
    for partition, lines in rows.items():
        (tmp_path / f"{partition}_sent_emo.csv").write_text(header + lines, encoding="utf-8")
    write_tree(tmp_path, ["train/train_splits/dia0_utt0.wav", "train/train_splits/dia0_utt1.wav",
                          "dev_splits_complete/dia0_utt0.wav", "dev_splits_complete/dia9_utt9.wav",
                          "output_repeated_splits_test/final_videos_testdia93_utt5.wav"])  # fmt: skip
    (tmp_path / "train" / "train_splits" / "dia0_utt0.mp4").write_bytes(b"a video whose copy is beside it")
    clips = corpora.load("meld", tmp_path)
    assert list(clips["clip"]) == ["dev_dia0_utt0", "test_dia93_utt5", "train_dia0_utt0"]
    assert list(clips["emotion"]) == ["surprised", "neutral", "happy"] and clips["label"][2] == "joy"
    assert list(clips["speaker"]) == ["meld-Ross", "meld-Mark", "meld-Phoebe"]
    assert clips["text"][2] == "Oh, my God." and list(clips["partition"]) == ["dev", "test", "train"]
    found = reasons(clips)
    assert "'Ross and Joey', not one person" in found["dia0_utt1.wav"]
    assert "no line in MELD's tables" in found["dia9_utt9.wav"]
    assert found["test_dia7_utt7"] == "named in MELD's tables but not there" and len(found) == 3
    with pytest.raises(FileNotFoundError, match=r"no \*_sent_emo\.csv, which has the labels"):
        corpora.load("meld", write_tree(tmp_path / "bare", ["train/dia0_utt0.wav"]))


def test_msp_podcast_tree(tmp_path):
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    lines = ["0001_0008,N,4.0,7.0,1.0,127,Female,Train", "0001_0019,X,4,4,4,127,Female,Train",
             "0002_0033,U,5.5,2.5,8.0,9,Male,Test1", "0002_0039,A,5,2,4,Unknown,Unknown,Train",
             "0003_0001,H,5,2,4,9,Male,Test1"]  # fmt: skip
    (tmp_path / "Labels").mkdir()
    rows = "".join(f"MSP-PODCAST_{line.replace(',', '.wav,', 1)}\n" for line in lines)
    (labels := tmp_path / "Labels" / "labels_consensus.csv").write_text(header + rows)
    numbers = ("0001_0008", "0001_0019", "0002_0033", "0002_0039", "0009_0001")
    write_tree(tmp_path / "Audios", [f"MSP-PODCAST_{number}.wav" for number in numbers])
    clips = corpora.load("msp-podcast", tmp_path).set_index("clip")
    assert list(clips["emotion"]) == ["neutral", "surprised"] and list(clips["gender"]) == ["female", "male"]
    assert clips.iloc[0][["arousal", "valence", "dominance"]].tolist() == [0, 1, -1]
    assert clips.iloc[1]["arousal"] == 0.5 and np.isnan(clips.iloc[1]["dominance"])
    assert list(clips["partition"]) == ["Train", "Test1"] and clips["speaker"].iloc[1] == "msp-podcast-9"
    found = {name[12:21]: why for name, why in reasons(clips).items()}
    assert found["0001_0019"] == "no agreed category (X)" and "speaker isn't known" in found["0002_0039"]
    assert "not there" in found["0003_0001"] and "no line in the labels" in found["0009_0001"]
    labels.rename(labels.with_name("labels_concensus.csv"))  # as in old releases
    assert list(corpora.load("msp-podcast", tmp_path)["clip"]) == list(clips.index)


def test_expresso_words_make_the_text_id(tmp_path):
    write_tree(tmp_path, ["audio_48khz/read/ex01/sad/base/ex01_sad_00001.wav",
                          "audio_48khz/read/ex02/happy/base/ex02_happy_00009.wav"])  # fmt: skip
    (tmp_path / "read_transcriptions.txt").write_text(
        "ex01_sad_00001\tTake care!\nex02_happy_00009\tTake care!\n"
    )
    clips = corpora.load("expresso", tmp_path)
    assert list(clips["text_id"]) == ["Take care!"] * 2 and list(clips["emotion"]) == ["sad", "happy"]
