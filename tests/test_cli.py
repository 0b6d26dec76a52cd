"""The command line: complete help, one JSON object at the end, one sentence where something is wrong.

Commands that train networks or make sound are in test_cli_models.py.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import typer
from samples import write_notebook
from typer.testing import CliRunner

from emolib import __version__, corpora, encoders, features, paths
from emolib.axis import EmotionAxis
from emolib.cli import app
from emolib.codebook import ResidualQuantizer, measures
from emolib.steering import trial
from emolib.store import FeatureStore

COMMANDS = (
    "corpora fetch manifest extract export-npy embeddings embeddings-make embeddings-check probe "
    "benchmark axis av quantize augment trial pretrain train-mapper train-vocoder steer tts run sweep "
    "bench finetune finetune-train finetune-infer generate generate-train generate-sample"
)
RATE = 16_000
EMOTIONS = {"sad": (-0.6, -0.3), "angry": (-0.4, 0.7)}


def write_corpus(folder: Path, n_speakers: int = 3, n_each: int = 4) -> Path:
    """Write buzzes of speakers s0, s1 ... and their table with ratings; angry ones are high, sad ones low."""
    rows, rng = [], np.random.default_rng(0)
    time_s = np.arange(RATE // 3) / RATE
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for s in range(n_speakers):
        for e, (emotion, place) in enumerate(EMOTIONS.items()):
            for i in range(n_each):
                path = f"audio/s{s}-{emotion}-{i}.wav"
                buzz = 0.2 * np.sign(np.sin(2 * np.pi * (110 + 130 * e + 5 * i + 3 * s) * time_s))
                wave = buzz + 0.01 * rng.standard_normal(len(time_s))
                sf.write(folder / path, wave, RATE, subtype="PCM_16")
                valence, arousal = np.round(place + rng.uniform(-0.1, 0.1, 2), 3)
                rows.append((path, f"s{s}", emotion, valence, arousal))
    columns = ["path", "speaker", "emotion", "valence", "arousal"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, so that no test reads or writes the checkout's data."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def answer(*words: object, code: int = 0) -> dict:
    """Call with --json and return the object that the last line of output must be."""
    output = call(*words, "--json", code=code).stdout
    assert output.endswith("\n") and not output.endswith("\n\n")
    found = json.loads(output.splitlines()[-1], parse_constant=pytest.fail)
    assert isinstance(found, dict)
    return found


def complaint(*words: object) -> str:
    """Call with something wrong and return the one line that it must end with."""
    result = call(*words, code=2)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("emolib: "), result.stderr
    assert "Traceback" not in result.output and len(lines[0]) > 20
    return lines[0]


# ------------------------------------------------------------------------------------- help


def tree(command, name: str = ""):
    yield name, command
    for word, part in getattr(command, "commands", {}).items():
        yield from tree(part, f"{name}-{word}".strip("-"))


def test_every_command_and_option_has_help():
    found = dict(tree(typer.main.get_command(app)))
    assert set(found) == {"", *COMMANDS.split()}
    bare = [
        (name, option.opts) for name, command in found.items() for option in command.params if not option.help
    ]
    assert not bare and all(command.help for command in found.values())
    leaves = {name: command for name, command in found.items() if not hasattr(command, "commands")}
    assert all("--json" in [o.opts[-1] for o in command.params] for command in leaves.values())


def test_help_is_shown_as_text_and_without_any_command():
    runner = CliRunner(env={"COLUMNS": "120"})
    for words in ([], ["generate", "train"], ["probe"]):
        text = re.sub(r"\x1b\[[0-9;]*m", "", runner.invoke(app, [*words, "--help"]).stdout)
        assert "Usage:" in text and "Parameters" not in text
    assert f"[default: {encoders.DEFAULT}]" in text
    assert "Usage:" in call(code=2).output and "train" in call("generate", code=2).output
    assert call("--version").stdout.strip() == __version__


# ------------------------------------------------------------------------------------- corpora and features


def test_corpora_lists_every_corpus(home):
    paths.corpus("nemo").mkdir(parents=True)
    listed = answer("corpora")
    assert set(listed) == set(corpora.names()) >= {"demo", "ravdess", "folder"}
    assert listed["ravdess"]["clips"] == 1440 and listed["demo"]["at_hand"]
    assert listed["nemo"]["at_hand"] and not listed["emodb"]["at_hand"]
    assert "1440 " in (text := call("corpora").stdout) and "None" not in text
    for name in corpora.names():
        card = corpora.info(name)
        assert card.licence in text and (card.source in text or listed[name]["at_hand"]), name
    text = call("corpora", "ased").stdout
    assert "padded with zeros" in text and "Retta" in text and "2474 clips" in text and "ravdess" not in text
    assert answer("corpora", "ased")["defects"] == list(corpora.info("ased").defects)


def test_manifest_counts_what_is_there(tmp_path):
    table = write_corpus(tmp_path / "c", n_speakers=2, n_each=2)
    folder = table.parent / "audio"
    shutil.copy(folder / "s0-sad-0.wav", folder / "twin.wav")
    (folder / "text.wav").write_text("not a sound")
    (folder / "empty.wav").touch()
    rows = "twin.wav,s0,sad text.wav,s0,sad empty.wav,s1,sad gone.wav,s1,sad s1-sad-0.wav,s1,xxx"
    with table.open("a") as file:
        file.writelines(f"audio/{row},,\n" for row in rows.split())
    found = answer("manifest", "--manifest", table, "--out", tmp_path / "out.csv")
    assert {name: found[name] for name in ("clips", "speakers", "emotions", "duplicates", "skipped")} == {
        "clips": 8, "speakers": 2, "emotions": 2, "duplicates": 1, "skipped": 4,
    }  # fmt: skip
    assert sum(found["by_emotion"].values()) == found["clips"] == len(corpora.read(tmp_path / "out.csv"))
    text = call("manifest", "--manifest", table).stdout
    told = re.findall(r"^skipped .*?(\w+)\.wav: \S+", text, flags=re.MULTILINE)
    assert {"text", "empty", "gone"} <= {*told}, text
    assert "no emotion, but 'xxx'" in text and "\nduplicate " in text and ": same content as" in text


def test_extract_keeps_what_is_there(table, model_folder, tmp_path):
    words = ("extract", "--manifest", table, "--encoder", "logmel")
    first, again = answer(*words), answer(*words)
    assert (first["clips"], first["new"], first["cached"], first["skipped"]) == (24, 24, 0, 0)
    assert first["layers"] == [0] and Path(first["store"]).is_dir()
    assert (again["new"], again["cached"], again["speech_s"]) == (0, 24, 0)
    for option in ("--out", "--store"):
        place = tmp_path / option.strip("-")
        done = answer(*words, "--no-frames", option, place)
        assert done["store"] == str(place) and list(place.glob("shard-*.safetensors"))
    done = answer(*words[:-1], model_folder(), "--layer", "1,3", "--store", tmp_path / "s")
    assert done["layers"] == [1, 3] and done["new"] == 24


def test_extract_by_parts(table, tmp_path):
    call("manifest", "--manifest", table, "--out", tmp_path / "whole.csv")
    words = ("extract", "--encoder", "logmel", "--parts", "10", "--manifest", tmp_path / "whole.csv")
    first, again = (answer(*words, "--out", tmp_path / "parts") for _ in range(2))
    assert (first["clips"], first["new"], again["new"], again["cached"]) == (24, 24, 0, 24)
    assert first["store"] == str(tmp_path / "parts") and len(list((tmp_path / "parts").glob("part-*"))) == 3
    assert "--parts goes with --manifest" in complaint(*words)
    assert "--parts goes with --manifest" in complaint(*words, "--out", tmp_path / "o", "--map", "sad=angry")


def test_export_npy_writes_the_classic_tree(table, tmp_path):
    done = answer("export-npy", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "tree")
    files = sorted((tmp_path / "tree").glob("Actor_s[012]/*.npy"))
    assert done["files"] == len(files) == 24 and done["skipped"] == 0


# ------------------------------------------------------------------------------------- probe, axis, av


def test_probe_finds_the_pitch(table):
    for folds in ("speaker", "loso", "random"):
        words = ("probe", "--manifest", table, "--encoder", "logmel", "--folds", folds)
        found, text = answer(*words), call(*words).stdout
        assert set(found) == {"ua", "ua_low", "ua_high", "wa", "macro_f1", "layer", "n", "standardise"}
        assert found["standardise"] == "none" and "unlabelled" not in text
        assert found["n"] == 24 and found["layer"] == 0 and 0.7 < found["ua"] <= 1
        assert found["ua_low"] is found["ua_high"] is None, "three speakers give no interval"
        assert "24 clips, 3 speakers" in text and "chance 0.500" in text and "no interval" in text


def test_probe_holds_out_sentences_and_standardises_speakers(table, tmp_path):
    clips = pd.read_csv(table)
    clips["path"] = str(table.parent) + "/" + clips["path"]
    clips.assign(text_id=clips["path"].str[-5]).to_csv(tmp_path / "said.csv", index=False)
    words = ("probe", "--manifest", tmp_path / "said.csv", "--encoder", "logmel")
    for folds in ("text", "speaker+text"):
        assert answer(*words, "--folds", folds)["n"] == 24
        assert "have no text_id" in complaint("probe", "--manifest", table, *words[3:], "--folds", folds)
    assert answer(*words, "--standardise", "speaker")["standardise"] == "speaker"
    assert "by all unlabelled clips of each speaker" in call(*words, "--standardise", "speaker").stdout
    text = call(*words, "--standardise", "8").stdout
    assert "by 8 unlabelled clips of each speaker, test speakers included" in text
    assert "all of theirs" not in text
    assert call(*words, "--standardise", "9").stdout.count("3 speakers have fewer than 9 clips") == 1
    for rule in ("1", "all", "-4"):
        assert f"standardise {rule!r}; expected none, speaker" in complaint(*words, "--standardise", rule)


def test_probe_on_the_shares_of_raters(table, tmp_path):
    words = ("probe", "--manifest", tmp_path / "votes.csv", "--root", table.parent, "--encoder", "logmel")
    rows = pd.read_csv(table, dtype=str)
    rows.to_csv(tmp_path / "votes.csv", index=False)
    assert "soft labels need columns such as votes_angry" in complaint(*words, "--labels", "soft")
    for word in ("sad", "angry"):
        rows[f"votes_{word}"] = [3 if emotion == word else 1 for emotion in rows["emotion"]]
    rows.to_csv(tmp_path / "votes.csv", index=False)
    found = answer(*words, "--labels", "soft", "--out", tmp_path / "shares.csv")
    assert found["best_1"] == found["best_2"] == 1 and found["pairwise"] == 0.5 and found["n"] == 24
    assert 0.5 < found["cross_entropy"] < 0.7 and found["jensen_shannon"] < 0.01
    assert found["lead_over_hard"] > 0.1 and found["lead_over_prior"] > 0.1
    assert [*pd.read_csv(tmp_path / "shares.csv")] == ["clip", "speaker", "emotion", "sad", "angry"]


def test_probe_joins_layers(table, model_folder):
    words = ("probe", "--manifest", table, "--encoder", model_folder())
    joined, single = (answer(*words, "--layer", layer) for layer in ("2+1", "2"))
    assert joined["layer"] == "1+2" and single["layer"] == 2 and joined["n"] == 24
    assert "layer 1+2" in call(*words, "--layer", "1+2").stdout
    assert "layer 'x'; expected" in complaint(*words, "--layer", "1+x")
    assert "layer '1+2'; expected" in complaint("axis", *words[1:], "--layer", "1+2", *PAIR[2:])


def test_probe_on_parts_of_files_is_probe_on_files(table, model_folder, tmp_path):
    rows = []
    for speaker, clips in pd.read_csv(table).groupby("speaker"):
        waves = [sf.read(table.parent / path, dtype="int16")[0] for path in clips["path"]]
        sf.write(tmp_path / f"{speaker}.wav", np.concatenate(waves), RATE, subtype="PCM_16")
        ends = np.cumsum([len(wave) for wave in waves]) / RATE
        starts = ends - [len(wave) / RATE for wave in waves]
        names = [Path(path).stem for path in clips["path"]]
        rows.append(clips.assign(clip=names, path=f"{speaker}.wav", start=starts, end=ends))
    pd.concat(rows).to_csv(tmp_path / "parts.csv", index=False)
    files = pd.read_csv(table)
    files = files.assign(clip=files["path"].str[6:-4], path=str(table.parent) + "/" + files["path"])
    files.to_csv(tmp_path / "files.csv", index=False)
    for encoder in ("logmel", model_folder()):
        parts, whole = (
            answer("probe", "--manifest", tmp_path / name, "--encoder", encoder, "--pooling", "mean")
            for name in ("parts.csv", "files.csv")
        )
        assert parts["n"] == 24 and parts == whole and parts["layer"] in range(5)


def test_one_or_two_speakers_are_enough_where_nothing_is_chosen(tmp_path):
    two, one = (write_corpus(tmp_path / str(n), n_speakers=n) for n in (2, 1))
    assert answer("probe", "--manifest", two, "--encoder", "prosody", "--layer", "0")["n"] == 16
    assert answer("probe", "--manifest", one, "--encoder", "logmel", "--folds", "random")["ua"] > 0
    assert "1 speaker; 'speaker' folds" in complaint("probe", "--manifest", one, "--encoder", "logmel")


PAIR = ("--encoder", "prosody", "--source", "sad", "--target", "angry")


def test_an_axis_is_tried_on_unseen_speakers_and_saved(table, tmp_path):
    words = ("axis", "--manifest", table, *PAIR)
    found = answer(*words, "--out", tmp_path / "axis", "--store", tmp_path / "s")
    assert found["auc"] > 0.9 and found["auc_low"] is found["auc_high"] is None
    assert (found["method"], found["n_speakers"], found["n"]) == ("logistic", 3, 24)
    axis = EmotionAxis.load(tmp_path / "axis")
    told = {"encoder": "prosody", "layer": 0, "pooling": "mean", "corpus": "folder"}
    assert {name: axis.provenance[name] for name in told} == told
    assert axis.provenance["speakers"] == ["folder-s0", "folder-s1", "folder-s2"]
    assert np.isfinite(axis.project(FeatureStore(tmp_path / "s").pooled(0))).all()
    text = call(*words, "--folds", "speaker").stdout
    assert "sad to angry, logistic, layer 0: 24 clips, 3 speakers" in text
    assert re.search(r"AUC \d\.\d+ \(no interval.*\), speaker folds; random directions 0\.\d+", text)
    for method in ("mean-difference", "lda", "pca"):
        found = answer(*words, "--method", method, "--pooling", "mean+std", "--no-centre")
        assert found["method"] == method and 0 <= found["auc"] <= 1


def test_an_axis_that_can_not_be_fitted(table, tmp_path):
    words = ("axis", "--manifest", table, *PAIR)
    assert "no clip of emotion 'joyful'" in complaint(*words, "--source", "joyful")
    assert "one class" in complaint(*words, "--source", "angry")
    assert "unknown method 'svm'" in complaint(*words, "--method", "svm")
    assert "layer" in complaint(*words, "--layer", "7")
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    assert "is not of a saved EmotionAxis" in complaint(*words, "--out", tmp_path)


def test_av_places_and_judges(table, tmp_path):
    found = answer("av", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "plane.csv")
    assert found["n"] == found["clips"] == 24
    assert found["ccc_arousal"] > 0.9 and -1 <= found["ccc_valence"] <= 1
    plane = pd.read_csv(tmp_path / "plane.csv")
    assert list(plane.columns) == ["clip", "speaker", "emotion", "valence", "arousal"] and len(plane) == 24
    bare = pd.read_csv(table).drop(columns=["valence", "arousal"])
    bare.to_csv(tmp_path / "bare.csv", index=False)
    words = ("av", "--manifest", tmp_path / "bare.csv", "--root", table.parent, "--encoder", "logmel")
    found = answer(*words, "--no-normalise", "--folds", "speaker")
    assert found["ccc_arousal"] is None and found["n"] == 0 and found["clips"] == 24
    assert "unknown anchors 'nowhere'" in complaint(*words, "--anchors", "nowhere")
    assert "no anchor for tense" in complaint(*words, "--map", "angry=tense")
    (tmp_path / "own.csv").write_text("word,arousal,valence\ntense,0.6,-0.5\n")
    (tmp_path / "map.json").write_text('{"Angry": "tense"}')
    own = (*words, "--map", tmp_path / "map.json", "--anchors", tmp_path / "own.csv")
    assert "folder: labels renamed: angry to tense (12)" in call(*own).stdout
    for wrong in ("angry", "angry=", tmp_path / "own.json"):
        (tmp_path / "own.json").write_text('["angry"]')
        assert "expected old=new,old=new or a JSON file" in complaint(*words, "--map", wrong)
    renaming = ("manifest", "--manifest", table, "--map")
    assert "renames 'jyo', which no clip has" in complaint(*renaming, "jyo=sad")
    text = call(*renaming, "sad=low,angry=low").stdout
    assert text.count("labels renamed: angry to low (12), sad to low (12)") == 1 and "low    24" in text


# ------------------------------------------------------------------------------------- quantize

SMALL = ("--encoder", "logmel", "--layer", 0, "--codes", 16, "--stages", 3, "--codebook", "book")


def test_a_trial_is_shown_written_and_answered(table, tmp_path, monkeypatch):
    others = {*trial.MEASURES, "p_0", "p_1", "p_2", "p_3", "errors", "said"}
    others -= {"p", "effect", "recognised"}
    ways = {"unmodified": 0.2, "prosody": 0.5, "natural target": 0.8}
    rows = pd.DataFrame(
        [
            {"speaker": f"s{i}", "clip": f"c{i}", "target": "angry", "way": way, "p": p, "effect": p - 0.2,
             "recognised": float(p > 0.4), **dict.fromkeys(others, np.nan)}
            for i in range(6)
            for way, p in ways.items()
        ]
    )  # fmt: skip
    told = dict.fromkeys(("judge_ua", "judge_ua_low", "judge_ua_high"), 0.5) | {"judge": "another's"}
    told |= {"corpus": "folder", "source": "sad", "targets": ["angry"], "speakers": 6, "rounds": 6}
    told |= {"judge_emotions": ["angry", "sad"], "missing": ["no instrument for words"]}
    made = trial.Outcome(trial.tabulate(rows), rows, told, [])
    monkeypatch.setattr(trial, "hold", lambda *_, **__: made)
    found = answer("trial", "--manifest", table, "--targets", "angry", "--out", tmp_path / "out")
    assert found["effect_unmodified_angry"] == 0 and found["p_prosody_angry_low"] == pytest.approx(0.5)
    assert found["recognised_minus_natural_prosody_all"] == 0 and found["judge"] == "another's"
    written = pd.read_csv(tmp_path / "out" / "trial.csv")
    assert len(written) == len(made.table) and len(pd.read_csv(tmp_path / "out" / "clips.csv")) == len(rows)
    assert json.loads((tmp_path / "out" / "trial.json").read_text())["missing"] == told["missing"]
    assert "no instrument for words" in call("trial", "--manifest", table).stdout


def test_a_corpus_trains_a_codebook_and_its_streams_are_the_bits(table, tmp_path):
    words = ("quantize", "--manifest", table, *SMALL)
    found = answer(*words, "--out", "streams", "--lam", 0.003)
    streams = sorted((tmp_path / "streams").glob("*.emoq"))
    assert found["clips"] == len(streams) == 24 and found["seconds"] == pytest.approx(8, abs=0.01)
    assert found["bits"] == 8 * sum(path.stat().st_size for path in streams)
    book = ResidualQuantizer.load(tmp_path / "book")
    assert len(book.decompress(streams[0].read_bytes())) == found["rows"] // 24
    rich, poor = answer(*words, "--lam", 0), answer(*words, "--lam", 0.1)
    assert poor["bits"] < 0.7 * rich["bits"] and poor["distortion"] > rich["distortion"]


def test_drift_is_centred_and_of_speakers_that_the_codebook_was_not_trained_on(table, tmp_path):
    words = ("quantize", "--manifest", table, *SMALL, "--pooled")
    found = answer(*words, "--lam", 0.01)
    book = ResidualQuantizer.load(tmp_path / "book")
    clips = corpora.load("folder", table=table)
    X = features.extract(clips, "logmel", layers=[0]).store.pooled(0, clips=clips["clip"].tolist())
    held = ~clips["speaker"].isin(book.provenance_["speakers"]).to_numpy()
    assert 0 < held.sum() == found["held_out"] < len(clips) == found["clips"] == found["rows"]
    X_hat = np.concatenate([book.decode(book.encode(row[None], 0.01)) for row in X[held]])
    centred = X[held] - book.mean_, X_hat - book.mean_
    assert found["similarity"] == pytest.approx(measures.similarity(*centred).mean(), abs=1e-6)
    assert found["similarity"] < measures.similarity(X[held], X_hat).mean()
    assert found["distortion"] == pytest.approx(measures.distortion(*centred), abs=1e-6)
    # nothing of these rows is left at all: the cosine to the training mean is 0, and not near 1
    assert answer(*words, "--lam", 1)["similarity"] == pytest.approx(0, abs=1e-6)
    assert re.search(r"^sad +shrinking +\S+, most towards angry", call(*words).stdout, re.MULTILINE)


def test_a_single_speaker_leaves_nobody_to_measure_drift_on(tmp_path):
    words = ("quantize", "--manifest", write_corpus(tmp_path / "one", n_speakers=1), *SMALL)
    assert "trained on every speaker of these clips" in call(*words).stdout
    found = answer(*words)
    assert found["similarity"] is None and found["bits"] > 0 and found["held_out"] == 0


def test_a_file_becomes_a_stream_and_comes_back(table, tmp_path):
    sound = table.parent / "audio" / "s0-sad-0.wav"
    found = answer("quantize", sound, "--manifest", table, *SMALL, "--out", "a.emoq")
    assert found["bits"] == 8 * (tmp_path / "a.emoq").stat().st_size
    assert found["seconds"] == pytest.approx(1 / 3, abs=0.001)
    back = answer("quantize", "a.emoq", "--codebook", "book", "--out", "a.npy")
    assert len(np.load(tmp_path / "a.npy")) == back["rows"] == found["rows"]
    text = call("quantize", sound, *SMALL).stdout
    assert "bits" in text and "drift" in text and (tmp_path / "s0-sad-0.emoq").is_file()
    (tmp_path / "cut.emoq").write_bytes((tmp_path / "a.emoq").read_bytes()[:-2])
    assert "damaged or cut short" in complaint("quantize", "cut.emoq", "--codebook", "book")
    call("quantize", "--manifest", table, *SMALL[:-1], "other", "--seed", 1)
    assert "decode with the codebook" in complaint("quantize", "a.emoq", "--codebook", "other")
    assert "lam=-1" in complaint("quantize", "--manifest", table, *SMALL, "--lam", -1)
    sf.write(tmp_path / "nan.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    complaint("quantize", "nan.wav", *SMALL)


# ------------------------------------------------------------------------------------- notebooks, benchmarks

PARAMETERS = 'CORPUS = "x"\nENCODER = "x"\nPROFILE = "x"\nDEVICE = "x"\nSEED = 0'
RECORD = """from emolib import results
results.record("00_a", {"words": " ".join([CORPUS, ENCODER, PROFILE, DEVICE])})"""


def test_run_ends_with_a_table_and_fails_where_a_notebook_does(home):
    write_notebook(home, "00_a", PARAMETERS, RECORD)
    write_notebook(home, "01_b", "SEED = 1", "1 / 0")
    words = ("--corpus", "nemo", "--encoder", "logmel", "--device", "cpu")
    found = answer("run", *words, code=1)
    assert set(found) == {"notebooks", "failed", "seconds", "summary"}
    assert (found["notebooks"], found["failed"]) == (2, 1) and found["seconds"] > 0
    assert json.loads(Path(found["summary"]).read_text()) == {"00_a": {"words": "nemo logmel quick cpu"}}
    result = call("run", "01", *words, code=1)
    assert re.search(r"01_b +\d+ s +ZeroDivisionError", result.stdout) and "figures" in result.stdout


def test_run_of_chosen_notebooks(home):
    write_notebook(home, "00_a", PARAMETERS, RECORD)
    write_notebook(home, "01_b", PARAMETERS, "1 / 0")
    found = answer("run", "00", "--profile", "full")
    assert (found["notebooks"], found["failed"]) == (1, 0)
    words = json.loads(Path(found["summary"]).read_text())["00_a"]["words"]
    assert words == "x x full auto", "the notebook's own corpus and encoder"
    assert "no notebook 07" in complaint("run", "07")
    assert "no notebook has a parameter ROOT" in complaint("run", "00", "--root", ".")
    assert "'fast' is not one of 'quick', 'full'" in complaint("run", "--profile", "fast")
    assert "unknown corpus 'nemmo'" in complaint("run", "--corpus", "nemmo")


def test_bench_joins_the_ratios(home):
    folder = home / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "extraction.py").write_text("def measure():\n    return {'extraction': 2.0}\n")
    (folder / "store.py").write_text("def measure():\n    return {'store': 3.5}\n")
    assert answer("bench") == {"extraction": 2.0, "store": 3.5}
    assert answer("bench", "store") == {"store": 3.5}
    page = (folder / "RESULTS.md").read_text()
    assert page.index("## extraction") < page.index("## store") and page.count("| store | 3.5 |") == 1
    assert "cores" in page
    assert "no comparison speed; expected: extraction, store" in complaint("bench", "store", "speed")


# ------------------------------------------------------------------------------------- errors in one sentence


def test_what_is_unknown_is_named(table, model_folder):
    assert "unknown corpus 'nosuch'; expected one of: demo," in complaint("manifest", "nosuch")
    assert "did you mean 'ravdess'?" in complaint("probe", "--corpus", "ravdes")
    for command in ("fetch", "extract"):
        assert "unknown corpus 'nosuch'" in complaint(command, "nosuch")
    given = ("--manifest", table, "--encoder")
    for command in ("probe", "extract", "export-npy"):
        assert "no-such-encoder" in complaint(command, *given, "no-such-encoder")
    assert "layers [3] of 'logmel'" in complaint("probe", *given, "logmel", "--layer", "3")
    assert call("probe", *given, "logmel", "--layer", "3", "--json", code=2).stdout == ""
    assert "layer 'top'; expected" in complaint("probe", *given, "logmel", "--layer", "top")
    assert "layer 'x'; expected" in complaint("extract", *given, "logmel", "--layer", "0,x")
    assert "99" in complaint("probe", *given, model_folder(), "--layer", "99")
    assert "'abacus'" in complaint("extract", *given, model_folder(), "--device", "abacus")
    assert "'middle'" in complaint("probe", *given, "logmel", "--folds", "middle")
    assert "'median'" in complaint("probe", *given, "logmel", "--pooling", "median")
    assert "'emobox' folds" in complaint("probe", *given, "logmel", "--folds", "emobox")


def test_wrong_commands_and_options_are_one_sentence_too():
    assert "No such command 'prob'" in (said := complaint("prob")) and "'probe'" in said
    assert "--fold" in complaint("probe", "--fold", "loso")
    assert "--verbose" in complaint("--verbose")
    assert "--seed" in complaint("probe", "--seed", "zero")
    assert "corpus" in complaint("fetch").lower()


def test_folders_and_tables_that_are_not_there_or_unfit(tmp_path, table, monkeypatch):
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert str(tmp_path / "nowhere") in complaint("manifest", "ravdess", "--root", tmp_path / "nowhere")
    assert "emolib fetch emodb" in complaint("manifest", "emodb")
    assert "gone.csv" in complaint("manifest", "--manifest", tmp_path / "gone.csv")
    assert "--manifest" in complaint("manifest", "folder")
    assert "no notebooks in" in complaint("run") and "no comparisons in" in complaint("bench")
    assert "two corpora" in complaint("manifest", "emodb", "--corpus", "nemo")
    assert "belongs to the corpus 'folder'" in complaint("manifest", "emodb", "--manifest", table)
    (tmp_path / "poor.csv").write_text("path,speaker\na.wav,s0\n")
    assert "lacks the columns emotion" in complaint("manifest", "--manifest", tmp_path / "poor.csv")


def test_a_message_of_many_lines_becomes_one_and_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def fails(error):
        def load(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(corpora, "load", load)

    fails(ValueError("first\n  second\nthird"))
    assert complaint("manifest", "demo") == "emolib: first second third"
    fails(KeyError("a fault of the program"))
    result = CliRunner().invoke(app, ["manifest", "demo"])
    assert isinstance(result.exception, KeyError) and result.exit_code == 1


def test_a_real_process(table):
    script = Path(sys.executable).with_name("emolib")
    assert script.exists(), "install the package: pip install --editable ."
    found, refused = (
        subprocess.run([script, "manifest", *map(str, words)], capture_output=True, text=True, timeout=60)
        for words in (("--manifest", table, "--json"), ("nosuch",))
    )
    assert found.returncode == 0 and found.stderr == ""
    assert json.loads(found.stdout.splitlines()[-1])["clips"] == 24
    assert refused.returncode == 2 and refused.stdout == ""
    assert re.fullmatch(r"emolib: unknown corpus 'nosuch'[^\n]*\n", refused.stderr)
