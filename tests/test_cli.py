"""The command line: complete help, one JSON object at the end, one sentence where something is wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from typer.testing import CliRunner

from emolib import __version__, corpora, encoders, paths
from emolib.cli import app

COMMANDS = (
    "corpora",
    "fetch",
    "manifest",
    "extract",
    "export-npy",
    "probe",
    "augment",
    "axis",
    "av",
    "pretrain",
    "train-mapper",
    "train-vocoder",
    "tts",
    "steer",
    "quantize",
    "run",
    "sweep",
    "bench",
)
RATE = 16_000
EMOTIONS = ("sad", "angry")


def write_clip(path: Path, f0_hz: float, seed: int) -> Path:
    """Write a third of a second of a buzz at a pitch of its own, with a little noise."""
    time_s = np.arange(RATE // 3) / RATE
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time_s))
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, 0.2 * np.sign(np.sin(2 * np.pi * f0_hz * time_s)) + noise, RATE, subtype="PCM_16")
    return path


def write_corpus(folder: Path, n_speakers: int = 3, n_each: int = 4) -> Path:
    """Write clips of speakers s0, s1 ... and their table; angry ones are high, sad ones low."""
    rows = ["path,speaker,emotion"]
    for s in range(n_speakers):
        for e, emotion in enumerate(EMOTIONS):
            for i in range(n_each):
                name = f"s{s}-{emotion}-{i}.wav"
                write_clip(folder / "audio" / name, 110 + 130 * e + 5 * i + 3 * s, 100 * s + 10 * e + i)
                rows.append(f"audio/{name},s{s},{emotion}")
    table = folder / "my.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


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


def test_the_commands_are_these():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(COMMANDS)


def help_of(*words: str) -> str:
    """Return a help text without the colours that some terminals and CI services get."""
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command):
    text = help_of(command)
    assert "Usage:" in text and "--json" in text
    options = re.findall(
        r"^. +(--[\w-]+)(?:,--[\w-]+)?(?: +--no-[\w-]+)? +<[^>]+> +(\S.*?) *.$", text, flags=re.MULTILINE
    )
    assert {name for name, _ in options} >= set(re.findall(r"^. +(--[\w-]+)", text, flags=re.MULTILINE)) - {
        "--help"
    }


def test_help_lists_the_commands_and_is_shown_without_any():
    text = help_of()
    assert all(re.search(rf"^. {command} +\S", text, flags=re.MULTILINE) for command in COMMANDS)
    assert "Usage:" in call(code=2).output


def test_version():
    assert call("--version").stdout.strip() == __version__


# ------------------------------------------------------------------------------------- corpora and manifests


def test_corpora_lists_every_corpus(home):
    paths.corpus("nemo").mkdir(parents=True)
    listed = answer("corpora")
    assert set(listed) == set(corpora.names()) >= {"demo", "ravdess", "folder"}
    assert listed["ravdess"]["clips"] == 1440 and listed["demo"]["at_hand"]
    assert listed["nemo"]["at_hand"] and not listed["emodb"]["at_hand"]
    text = call("corpora").stdout
    assert "1440 " in text and "1440.0" not in text and "None" not in text and "NA>" not in text


def test_manifest_counts_what_is_there(tmp_path):
    table = write_corpus(tmp_path / "c", n_speakers=2, n_each=2)
    folder = table.parent / "audio"
    shutil.copy(folder / "s0-sad-0.wav", folder / "twin.wav")
    (folder / "text.wav").write_text("not a sound")
    (folder / "empty.wav").touch()
    rows = [
        "audio/twin.wav,s0,sad",
        "audio/text.wav,s0,sad",
        "audio/empty.wav,s1,sad",
        "audio/gone.wav,s1,sad",
    ]
    with table.open("a") as file:
        file.write("\n".join([*rows, "audio/s1-sad-0.wav,s1,furious"]) + "\n")
    found = answer("manifest", "--manifest", table, "--out", tmp_path / "out.csv")
    assert {name: found[name] for name in ("clips", "speakers", "emotions", "duplicates", "skipped")} == {
        "clips": 8, "speakers": 2, "emotions": 2, "duplicates": 1, "skipped": 4,
    }  # fmt: skip
    assert sum(found["by_emotion"].values()) == found["clips"] == len(corpora.read(tmp_path / "out.csv"))
    text = call("manifest", "--manifest", table).stdout
    for name in ("text.wav", "empty.wav", "gone.wav"):
        assert re.search(rf"^skipped .*{name}: \S+", text, flags=re.MULTILINE), text
    assert "unknown emotion 'furious'" in text and re.search(
        r"^duplicate .*: same content as", text, re.MULTILINE
    )


def test_relative_paths_start_from_the_root(table, tmp_path):
    moved = tmp_path / "elsewhere.csv"
    moved.write_text(table.read_text())
    assert answer("manifest", "folder", "--manifest", moved, "--root", table.parent)["clips"] == 24


# ------------------------------------------------------------------------------------- features and probes


def test_extract_keeps_what_is_there(table):
    first = answer("extract", "--manifest", table, "--encoder", "logmel")
    assert (first["clips"], first["new"], first["cached"], first["skipped"]) == (24, 24, 0, 0)
    assert first["layers"] == [0] and Path(first["store"]).is_dir()
    again = answer("extract", "--manifest", table, "--encoder", "logmel")
    assert (again["new"], again["cached"], again["speech_s"]) == (0, 24, 0)


def test_extract_into_a_folder_of_one_s_own(table, tmp_path):
    for option in ("--out", "--store"):
        place = tmp_path / option.strip("-")
        done = answer("extract", "--manifest", table, "--encoder", "logmel", "--no-frames", option, place)
        assert done["store"] == str(place) and list(place.glob("shard-*.safetensors"))
    assert not paths.data().exists()


def test_extract_of_a_network_s_layers(table, model_folder, tmp_path):
    model = model_folder()
    done = answer(
        "extract", "--manifest", table, "--encoder", model, "--layer", "1,3", "--store", tmp_path / "s"
    )
    assert done["layers"] == [1, 3] and done["new"] == 24


def test_export_npy_writes_the_classic_tree(table, tmp_path):
    done = answer("export-npy", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "tree")
    files = sorted((tmp_path / "tree").rglob("*.npy"))
    assert done["files"] == len(files) == 24 and done["skipped"] == 0
    assert {file.parent.name for file in files} == {"Actor_s0", "Actor_s1", "Actor_s2"}
    array = np.load(files[0], allow_pickle=False)
    assert array.shape[1] == 80 and array.dtype == np.float32 and len(array) > 10


@pytest.mark.parametrize("folds", ["speaker", "loso", "random"])
def test_probe_finds_the_pitch(table, folds):
    found = answer("probe", "--manifest", table, "--encoder", "logmel", "--folds", folds)
    assert set(found) == {"ua", "ua_low", "ua_high", "wa", "macro_f1", "layer", "n"}
    assert found["n"] == 24 and found["layer"] == 0
    assert 0.7 < found["ua"] <= 1
    assert found["ua_low"] is found["ua_high"] is None, "three speakers give no interval"
    text = call("probe", "--manifest", table, "--encoder", "logmel", "--folds", folds).stdout
    assert "24 clips, 3 speakers" in text and "chance 0.500" in text
    assert "no interval: fewer than 5 speakers" in text


@pytest.mark.parametrize("encoder", ["logmel", "network"])
def test_probe_on_parts_of_files_is_probe_on_files(table, model_folder, tmp_path, encoder):
    rows = []
    for speaker, clips in pd.read_csv(table).groupby("speaker"):
        waves = [sf.read(table.parent / path, dtype="int16")[0] for path in clips["path"]]
        sf.write(tmp_path / f"{speaker}.wav", np.concatenate(waves), RATE, subtype="PCM_16")
        ends = np.cumsum([len(wave) for wave in waves]) / RATE
        starts = ends - [len(wave) / RATE for wave in waves]
        names = [Path(path).stem for path in clips["path"]]
        rows.append(clips.assign(clip=names, path=f"{speaker}.wav", start=starts, end=ends))
    pd.concat(rows).to_csv(tmp_path / "parts.csv", index=False)
    files = pd.read_csv(table).assign(
        clip=lambda t: t["path"].str[6:-4], path=lambda t: table.parent / t["path"]
    )
    files.to_csv(tmp_path / "files.csv", index=False)
    chosen = model_folder() if encoder == "network" else encoder
    first, second = (
        answer("probe", "--manifest", tmp_path / name, "--encoder", chosen)
        for name in ("parts.csv", "files.csv")
    )
    assert first["n"] == 24 and first == second


def test_probe_chooses_a_layer(table, model_folder):
    found = answer("probe", "--manifest", table, "--encoder", model_folder(), "--pooling", "mean")
    assert found["layer"] in range(5) and found["n"] == 24


def test_two_speakers_are_enough_for_one_layer(tmp_path):
    table = write_corpus(tmp_path / "c", n_speakers=2)
    assert answer("probe", "--manifest", table, "--encoder", "prosody", "--layer", "0")["n"] == 16


def test_an_interval_that_is_not_known_is_null(tmp_path):
    table = write_corpus(tmp_path / "c", n_speakers=1)
    found = answer("probe", "--manifest", table, "--encoder", "logmel", "--folds", "random")
    assert found["ua_low"] is None and found["ua_high"] is None and found["ua"] > 0


# ------------------------------------------------------------------------------------- notebooks, benchmarks

PARAMETERS = 'CORPUS = "x"\nENCODER = "x"\nPROFILE = "x"\nDEVICE = "x"\nSEED = 0'


def write_notebook(home: Path, name: str, code: str, parameters: str = PARAMETERS) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, code)]
    cells[0].metadata["tags"] = ["parameters"]
    (home / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "notebooks" / f"{name}.ipynb")


RECORD = """from emolib import results
results.record("00_a", {"words": " ".join([CORPUS, ENCODER, PROFILE, DEVICE])})"""


def test_run_ends_with_a_table_and_fails_where_a_notebook_does(home):
    write_notebook(home, "00_a", RECORD)
    write_notebook(home, "01_b", "1 / 0", parameters="SEED = 1")
    words = ("--corpus", "nemo", "--encoder", "logmel", "--device", "cpu")
    found = answer("run", *words, code=1)
    assert set(found) == {"notebooks", "failed", "seconds", "summary"}
    assert (found["notebooks"], found["failed"]) == (2, 1) and found["seconds"] > 0
    assert json.loads(Path(found["summary"]).read_text()) == {"00_a": {"words": "nemo logmel quick cpu"}}
    result = call("run", "01", *words, code=1)
    assert re.search(r"01_b +\d+ s +ZeroDivisionError", result.stdout) and "figures" in result.stdout


def test_run_of_chosen_notebooks(home):
    write_notebook(home, "00_a", RECORD)
    write_notebook(home, "01_b", "1 / 0")
    found = answer("run", "00", "--profile", "full")
    assert (found["notebooks"], found["failed"]) == (1, 0)
    assert json.loads(Path(found["summary"]).read_text())["00_a"]["words"] == "demo wav2vec2-nano full auto"
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


def test_what_is_unknown_is_named(table):
    assert "unknown corpus 'nosuch'; expected one of: demo," in complaint("manifest", "nosuch")
    assert "did you mean 'ravdess'?" in complaint("probe", "--corpus", "ravdes")
    assert "unknown corpus 'nosuch'" in complaint("fetch", "nosuch")
    assert "unknown corpus 'nosuch'" in complaint("extract", "nosuch")
    given = ("--manifest", table, "--encoder")
    for command in ("probe", "extract", "export-npy"):
        assert "no-such-encoder" in complaint(command, *given, "no-such-encoder")
    assert "layers [3] of 'logmel'" in complaint("probe", *given, "logmel", "--layer", "3")
    assert "layer 'top'; expected" in complaint("probe", *given, "logmel", "--layer", "top")
    assert "layer 'x'; expected" in complaint("extract", *given, "logmel", "--layer", "0,x")
    assert "'middle'" in complaint("probe", *given, "logmel", "--folds", "middle")
    assert "'median'" in complaint("probe", *given, "logmel", "--pooling", "median")


def test_a_layer_or_device_that_a_network_lacks(table, model_folder):
    given = ("--manifest", table, "--encoder", model_folder())
    assert "99" in complaint("probe", *given, "--layer", "99")
    assert "'abacus'" in complaint("extract", *given, "--device", "abacus")


def test_wrong_commands_and_options_are_one_sentence_too():
    assert "No such command 'prob'" in complaint("prob") and "'probe'" in complaint("prob")
    assert "--fold" in complaint("probe", "--fold", "loso")
    assert "--verbose" in complaint("--verbose")
    assert "--seed" in complaint("probe", "--seed", "zero")
    assert "corpus" in complaint("fetch").lower()


def test_folders_and_tables_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert str(tmp_path / "nowhere") in complaint("manifest", "ravdess", "--root", tmp_path / "nowhere")
    assert "emolib fetch emodb" in complaint("manifest", "emodb")
    assert "gone.csv" in complaint("manifest", "--manifest", tmp_path / "gone.csv")
    assert "--manifest" in complaint("manifest", "folder")
    assert "no notebooks in" in complaint("run")
    assert "no comparisons in" in complaint("bench")


def test_corpora_that_do_not_allow_what_is_asked(tmp_path, table):
    alone = write_corpus(tmp_path / "c", n_speakers=1)
    assert "1 speaker; 'speaker' folds" in complaint("probe", "--manifest", alone, "--encoder", "logmel")
    assert "'emobox' folds" in complaint(
        "probe", "--manifest", table, "--encoder", "logmel", "--folds", "emobox"
    )
    assert "two corpora" in complaint("manifest", "emodb", "--corpus", "nemo")
    assert "belongs to the corpus 'folder'" in complaint("manifest", "emodb", "--manifest", table)
    (tmp_path / "poor.csv").write_text("path,speaker\na.wav,s0\n")
    assert "lacks the columns emotion" in complaint("manifest", "--manifest", tmp_path / "poor.csv")


def test_a_message_of_many_lines_becomes_one(monkeypatch):
    def refuse(*_: object) -> None:
        raise ValueError("first\n  second\nthird")

    monkeypatch.setattr(corpora, "load", refuse)
    assert complaint("manifest", "demo") == "emolib: first second third"


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def stumble(*_: object) -> None:
        raise KeyError("a bug, not a mistake of the user's")

    monkeypatch.setattr(corpora, "load", stumble)
    result = CliRunner().invoke(app, ["manifest", "demo"])
    assert isinstance(result.exception, KeyError) and result.exit_code == 1


def test_a_failed_command_writes_no_json(table):
    result = call("probe", "--manifest", table, "--encoder", "logmel", "--layer", "3", "--json", code=2)
    assert result.stdout == ""


# ------------------------------------------------------------------------------------- as a process


def emolib_process(*words: object) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("emolib")
    assert script.exists(), "install the package: pip install --editable ."
    return subprocess.run([script, *map(str, words)], capture_output=True, text=True, timeout=60)


def test_a_real_process(table):
    done = emolib_process("manifest", "--manifest", table, "--json")
    assert done.returncode == 0 and done.stderr == ""
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["clips"], found["speakers"], found["emotions"]) == (24, 3, 2)


def test_a_real_process_that_is_asked_for_nonsense():
    done = emolib_process("manifest", "nosuch")
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"emolib: unknown corpus 'nosuch'[^\n]*\n", done.stderr)


def test_the_default_encoder_is_the_package_s():
    text = help_of("probe")
    assert f"[default: {encoders.DEFAULT}]" in text
