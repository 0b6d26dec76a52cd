"""Notebook 07's study: speakers stay apart, gains are paired, leaks are counted, and a cell is run once."""

# ruff: noqa: PD011  (spectrograms have values, too)
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from samples import refused
from typer.testing import CliRunner

from emolib import corpora, generate, metrics
from emolib.cli import app
from emolib.generate.mels import Mels
from emolib.ser import ResNetRecogniser, ResNetSettings
from emolib.studies import augmentation as study
from emolib.studies.augmentation import ALONE, BOTH, CLASSICAL, EQUAL, REAL, Grid, Settings

CLASSES = ("angry", "happy", "sad")
SPEAKERS = {f"{i:02d}": ("female", "male")[i % 2] for i in range(8)}
SMALL = ResNetSettings(widths=(4, 8), steps=8, batch_size=9, crop=16, rate=1e-2)


def clips(n_each: int = 4, seed: int = 0, noise: float = 1.5) -> Mels:
    """Return clips of every speaker and class: each class has a band, each speaker a timbre."""
    rng, voices = np.random.default_rng(seed), np.random.default_rng(9).normal(0, 2, (len(SPEAKERS), 32, 1))
    rows = [(c, s, f"{seed}-{s}-{c}-{i}") for s in SPEAKERS for c in CLASSES for i in range(n_each)]
    labels, speakers, names = map(np.array, zip(*rows, strict=True))
    values = rng.normal(-6, noise, (len(rows), 128, 172)).astype(np.float32)
    for i, (label, speaker, _) in enumerate(rows):
        values[i, 20 + 30 * CLASSES.index(label)] += 4
        values[i] += np.repeat(voices[int(speaker)], 4, axis=0)
    mask = np.zeros((len(rows), 172), bool)
    mask[:, 40:100] = True
    return Mels(values, mask, labels, speakers, names)


MELS = clips()


def sample(mels: Mels, labels, *, seed: int = 0, **_) -> Mels:
    """Give back the clips that a generator was trained on, with noise."""
    rng, n = np.random.default_rng(seed), len(labels)
    rows = [rng.choice(np.flatnonzero(mels.labels == label)) for label in labels]
    values = mels.values[rows] + rng.normal(0, 0.5, (n, 128, 172)).astype(np.float32)
    names = np.array([f"made-{i}" for i in range(n)])
    return Mels(values, mels.mask[rows], np.array(labels), np.full(n, "generated"), names)


@pytest.fixture
def trained(monkeypatch) -> list[Mels]:
    """Replace the generator by a fake, and return the list of what each was trained on."""
    seen: list[Mels] = []

    def train(mels, *_, **__):
        seen.append(mels)
        return SimpleNamespace(sample=partial(sample, mels))

    monkeypatch.setattr(generate, "train", train, raising=False)
    return seen


@pytest.fixture
def manifest(monkeypatch) -> pd.DataFrame:
    found = MELS, [{"clip": "x", "reason": "broken"}]
    monkeypatch.setattr(generate, "load_mels", lambda manifest: found, raising=False)
    genders = [SPEAKERS[name] for name in MELS.speakers]
    clips = pd.DataFrame({"speaker": MELS.speakers, "gender": genders, "corpus": "tiny"})
    clips.attrs["renamed"] = ""
    return clips


def settings(**changes) -> Settings:
    conditions = REAL, CLASSICAL, BOTH, ALONE
    few = {"shares": (1.0, 0.5), "generated_shares": (0.5,), "seeds": (0, 1), "recogniser": SMALL}
    return Settings(conditions, **few | changes)


def grid_of(folder: Path, mels: Mels = MELS, **changes) -> Grid:
    return Grid(mels, SPEAKERS, folder, settings(**changes), device="cpu")


def both_of(grid: Grid) -> study.Cell:
    return next(cell for cell in grid.cells if cell.condition == BOTH)


# ------------------------------------------------------------------------------------- who learns from whom


def test_halves_keep_speakers_apart_and_genders_even():
    (train, test), (other_train, other_test) = study.halves(MELS.labels, MELS.speakers, SPEAKERS, seed=3)
    assert not set(MELS.speakers[train]) & set(MELS.speakers[test])
    assert np.array_equal(train, other_test) and np.array_equal(test, other_train)
    assert sorted(np.r_[train, test]) == list(range(len(MELS)))
    genders = [SPEAKERS[name] for name in set(MELS.speakers[train])]
    assert genders.count("female") == genders.count("male") == 2
    again, other = (study.halves(MELS.labels, MELS.speakers, SPEAKERS, seed=s)[0][0] for s in (3, 4))
    assert np.array_equal(train, again) and not np.array_equal(train, other)


def test_a_share_has_every_class_and_speaker_alike_and_smaller_ones_within():
    kept = [study.share_of(MELS.labels, MELS.speakers, share) for share in (0.25, 0.5, 1.0)]
    for rows, share in zip(kept, (0.25, 0.5, 1.0), strict=True):
        assert (pd.crosstab(MELS.labels[rows], MELS.speakers[rows]).to_numpy() == 4 * share).all()
    assert set(kept[0]) < set(kept[1]) < set(kept[2])
    assert set(kept[0]) != set(study.share_of(MELS.labels, MELS.speakers, 0.25, seed=1))


def test_the_flattering_split_shares_speakers_and_holds_out_a_fifth():
    mels = clips(5)
    train, test = study.leaky(mels.labels)
    assert len(test) == len(mels) / 5 and not set(train) & set(test)
    assert set(mels.speakers[test]) <= set(mels.speakers[train])
    assert len(set(np.unique(mels.labels[test], return_counts=True)[1])) == 1


def test_what_cannot_be_cut_is_refused():
    wrong = {
        "1 speaker; two halves": lambda: study.halves(["sad", "angry"], ["a", "a"], {}),
        "have no clip of": lambda: study.halves(["sad", "angry", "sad"], ["a", "a", "b"], {}),
        "above 0 and up to 1": lambda: study.share_of(["sad"] * 9, ["a"] * 9, 1.5),
        "10 % of 9 clips of 'sad' are 1": lambda: study.share_of(["sad"] * 9, ["a"] * 9, 0.1),
        "1 clip of 'sad'": lambda: study.leaky(["sad"]),
        "unknown profile 'slow'": lambda: Settings.of("slow"),
    }
    for message, call in wrong.items():
        refused(message, call)


# ------------------------------------------------------------------------------------- scores and gains


def predictions(right: float, seeds: int = 2) -> pd.DataFrame:
    rng, parts = np.random.default_rng(0), []
    for seed in range(seeds):
        wrong = rng.random(len(MELS)) > right
        answers = np.where(wrong, rng.permutation(MELS.labels), MELS.labels)
        part = {"speaker": MELS.speakers, "truth": MELS.labels, "predicted": answers}
        parts.append(pd.DataFrame(part).assign(seed=seed))
    return pd.concat(parts)


def test_scores_are_those_of_metrics_averaged_over_seeds():
    table = predictions(0.6)
    found = study.scores(table)
    by_hand = (metrics.unweighted_accuracy, metrics.weighted_accuracy, metrics.macro_f1)
    for name, score in zip(study.SCORES, by_hand, strict=True):
        values = [score(part["truth"], part["predicted"]) for _, part in table.groupby("seed")]
        assert found[name] == pytest.approx(np.mean(values))
    one = predictions(0.6, seeds=1)
    answers = one["truth"], one["predicted"], one["speaker"]
    wanted = metrics.speaker_bootstrap(metrics.unweighted_accuracy, *answers)
    assert [study.scores(one)[f"ua{end}"] for end in ("", "_low", "_high")] == pytest.approx([*wanted])
    few = study.scores(table[table["speaker"].isin(list(SPEAKERS)[:4])])
    assert np.isnan(few["ua_low"]) and 0 < few["ua"] < 1


def test_a_difference_is_paired():
    table, better = predictions(0.6), predictions(0.95)
    assert not any(study.scores(table, table).values())
    gain, back = study.scores(better, table), study.scores(table, better)
    assert gain["ua_low"] > 0 and back["ua_high"] == pytest.approx(-gain["ua_low"])
    assert gain["ua"] == pytest.approx(study.scores(better)["ua"] - study.scores(table)["ua"])


# ------------------------------------------------------------------------------------- the leak audit


def test_speakers_apart_have_no_leak_and_every_leak_is_found():
    train, test = (MELS.take(rows) for rows in study.halves(MELS.labels, MELS.speakers, SPEAKERS)[0])
    found = study.audit(train, test, clips(seed=5), saw={"generator": train.clips})
    assert not found["leak"].any() and (found["of"] > 0).all()
    train, test = MELS.take(np.arange(60)), MELS.take(np.arange(50, 96))
    renamed = Mels(test.values, test.mask, test.labels, test.speakers, np.char.add("copy-", test.clips))
    found = study.audit(train, renamed, test.take(np.arange(3)), saw={"network that chose": renamed.clips})
    value = found.set_index("check")["value"]
    assert value["test clips in the training set, by name"] == 0
    assert value["test clips in the training set, by content"] == 10
    assert value["test clips near a training clip"] == 10
    assert value["generated clips that are a test clip"] == value["generated clips near a test clip"] == 3
    assert value["test clips that the network that chose saw"] == 46
    assert found["leak"].sum() == 6
    names = np.char.add("q", MELS.clips)
    quieter = Mels(MELS.values - 0.99, MELS.mask, MELS.labels, MELS.speakers, names)
    value = study.audit(MELS, quieter).set_index("check")["value"]
    assert value["test clips near a training clip"] == len(MELS), "whatever its level"


# ------------------------------------------------------------------------------------- the grid


def test_what_decides_comes_first_and_no_cell_comes_twice(tmp_path):
    cells = grid_of(tmp_path).cells
    disjoint = (2 * 2 + 2) * 2 * 2  # real and classical of two shares, both and alone of one; folds and seeds
    assert len({cell.name for cell in cells}) == len(cells) == disjoint + 5 * 2
    assert {cell.condition.name for cell in cells[:10]} == {REAL.name, CLASSICAL.name, BOTH.name}
    assert {cell.seed for cell in cells[:10]} == {0}
    assert not [c for c in cells if c.protocol == "disjoint" and c.condition.generated and c.share == 1]
    grid = grid_of(tmp_path, shares=(1.0, 0.05), generated_shares=(1.0,))
    assert {cell.share for cell in grid.cells} == {1.0}
    assert set(grid.left_out) == {"disjoint-fold0-real5", "disjoint-fold1-real5"}
    assert all("expected at least two" in reason for reason in grid.left_out.values())


def test_generators_see_training_clips_of_their_share_alone(tmp_path, trained):
    grid = grid_of(tmp_path)
    for cell in [cell for cell in grid.cells if cell.condition == BOTH and cell.seed == 0]:
        train, test = grid.rows(cell)
        grid.run(cell)
        assert sorted(trained[-1].clips) == sorted(MELS.clips[train])
        assert not set(trained[-1].speakers) & set(MELS.speakers[test])
    assert len(trained) == 2 and len(trained[0]) == 24, "half of the clips of half of the speakers"


def test_the_clips_that_are_audited_are_those_that_were_trained_on(tmp_path, trained, monkeypatch):
    grid, seen = grid_of(tmp_path), []
    [cell] = [one for one in grid.cells if one.condition.selected and one.seed == 0][:1]
    audit = study.audit
    monkeypatch.setattr(study, "audit", lambda *clips, **saw: seen.append(clips[2]) or audit(*clips, **saw))
    grid.leaks(cell)
    assert seen[0].clips.tolist() == grid.generated(cell).clips.tolist()


def test_the_flattering_protocol_shows_the_generator_everything(tmp_path, trained):
    grid = grid_of(tmp_path)
    cells = [cell for cell in grid.cells if cell.protocol == "flattering" and cell.seed == 0]
    done = [grid.run(cell) for cell in cells]
    assert len(trained) == 1 and len(trained[0]) == len(MELS)
    found = grid.leaks(cells[-1]).set_index("check")
    saw = [f"test clips that the {who} saw" for who in ("generator", "network that chose", "normalisation")]
    assert found["leak"][saw].all() and found["value"][saw[0]] == len(done[0]["clips"])
    assert found["value"]["test clips in the training set, by name"] == 0


def test_a_cell_is_run_once_and_again_where_its_settings_change(tmp_path, trained):
    grid = grid_of(tmp_path)
    cell, real = both_of(grid), grid.cells[0]
    assert grid.read(cell) is None
    first = grid.run(cell)
    place = tmp_path / "cells" / f"{cell.name}-{grid.identity(cell)}.json"
    written = place.stat().st_mtime_ns
    assert grid.run(cell) == json.loads(place.read_text()) == first and place.stat().st_mtime_ns == written
    again = grid_of(tmp_path, steps=19)
    assert again.read(cell) is None and again.identity(real) == grid.identity(real)
    assert grid_of(tmp_path, clips(seed=1)).read(cell) is None
    place.write_text("{")
    assert grid.read(cell) is None


def test_conditions_differ_in_what_they_say_alone(tmp_path, trained):
    """All have one normaliser, BOTH draws real clips as often as EQUAL, and amounts are of the real clips."""
    grid = grid_of(tmp_path)
    cell = both_of(grid)
    real, first = grid.clips(cell)[0], replace(BOTH, name="first", first=True)
    made = grid.generated(cell)
    far = Mels(made.values + 5, made.mask, made.labels, made.speakers, made.clips)
    own, steps = ResNetRecogniser(SMALL, device="cpu").fit(real), {}
    for condition in (CLASSICAL, EQUAL, BOTH, ALONE, first):
        done = grid.train(replace(cell, condition=condition), far if condition.generated else None)
        assert np.array_equal(done.mean_, own.mean_) and np.array_equal(done.scale_, own.scale_)
        steps[condition.name] = len(done.losses_)
    assert steps[EQUAL.name] == steps[BOTH.name] / 2 == steps[CLASSICAL.name] / 2
    assert steps["first"] == steps[BOTH.name] // 2, "the other half went before"
    assert grid.identity(replace(cell, condition=first)) != grid.identity(cell)
    for condition, n_real, n_made in ((replace(BOTH, generated=0.25), 24, 6), (BOTH, 24, 24), (ALONE, 0, 24)):
        found = grid.run(replace(cell, condition=condition))
        assert (found["n_real"], found["n_generated"]) == (n_real, n_made)


def test_labels_of_samples_keep_their_shares_from_the_beginning():
    real = MELS.take(np.r_[0:8, 8:12, 12:20])
    labels = study._labels(real, 2.0, 0)
    for n, error in ((40, 0), (20, 0), (10, 0.1)):
        for name in CLASSES:
            assert abs((labels[:n] == name).mean() - (real.labels == name).mean()) <= error


def test_those_that_are_chosen_are_the_surest_of_each_class(tmp_path, trained):
    grid = grid_of(tmp_path)
    cell = both_of(grid)
    few = replace(BOTH, name="x", generated=0.5)
    pool = grid.generated(cell)
    chosen = grid.generated(replace(cell, condition=replace(few, selected=True)))
    assert len(chosen) == len(grid.generated(replace(cell, condition=few))) == 12 and len(pool) == 24
    chooser, sure = grid.chooser(cell), []
    for mels in (chosen, pool):
        own = np.searchsorted(CLASSES, mels.labels)
        sure.append(chooser.predict_proba(mels)[np.arange(len(mels)), own].mean())
    assert sure[0] > sure[1] and {v.tobytes() for v in chosen.values} < {v.tobytes() for v in pool.values}


# ------------------------------------------------------------------------------------- the study


def test_a_study_is_run_and_read_again(tmp_path: Path, manifest, trained):
    chosen = settings(flattering=study.FLATTERING[:1], folds=(0,), seeds=(0,))
    done = study.study(manifest, tmp_path, settings=chosen, device="cpu")
    table = done.table()
    assert done.missing == [] and done.skipped == [{"clip": "x", "reason": "broken"}] and done.seconds > 0
    assert len(table) == 2 + 4 + 1 and (table["n"][table["protocol"] == "disjoint"] == 48).all()
    many = table["speakers"] >= metrics.MIN_SPEAKERS
    for score in study.SCORES:
        ends = table[[f"{score}_low", f"{score}_high"]]
        assert table[score].between(*ends.to_numpy().T)[many].all() and ends[~many].isna().all(axis=None)
    gains = done.differences()
    assert "classical" not in set(gains["condition"]) and (gains["over"] == "classical").all()
    by = table.set_index(["protocol", "share", "condition"])["ua"]
    row = gains[gains["condition"] == BOTH.name].iloc[0]
    assert row["ua"] == pytest.approx(by["disjoint", 0.5, BOTH.name] - by["disjoint", 0.5, "classical"])
    assert done.headline()["gain"] == row["ua"]
    n_trained = len(trained)
    again = study.study(manifest, tmp_path, settings=chosen, device="cpu", limit_s=0)
    assert len(trained) == n_trained
    pd.testing.assert_frame_equal(again.table(), table)
    leaks = done.leaks.groupby("protocol")["leak"].any()
    assert not leaks["disjoint"] and leaks["flattering"], "speakers are shared"


def test_a_study_that_is_not_done_says_what_is_missing(tmp_path: Path, manifest, trained):
    read = partial(study.study, manifest, tmp_path, settings=settings(), device="cpu", limit_s=0)
    refused("no time to run any", read)
    grid = grid_of(tmp_path)
    for cell in grid.cells[:5]:
        grid.run(cell)
    part = read()
    assert part.missing == [cell.name for cell in grid.cells[5:]]
    assert (part.table()["seeds"] == 1).all()
    assert part.headline()["n"] == 0 and np.isnan(part.headline()["gain"])


def test_the_command_prints_both_tables_and_the_gain(tmp_path: Path, manifest, trained, monkeypatch):
    chosen = replace(settings(folds=(0,), seeds=(0,)), conditions=study.DECIDING, flattering=(REAL,))
    monkeypatch.setattr(Settings, "of", lambda profile, seed=0: chosen)
    monkeypatch.setattr(corpora, "load", lambda *words, **options: manifest)
    words = ["augment", "--out", str(tmp_path), "--device", "cpu", "--seeds", "1", "--json"]
    cut = CliRunner().invoke(app, [*words, "--limit", "0"])
    assert cut.exit_code == 2 and "no time to run any" in cut.stderr
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
    found, done = json.loads(result.stdout.splitlines()[-1]), study.study(manifest, tmp_path, device="cpu")
    assert found["gain"] == pytest.approx(done.headline()["gain"])
    assert found["gain_low"] is None and found["gain_high"] is None  # four speakers: no interval
    assert found["gain"] == pytest.approx(found["ua_generated"] - found["ua_classical"])
    assert found["gain_equal"] == pytest.approx(found["ua_generated"] - found["ua_equal"])
    assert found["n"] == 48 and found["missing"] == 0 and 0 < found["ua_real"] <= 1
    assert "skipped x: broken" in result.stdout and "Leak audit" in result.stdout


def test_a_part_is_asked_for_by_names_that_are_known(manifest, monkeypatch):
    part = settings().part(["real", "classical"], [0.5], 1)
    cells = study.cells_of(part)
    assert len(cells) == 4 and {cell.protocol for cell in cells} == {"disjoint"}
    assert len(study.cells_of(Settings.of("full"))) > len({c.name for c in study.cells_of(part)})
    monkeypatch.setattr(Settings, "of", lambda profile, seed=0: settings())
    monkeypatch.setattr(corpora, "load", lambda *words, **options: manifest)
    wrong = {
        ("--conditions", "reel"): "no condition reel; expected some of: real",
        ("--shares", "0.3"): "no share 0.3", ("--shares", "x"): "shares 'x'; expected numbers",
        ("--seeds", "9"): "9 seeds; expected 1 to 2",
    }  # fmt: skip
    for option, message in wrong.items():
        refused = CliRunner().invoke(app, ["augment", *option])
        assert refused.exit_code == 2 and message in refused.stderr
