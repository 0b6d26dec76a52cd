"""Protocols keep speakers apart, gains are paired, leaks are counted, and a cell is run once."""

# ruff: noqa: PD011  (spectrograms have values, too)
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emolib import augment, generate, metrics
from emolib.augment import grid as grids
from emolib.augment.distances import near_distance
from emolib.augment.protocol import ALONE, BOTH, CLASSICAL, EQUAL, REAL
from emolib.cli import app
from emolib.cli import augment as app_module
from emolib.generate.mels import Mels
from emolib.ser import ResNetRecogniser, ResNetSettings

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


class FakeGenerator:
    """Gives back the clips that it was trained on, with noise."""

    def __init__(self, mels: Mels) -> None:
        self.mels = mels

    def sample(self, labels, *, sampler="dpm++", steps=20, guidance=2.0, seed=0) -> Mels:
        rng = np.random.default_rng(seed)
        rows = [rng.choice(np.flatnonzero(self.mels.labels == label)) for label in labels]
        values = self.mels.values[rows] + rng.normal(0, 0.5, (len(rows), 128, 172)).astype(np.float32)
        names = [f"made-{i}" for i in range(len(rows))]
        return Mels(
            values, self.mels.mask[rows], np.array(labels), np.full(len(rows), "generated"), np.array(names)
        )


@pytest.fixture
def trained(monkeypatch) -> list[Mels]:
    """Replace the generator by a fake, and return the list of what each was trained on."""
    seen: list[Mels] = []

    def train(mels, out, settings=None, *, device="auto", resume=True, progress=False):
        seen.append(mels)
        return FakeGenerator(mels)

    monkeypatch.setattr(generate, "train", train, raising=False)
    return seen


def settings(**changes) -> augment.Settings:
    base = augment.Settings(
        (REAL, CLASSICAL, BOTH, ALONE),
        shares=(1.0, 0.5),
        generated_shares=(0.5,),
        seeds=(0, 1),
        recogniser=SMALL,
    )
    return replace(base, **changes)


# ------------------------------------------------------------------------------------- who learns from whom


def test_halves_keep_speakers_apart_and_genders_even():
    mels = clips(1)
    (train, test), (other_train, other_test) = augment.halves(mels.labels, mels.speakers, SPEAKERS, seed=3)
    assert not set(mels.speakers[train]) & set(mels.speakers[test])
    assert np.array_equal(train, other_test) and np.array_equal(test, other_train)
    assert sorted(np.r_[train, test]) == list(range(len(mels)))
    for side in (train, test):
        genders = [SPEAKERS[name] for name in set(mels.speakers[side])]
        assert genders.count("female") == genders.count("male") == 2
    again, other = (augment.halves(mels.labels, mels.speakers, SPEAKERS, seed=s)[0][0] for s in (3, 4))
    assert np.array_equal(train, again) and not np.array_equal(train, other)


def test_halves_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="1 speaker; two halves"):
        augment.halves(["sad", "angry"], ["a", "a"], {})
    with pytest.raises(ValueError, match="have no clip of"):
        augment.halves(["sad", "angry", "sad"], ["a", "a", "b"], {})


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_share_has_every_class_and_speaker_alike(share):
    mels = clips(4)
    kept = augment.share_of(mels.labels, mels.speakers, share)
    assert len(kept) == share * len(mels) == len(set(kept))
    table = pd.crosstab(mels.labels[kept], mels.speakers[kept]).to_numpy()
    assert (table == 4 * share).all()


def test_a_smaller_share_lies_within_a_larger():
    mels = clips(5)
    small, large = (set(augment.share_of(mels.labels, mels.speakers, share)) for share in (0.1, 0.5))
    assert small < large
    assert small != set(augment.share_of(mels.labels, mels.speakers, 0.1, seed=1))


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        augment.share_of(["sad"] * 9, ["a"] * 9, share)


def test_shares_that_leave_too_little_are_refused():
    with pytest.raises(ValueError, match="10 % of 9 clips of 'sad' are 1; expected at least two"):
        augment.share_of(["sad"] * 9, ["a"] * 9, 0.1)


def test_the_flattering_split_shares_speakers_and_holds_out_a_fifth():
    mels = clips(5)
    train, test = augment.leaky(mels.labels)
    assert len(test) == len(mels) / 5 and not set(train) & set(test)
    assert set(mels.speakers[test]) <= set(mels.speakers[train])
    assert len(set(np.unique(mels.labels[test], return_counts=True)[1])) == 1


# ------------------------------------------------------------------------------------- scores and gains


def predictions(right: float, seed: int = 0, seeds: int = 2) -> pd.DataFrame:
    rng, mels = np.random.default_rng(seed), clips(3)
    parts = []
    for number in range(seeds):
        wrong = rng.random(len(mels)) > right
        answers = np.where(wrong, rng.permutation(mels.labels), mels.labels)
        parts.append(
            pd.DataFrame({"speaker": mels.speakers, "truth": mels.labels, "predicted": answers}).assign(
                seed=number
            )
        )
    return pd.concat(parts)


def test_scores_are_those_of_metrics_averaged_over_seeds():
    table = predictions(0.6)
    counts = augment.counts_of(table, list(CLASSES), list(SPEAKERS))
    assert counts.shape == (2, 8, 3, 3) and counts.sum() == len(table)
    found = augment.intervals(counts)
    by_hand = {
        "ua": metrics.unweighted_accuracy,
        "wa": metrics.weighted_accuracy,
        "macro_f1": metrics.macro_f1,
    }
    for name, score in by_hand.items():
        values = [score(part["truth"], part["predicted"]) for _, part in table.groupby("seed")]
        assert found[name].value == pytest.approx(np.mean(values))


def test_the_interval_of_one_seed_is_the_bootstrap_over_speakers():
    table = predictions(0.6, seeds=1)
    found = augment.intervals(augment.counts_of(table, list(CLASSES), list(SPEAKERS)))["ua"]
    answers = table["truth"], table["predicted"]
    wanted = metrics.speaker_bootstrap(metrics.unweighted_accuracy, *answers, table["speaker"])
    assert found == pytest.approx(wanted)


def test_a_difference_is_paired():
    table = predictions(0.6)
    counts = augment.counts_of(table, list(CLASSES), list(SPEAKERS))
    same = augment.intervals(counts, counts)["ua"]
    assert same.value == same.low == same.high == 0
    better = augment.counts_of(predictions(0.95), list(CLASSES), list(SPEAKERS))
    gain, back = augment.intervals(better, counts)["ua"], augment.intervals(counts, better)["ua"]
    assert gain.low > 0 and np.allclose(back, [-gain.value, -gain.high, -gain.low])
    assert gain.value == pytest.approx(
        augment.intervals(better)["ua"].value - augment.intervals(counts)["ua"].value
    )


def test_few_speakers_give_no_interval():
    table = predictions(0.6)
    table = table[table["speaker"].isin(list(SPEAKERS)[:4])]
    found = augment.intervals(augment.counts_of(table, list(CLASSES), list(SPEAKERS)[:4]))["ua"]
    assert np.isnan(found.low) and np.isnan(found.high) and 0 < found.value < 1


# ------------------------------------------------------------------------------------- the leak audit


def test_speakers_apart_have_no_leak():
    mels = clips()
    train, test = (mels.take(rows) for rows in augment.halves(mels.labels, mels.speakers, SPEAKERS)[0])
    found = augment.audit(train, test, clips(seed=5), saw={"generator": train.clips})
    assert not found["leak"].any() and (found["of"] > 0).all()
    assert found.set_index("check")["of"]["test clips that the generator saw"] == len(test)


def test_every_leak_is_found():
    mels = clips()
    train, test = mels.take(np.arange(60)), mels.take(np.arange(50, 96))
    renamed = Mels(test.values, test.mask, test.labels, test.speakers, np.char.add("copy-", test.clips))
    found = augment.audit(train, renamed, test.take(np.arange(3)), saw={"network that chose": renamed.clips})
    value = found.set_index("check")["value"]
    assert value["test clips in the training set, by name"] == 0
    assert value["test clips in the training set, by content"] == 10
    assert value["test clips near a training clip"] == 10
    assert value["generated clips that are a test clip"] == value["generated clips near a test clip"] == 3
    assert value["test clips that the network that chose saw"] == 46
    assert found["leak"].sum() == 6


def test_a_near_copy_is_near_and_another_clip_is_not():
    mels = clips()
    quieter = Mels(
        mels.values - 1 + 0.01, mels.mask, mels.labels, mels.speakers, np.char.add("q", mels.clips)
    )
    table = augment.audit(mels, quieter).set_index("check")["value"]
    assert table["test clips near a training clip"] == len(mels), "whatever its level"
    assert table["test clips in the training set, by content"] == 0
    assert near_distance(mels) > 0


def test_an_audit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 training and 96 test clips"):
        augment.audit(clips().take(np.array([], int)), clips())


# ------------------------------------------------------------------------------------- the grid


def test_what_decides_comes_first_and_no_cell_comes_twice(tmp_path):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    names = [cell.name for cell in grid.cells]
    disjoint = (2 * 2 + 2) * 2 * 2  # real and classical of two shares, both and alone of one; folds and seeds
    assert len(names) == len(set(names)) == disjoint + 5 * 2
    first = {cell.condition.name for cell in grid.cells[:10]}
    assert first == {REAL.name, CLASSICAL.name, BOTH.name}
    assert {cell.seed for cell in grid.cells[:10]} == {0}
    assert not [
        cell
        for cell in grid.cells
        if cell.protocol == "disjoint" and cell.condition.generated and cell.share == 1
    ]


def test_shares_that_leave_too_little_are_left_out_and_told(tmp_path):
    chosen = settings(shares=(1.0, 0.05), generated_shares=(1.0,))
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, chosen, device="cpu")
    assert {cell.share for cell in grid.cells} == {1.0}
    assert set(grid.left_out) == {"disjoint-fold0-real5", "disjoint-fold1-real5"}
    assert all("expected at least two" in reason for reason in grid.left_out.values())


def test_generators_see_training_clips_of_their_share_alone(tmp_path, trained):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    for cell in [cell for cell in grid.cells if cell.condition == BOTH and cell.seed == 0]:
        train, test = grid.rows(cell)
        grid.run(cell)
        assert sorted(trained[-1].clips) == sorted(grid.mels.clips[train])
        assert not set(trained[-1].speakers) & set(grid.mels.speakers[test])
    assert len(trained) == 2 and len(trained[0]) == 24, "half of the clips of half of the speakers"


def test_the_flattering_protocol_shows_the_generator_everything(tmp_path, trained):
    mels = clips()
    grid = augment.Grid(mels, SPEAKERS, tmp_path, settings(), device="cpu")
    cells = [cell for cell in grid.cells if cell.protocol == "flattering" and cell.seed == 0]
    done = [grid.run(cell) for cell in cells]
    assert len(trained) == 1 and len(trained[0]) == len(mels)
    found = pd.DataFrame(grid.check_leaks(cells[-1])).set_index("check")
    saw = [f"test clips that the {who} saw" for who in ("generator", "network that chose", "normalisation")]
    assert found["leak"][saw].all() and found["value"][saw[0]] == len(done[0]["clips"])
    assert found["value"]["test clips in the training set, by name"] == 0


def test_a_cell_is_run_once_and_again_where_its_settings_change(tmp_path, trained):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    cell = next(cell for cell in grid.cells if cell.condition == BOTH)
    assert grid.read(cell) is None
    first = grid.run(cell)
    place = tmp_path / "cells" / f"{cell.name}-{grid.identity(cell)}.json"
    written = place.stat().st_mtime_ns
    assert grid.run(cell) == json.loads(place.read_text()) == first and place.stat().st_mtime_ns == written
    again = augment.Grid(clips(), SPEAKERS, tmp_path, settings(guidance=1.0), device="cpu")
    assert again.read(cell) is None
    real = next(cell for cell in grid.cells if cell.condition == REAL)
    assert again.identity(real) == grid.identity(real), "guidance is nothing to it"
    other = augment.Grid(clips(seed=1), SPEAKERS, tmp_path, settings(), device="cpu")
    assert other.read(cell) is None
    place.write_text("{")
    assert grid.read(cell) is None


def test_amounts_are_shares_of_the_real_clips(tmp_path, trained):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    cell = next(cell for cell in grid.cells if cell.condition == BOTH)
    for amount, n_made in ((0.25, 6), (1.0, 24)):
        condition = augment.Condition("x", classical=True, generated=amount)
        found = grid.run(replace(cell, condition=condition))
        assert found["n_generated"] == n_made and found["n_real"] == 24
    alone = grid.run(replace(cell, condition=ALONE))
    assert alone["n_real"] == 0 and alone["n_generated"] == 24


def test_generated_clips_may_be_heard_first_alone(tmp_path, trained):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    cell = next(cell for cell in grid.cells if cell.condition == BOTH)
    real = grid.mels.take(grid.rows(cell)[0])
    made = grid._generated(cell, real)
    first = replace(cell, condition=replace(BOTH, name="first", first=True))
    done, both = (grid._train(c, real, made) for c in (first, cell))
    assert len(done.losses_) == len(both.losses_) // 2, "the other half went before"
    assert np.array_equal(done.mean_, both.mean_)
    assert grid.identity(first) != grid.identity(cell)


def test_adding_generated_clips_changes_one_thing(tmp_path, trained):
    """All conditions have one normaliser, and BOTH draws real clips as often as EQUAL."""
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    cell = next(cell for cell in grid.cells if cell.condition == BOTH)
    real = grid.mels.take(grid.rows(cell)[0])
    far = grid._generated(cell, real)
    made = Mels(far.values + 5, far.mask, far.labels, far.speakers, far.clips)
    first = replace(BOTH, name="first", first=True)
    own = ResNetRecogniser(SMALL, device="cpu").fit(real)
    drawn = {}
    for condition in (REAL, CLASSICAL, EQUAL, BOTH, ALONE, first):
        done = grid._train(replace(cell, condition=condition), real, made if condition.generated else None)
        assert np.array_equal(done.mean_, own.mean_) and np.array_equal(done.scale_, own.scale_)
        share = 0.5 if condition == BOTH else 1.0
        drawn[condition.name] = share * len(done.losses_)
    assert drawn[EQUAL.name] == drawn[BOTH.name] == drawn[CLASSICAL.name] / 2


def test_labels_of_samples_keep_their_shares_from_the_beginning():
    real = clips().take(np.r_[0:8, 8:12, 12:20])
    labels = grids._labels(real, 2.0, 0)
    assert len(labels) == 40
    for n in (20, 40):
        assert np.array_equal(
            *(np.unique(x, return_counts=True)[1] / len(x) for x in (labels[:n], real.labels))
        )
    share = [(labels[:10] == name).mean() - (real.labels == name).mean() for name in CLASSES]
    assert np.abs(share).max() <= 0.1


def test_those_that_are_chosen_are_the_surest_of_each_class(tmp_path, trained):
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, settings(), device="cpu")
    cell = next(cell for cell in grid.cells if cell.condition == BOTH)
    cell = replace(cell, condition=augment.Condition("x", classical=True, generated=0.5, selected=True))
    real = grid.mels.take(grid.rows(cell)[0])
    chosen, pool = grid._chosen(cell, real), grid._generated(cell, real, 2.0)
    assert len(chosen) == 12 and len(pool) == 24
    chooser = grid._chooser(cell, real)
    sure = [
        chooser.predict_proba(m)[np.arange(len(m)), np.searchsorted(CLASSES, m.labels)].mean()
        for m in (chosen, pool)
    ]
    assert sure[0] > sure[1]
    heard = {tuple(clip.ravel()[:3]) for clip in pool.values}
    assert all(tuple(clip.ravel()[:3]) in heard for clip in chosen.values)


# ------------------------------------------------------------------------------------- the study


@pytest.fixture
def manifest(monkeypatch) -> pd.DataFrame:
    mels = clips()
    monkeypatch.setattr(
        generate, "load_mels", lambda manifest: (mels, [{"clip": "x", "reason": "broken"}]), raising=False
    )
    return pd.DataFrame({"speaker": mels.speakers, "gender": [SPEAKERS[s] for s in mels.speakers]})


def test_a_study_is_run_and_read_again(tmp_path: Path, manifest, trained):
    chosen = settings(flattering=augment.FLATTERING[:1], folds=(0,), seeds=(0,))
    done = augment.study(manifest, tmp_path, settings=chosen, device="cpu")
    table = done.table()
    assert done.missing == [] and done.skipped == [{"clip": "x", "reason": "broken"}] and done.seconds > 0
    assert len(table) == 2 + 4 + 1 and (table["n"][table["protocol"] == "disjoint"] == 48).all()
    many = table["speakers"] >= metrics.MIN_SPEAKERS
    for score in ("ua", "wa", "macro_f1"):
        ends = table[[f"{score}_low", f"{score}_high"]]
        assert table[score].between(*ends.to_numpy().T)[many].all() and ends[~many].isna().all(axis=None)
    gains = done.differences()
    assert "classical" not in set(gains["condition"]) and (gains["over"] == "classical").all()
    by = table.set_index(["protocol", "share", "condition"])["ua"]
    row = gains[gains["condition"] == BOTH.name].iloc[0]
    assert row["ua"] == pytest.approx(by["disjoint", 0.5, BOTH.name] - by["disjoint", 0.5, "classical"])
    assert done.gain(0.5).value == done.gain().value == row["ua"]
    n_trained = len(trained)
    again = augment.study(manifest, tmp_path, settings=chosen, device="cpu", limit_s=0)
    assert len(trained) == n_trained
    pd.testing.assert_frame_equal(again.table(), table)
    assert set(done.leaks["protocol"]) == {"disjoint", "flattering"}
    assert not done.leaks.loc[done.leaks["protocol"] == "disjoint", "leak"].any()
    assert done.leaks.loc[done.leaks["protocol"] == "flattering", "leak"].any(), "speakers are shared"


def test_amounts_are_told_for_drawing(tmp_path: Path, manifest, trained):
    more = [c for c in augment.conditions((0.5, 1.0)) if c.name.startswith("generated ") and c.real]
    chosen = settings(conditions=(REAL, CLASSICAL, BOTH, *more), flattering=(), folds=(0,), seeds=(0,))
    table = augment.study(manifest, tmp_path, settings=chosen, device="cpu").table()
    made = augment.by_generated(table, 0.5).groupby("series")["amount"].apply(sorted).to_dict()
    assert made["real + generated"] == [0.5, 1.0] and made["real + classical"] == [1.0]
    real = augment.by_real(table).groupby("series")["amount"].apply(sorted).to_dict()
    assert real["real"] == [24, 48] and real["real + classical + generated"] == [24]
    with pytest.raises(ValueError, match=r"no cells of 0\.3"):
        augment.by_generated(table, 0.3)


def test_a_study_that_is_not_done_says_what_is_missing(tmp_path: Path, manifest, trained):
    chosen = settings(seeds=(0, 1))
    grid = augment.Grid(clips(), SPEAKERS, tmp_path, chosen, device="cpu")
    for cell in grid.cells[:5]:
        grid.run(cell)
    part = augment.study(manifest, tmp_path, settings=chosen, device="cpu", limit_s=0)
    assert part.missing == [cell.name for cell in grid.cells[5:]]
    assert (part.table()["seeds"] == 1).all()
    with pytest.raises(ValueError, match="to compare yet"):
        part.gain(0.1)


def test_a_study_with_no_time_at_all_is_refused(tmp_path: Path, manifest):
    with pytest.raises(ValueError, match="no time to run any"):
        augment.study(manifest, tmp_path, settings=settings(), device="cpu", limit_s=0)


def test_the_command_prints_both_tables_and_the_gain(tmp_path: Path, manifest, trained, monkeypatch):
    chosen = settings(
        conditions=(REAL, CLASSICAL, BOTH, EQUAL), flattering=augment.FLATTERING[:1], folds=(0,), seeds=(0,)
    )
    monkeypatch.setattr(augment.Settings, "of", lambda profile, seed=0: chosen)
    monkeypatch.setattr(app_module, "load_clips", lambda *words: manifest.assign(corpus="tiny"))
    words = ["augment", "--out", str(tmp_path), "--device", "cpu", "--json"]
    cut = CliRunner().invoke(app, [*words, "--limit", "0"])
    assert cut.exit_code == 2 and "no time to run any" in cut.stderr
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
    found, done = json.loads(result.stdout.splitlines()[-1]), augment.study(manifest, tmp_path, device="cpu")
    assert found["gain"] == pytest.approx(done.gain().value)
    assert found["gain_low"] is None and found["gain_high"] is None  # two speakers: no interval
    assert found["gain"] == pytest.approx(found["ua_generated"] - found["ua_classical"])
    assert found["gain_equal"] == pytest.approx(found["ua_generated"] - found["ua_equal"])
    assert found["n"] == 48 and found["missing"] == 0 and 0 < found["ua_real"] <= 1
    assert "skipped x: broken" in result.stdout and "Leak audit" in result.stdout


def test_the_command_runs_a_part(tmp_path: Path, manifest, trained, monkeypatch):
    monkeypatch.setattr(augment.Settings, "of", lambda profile, seed=0: settings())
    monkeypatch.setattr(app_module, "load_clips", lambda *words: manifest.assign(corpus="tiny"))
    words = ["augment", "--out", str(tmp_path), "--device", "cpu", "--seeds", "1", "--shares", "0.5"]
    result = CliRunner().invoke(app, [*words, "--conditions", "real, classical"])
    assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
    assert len(list((tmp_path / "cells").glob("*.json"))) == 4, "two conditions, two halves"
    assert not trained and "flattering" not in result.stdout
    for option, message in (
        (["--conditions", "reel"], "no condition reel; expected some of: real"),
        (["--shares", "0.3"], "no share 0.3"),
        (["--shares", "x"], "shares 'x'; expected numbers"),
        (["--seeds", "9"], "9 seeds; expected 1 to 2"),
    ):
        wrong = CliRunner().invoke(app, [*words, *option])
        assert wrong.exit_code == 2 and message in wrong.stderr


def test_profiles():
    quick, full = augment.Settings.of("quick"), augment.Settings.of("full", seed=4)
    assert len(quick.seeds) == 1 and full.seeds == (4, 5, 6)
    amounts = {c.generated for c in full.conditions if c.real and not c.classical}
    assert amounts == {0, 0.25, 0.5, 1, 2, 4}
    assert min(full.shares) == 0.1 and max(full.shares) == 1
    with pytest.raises(ValueError, match="unknown profile 'slow'"):
        augment.Settings.of("slow")
