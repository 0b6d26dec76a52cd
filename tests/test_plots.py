"""Plots draw where they are told, in the colours of the emotions, and leave everything else as it was."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from emolib import audio, emotions, plots
from emolib.metrics import Interval

mpl.use("agg")

RNG = np.random.default_rng(0)
WORDS = ["sad", "angry", "neutral"] * 20
TABLE = pd.DataFrame(
    {"emotion": WORDS, "gender": ["female", "male"] * 30, "f0_hz": 150 + 30 * RNG.standard_normal(60)}
)
CURVE = pd.DataFrame({"layer": [0, 1, 2], "value": [0.3, 0.5, 0.4]})
CURVE = CURVE.assign(low=CURVE["value"] - 0.1, high=CURVE["value"] + 0.1)
CURVES = pd.concat([CURVE.assign(who="nano"), CURVE.assign(who="random")])
BARS = pd.DataFrame({"features": [*"aabb"], "split": [*"xyxy"], "value": [0.4, 0.5, 0.6, 0.2]})
BARS = BARS.assign(low=BARS["value"] - 0.1, high=BARS["value"] + 0.05)
SIMILARITY = pd.DataFrame([[1, -0.2], [-0.2, 1]], index=["sad", "angry"], columns=["sad", "angry"])
RATES = pd.DataFrame({"emotion": ["sad", "sad", "angry", "angry"], "lam": [0.1, 1] * 2, "bits": [40, 10] * 2})
RATES["value"] = [0.9, 0.6] * 2
SCORES = pd.DataFrame({"condition": ["classical", "generated 25 %", "generated 100 %", "generated 400 %"]})
SCORES = SCORES.assign(protocol=["disjoint"] * 3 + ["flattering"], ua=[0.1, 0.3, -0.1, 0.9])
SCORES = SCORES.assign(ua_low=SCORES["ua"] - 0.1, ua_high=SCORES["ua"] + 0.05)
INTERVALS = pd.DataFrame({"value": [0.5, 0.9], "low": 0.4, "high": 1.0}, index=["ua", "auc"])
POINTS = RNG.uniform(-1, 1, (60, 2))
MEL = RNG.standard_normal((50, audio.HIFIGAN_MEL.n_mels))


def given(*arguments: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return arguments, options


DRAWN = {
    "counts": given(TABLE),
    "wave": given(np.sin(np.arange(1600) / 9).astype(np.float32), 16_000),
    "mel": given(MEL),
    "by_emotion": given(TABLE, "f0_hz", "F0 (Hz)", zero=True),
    "map": given(POINTS, WORDS),
    "map of speakers": given(POINTS, [f"{i % 14}" for i in range(60)]),
    "series": given(CURVES, "layer", "value", "who", levels={"logmel": 0.35, "chance": 0.14}),
    "bars": given(BARS, "features", "split", chance=0.14),
    "similarity": given(SIMILARITY),
    "controls": given({"axis": Interval(0.9, 0.8, 0.95)}, {"random": RNG.uniform(0.3, 0.7, 40)}),
    "transfer": given(SIMILARITY.abs()),
    "ridges": given(POINTS[:, 0], WORDS),
    "ladder": given({"axis": CURVE.assign(step=["calm", "normal", "strong"])}),
    "rate_curves": given(RATES, "value", "cosine similarity"),
    "matrix": given(SIMILARITY, "drift"),
    "plane": given(POINTS, WORDS),
    "moves": given(POINTS[:3], POINTS[3:6], WORDS[:3]),
    "protocols": given(SCORES, chance=0.2),
    "mel_grid": given({"sad": [MEL.T, MEL.T], "angry": [MEL.T]}),
    "denoising": given([MEL.T - 3, MEL.T], ["0 %", "100 %"]),
    "intervals": given(INTERVALS),
}


def draw(name: str, ax: Axes | None) -> Axes:
    arguments, options = DRAWN[name]
    return getattr(plots, f"plot_{name.split()[0]}")(*arguments, **options, ax=ax)


@pytest.fixture
def axes():
    """Two empty axes of a figure that pyplot doesn't know."""
    return Figure(figsize=(8, 4)).subplots(1, 2)


def is_empty(ax: Axes) -> bool:
    return not (ax.lines or ax.patches or ax.collections or ax.images or ax.texts)


def words(texts) -> list[str]:
    return [text.get_text() for text in texts]


def test_each_draws_on_the_given_or_the_current_axes_and_changes_nothing_else():
    tables = (TABLE, CURVES, BARS, SIMILARITY, RATES, SCORES, INTERVALS)
    settings, figures, before = dict(mpl.rcParams), plt.get_fignums(), [table.copy() for table in tables]
    assert {f"plot_{name.split()[0]}" for name in DRAWN} == {n for n in vars(plots) if n.startswith("plot_")}
    for name in DRAWN:
        axes = Figure(figsize=(8, 4)).subplots(1, 2)
        assert draw(name, axes[0]) is axes[0], name
        axes[0].figure.draw_without_rendering()
        assert not is_empty(axes[0]) and is_empty(axes[1]), name
        assert dict(mpl.rcParams) == settings and plt.get_fignums() == figures, name
        figure, current = plt.subplots()
        try:
            assert draw(name, None) is current and plt.get_fignums() == [*figures, figure.number], name
        finally:
            plt.close(figure)
    for old, new in zip(before, tables, strict=True):
        pd.testing.assert_frame_equal(old, new)


def without_interval(value: Any) -> Any:
    """Return an argument whose intervals have no ends."""
    if isinstance(value, dict):
        return {name: without_interval(part) for name, part in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.assign(low=np.nan, high=np.nan, ua_low=np.nan, ua_high=np.nan)
    return Interval(value.value, np.nan, np.nan) if isinstance(value, Interval) else value


@pytest.mark.filterwarnings("error")
def test_values_without_intervals_are_drawn_without_whiskers(monkeypatch):
    for name in ("bars", "ladder", "protocols", "series", "controls"):
        arguments, options = DRAWN[name]
        monkeypatch.setitem(DRAWN, name, (tuple(map(without_interval, arguments)), options))
        ax = draw(name, Figure(figsize=(8, 4)).subplots())
        ax.figure.canvas.draw()
        assert not is_empty(ax) and np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all(), name
        whiskers = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")]
        assert not any(len(one) > 1 and np.isfinite(one).all() for drawn in whiskers for one in drawn), name


def test_emotions_have_their_colours_and_order_and_every_clip_is_drawn(axes):
    order = ["neutral", "sad", "angry"]
    colours = [emotions.COLOURS[name].lower() for name in order]
    ax = draw("counts", axes[0])
    assert words(ax.get_xticklabels()) == order
    assert [to_hex(bar.get_facecolor()) for bar in ax.containers[0]] == colours
    assert sum(bar.get_height() for bars in ax.containers for bar in bars) == len(TABLE)
    assert words(ax.texts).count("20") == 3
    lone = TABLE[(TABLE["emotion"] != "sad") | (TABLE["gender"] == "male")]
    shown = words(plots.plot_counts(lone, ax=Figure().subplots()).texts)
    assert (shown.count("female"), shown.count("male")) == (2, 3), "no gender that is not there"
    assert words(plots.plot_counts(TABLE.assign(gender=""), ax=Figure().subplots()).texts).count("?") == 3
    ax = draw("map", axes[1])
    assert [to_hex(dots.get_facecolor()[0]) for dots in ax.collections] == colours
    assert words(ax.get_legend().get_texts()) == order
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 60
    ax = draw("by_emotion", Figure().subplots())
    assert words(ax.get_yticklabels()) == order and ax.get_xlabel() == "F0 (Hz)"
    assert [to_hex(dots.get_facecolor()[0]) for dots in ax.collections] == colours


def test_a_mel_shows_a_tone_at_its_frequency_and_mels_share_limits(axes):
    tone = np.sin(2 * np.pi * 2000 * np.arange(22_050) / 22_050).astype(np.float32)
    log_mel = audio.log_mel(tone, 22_050)
    ax = plots.plot_mel(log_mel, ax=axes[0])
    at = dict(zip(words(ax.get_yticklabels()), ax.get_yticks(), strict=True))
    assert at["2"] == pytest.approx(log_mel.mean(axis=0).argmax() + 0.5, abs=1)
    low, high = ax.images[0].get_clim()
    assert high - low == pytest.approx(80) and ax.images[0].get_array().max() == high
    spec, extent = audio.HIFIGAN_MEL, ax.images[0].get_extent()
    assert extent[:2] == pytest.approx((0, len(log_mel) * spec.hop_length / spec.sample_rate))
    assert plots.plot_mel(MEL, limits=(-60, 0), ax=axes[1]).images[0].get_clim() == (-60, 0)
    ax = draw("mel_grid", Figure().subplots())
    assert words(ax.get_xticklabels()) == ["sad", "angry"]
    assert len({tuple(image.get_extent()) for image in ax.images}) == 3
    ax = draw("denoising", Figure().subplots())
    assert len({image.get_clim() for image in ax.images}) == 1


def test_curves_levels_and_bars_are_where_the_numbers_are(axes):
    ax = draw("series", axes[0])
    curves, levels = ax.lines[:2], ax.lines[2:]
    assert all(np.array_equal(line.get_ydata(), CURVE["value"]) for line in curves)
    assert len({(line.get_marker(), line.get_color()) for line in curves}) == 2
    assert {line.get_ydata()[0] for line in levels} == {0.35, 0.14}
    assert {"logmel", "chance"} <= set(words(ax.texts))
    assert words(ax.get_legend().get_texts()) == ["nano", "random"]
    ax = draw("bars", axes[1])
    assert sorted(bar.get_height() for bar in ax.patches) == sorted(BARS["value"])
    assert words(ax.get_xticklabels()) == ["a", "b"]
    protocols = draw("protocols", Figure().subplots())
    bars = {bar.get_width(): to_hex(bar.get_facecolor()) for bar in protocols.patches}
    assert sorted(bars) == pytest.approx(sorted(100 * SCORES["ua"]))
    assert len(set(bars.values())) == 2 and list(bars.values()).count(bars[max(bars)]) == 1


def test_rates_too_far_apart_are_not_joined(axes):
    bits = {0.0: 32, 0.1: 24, 0.2: 16, 0.3: 4, 0.4: 3}
    rows = [(e, lam, b, v) for e, v in (("sad", 0.2), ("angry", 0.6)) for lam, b in bits.items()]
    table = pd.DataFrame(rows, columns=["emotion", "lam", "bits", "hit"])
    ax = plots.plot_rate_curves(table, "hit", "recall", chance=0.5, ax=axes[0])
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["sad"].get_color() == emotions.COLOURS["sad"] and ax.get_xscale() == "log"
    for name, value in (("mean", 0.4), ("sad", 0.2)):
        np.testing.assert_array_equal(lines[name].get_xdata(), [3, 4, np.nan, 16, 24, 32])
        np.testing.assert_allclose(lines[name].get_ydata(), [value, value, np.nan, value, value, value])
    far = pd.DataFrame({"way": "a", "x": [0.0, 0.8, 0.9, 1.0], "y": 1.0})
    ax = plots.plot_series(far, "x", "y", "way", joined=0.25, ax=axes[1])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, np.nan, 0.8, 0.9, 1])
    assert not ax.collections and (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")


def test_a_matrix_is_coloured_around_zero_and_its_gaps_stay_empty(axes):
    table = pd.DataFrame([[np.nan, -0.2], [0.5, np.nan]], index=["p", "q"], columns=["p", "q"])
    ax = plots.plot_matrix(table, "drift", names=("to", "from"), ax=axes[0])
    assert ax.collections[0].get_clim() == (-0.5, 0.5)
    assert sorted(words(ax.texts)) == ["-0.20", "0.50"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("to", "from")
    ax = plots.plot_matrix(table.abs(), "similarity", ax=axes[1])
    assert ax.collections[0].get_clim() == (0, 0.5) and ax.collections[0].get_cmap().name == "Blues"


def test_a_saved_figure_is_three_files_equal_to_the_byte_without_date_or_place(tmp_path):
    settings, made = dict(mpl.rcParams), []
    for folder in (tmp_path / "one", tmp_path / "two"):
        figure = Figure(figsize=(4, 3))
        draw("series", figure.subplots())
        plots.save_figure(figure, "x", folder, CURVE)
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1] and set(made[0]) == {"x.png", "x.svg", "x.csv"}
    assert made[0]["x.png"].startswith(b"\x89PNG") and b"<svg" in made[0]["x.svg"]
    assert b"<dc:date>" not in made[0]["x.svg"]
    assert not any(str(tmp_path).encode() in content for content in made[0].values())
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one" / "x.csv"), CURVE)
    plots.save_figure(figure, "y", tmp_path)
    assert not (tmp_path / "y.csv").exists() and (tmp_path / "y.svg").exists()
    assert dict(mpl.rcParams) == settings
