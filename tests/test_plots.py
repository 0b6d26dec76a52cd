"""Plots draw where they are told, in the colours of the emotions, and leave everything else as it was."""

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
AUC = Interval(0.9, 0.8, 0.95)
WORDS = ["sad", "angry", "neutral"] * 20
SPEAKERS = [f"{i % 14}" for i in range(60)]
TABLE = pd.DataFrame(
    {"emotion": WORDS, "gender": ["female", "male"] * 30, "f0_hz": 150 + 30 * RNG.standard_normal(60)}
)
CURVE = pd.DataFrame(
    {"layer": [0, 1, 2], "value": [0.3, 0.5, 0.4], "low": [0.2, 0.4, 0.3], "high": [0.4, 0.6, 0.5]}
)
BARS = pd.DataFrame(
    [
        (g, s, v, v - 0.1, v + 0.05)
        for g, s, v in [("a", "x", 0.4), ("a", "y", 0.5), ("b", "x", 0.6), ("b", "y", 0.2)]
    ],
    columns=["features", "split", "value", "low", "high"],
)
SIMILARITY = pd.DataFrame([[1, -0.2], [-0.2, 1]], index=["sad", "angry"], columns=["sad", "angry"])
RATES = pd.DataFrame(
    [(e, lam, bits, v) for e in ("sad", "angry") for lam, bits, v in ((0.1, 40, 0.9), (1.0, 10, 0.6))],
    columns=["emotion", "lam", "bits", "value"],
)
WAYS = RATES.rename(columns={"emotion": "way"})
RESPONSE = pd.DataFrame(
    [
        (n, d, 0.2 + 0.1 * d, 0.1 + 0.1 * d, 0.3 + 0.1 * d)
        for n in ("axis", "random 1")
        for d in (-1.0, 0.0, 1.0)
    ],
    columns=["name", "delta", "value", "low", "high"],
)
SCORES = pd.DataFrame(
    [
        ("disjoint", "classical", "classical", 1.0, 0.1, 0.05, 0.2),
        ("disjoint", "generated", "generated 25 %", 0.25, 0.3, 0.2, 0.4),
        ("disjoint", "generated", "generated 100 %", 1.0, -0.1, -0.2, -0.05),
        ("flattering", "generated", "generated 400 %", 4.0, 0.9, 0.8, 0.95),
    ],
    columns=["protocol", "series", "condition", "amount", "ua", "ua_low", "ua_high"],
)
SPREAD = pd.DataFrame(
    [("ua", 3, 0.5, 0.4, 0.6), ("auc", 2, 0.9, 0.9, 1.0)], columns=["label", "n", "mean", "low", "high"]
)
POINTS = RNG.uniform(-1, 1, (60, 2))
MEL = RNG.standard_normal((50, audio.HIFIGAN_MEL.n_mels))

DRAWN = {
    "counts": lambda ax: plots.plot_counts(TABLE, ax=ax),
    "wave": lambda ax: plots.plot_wave(np.sin(np.arange(1600) / 9).astype(np.float32), 16_000, ax=ax),
    "mel": lambda ax: plots.plot_mel(MEL, ax=ax),
    "by_emotion": lambda ax: plots.plot_by_emotion(TABLE, "f0_hz", "F0 (Hz)", zero=True, ax=ax),
    "map": lambda ax: plots.plot_map(RNG.standard_normal((60, 2)), WORDS, ax=ax),
    "map_of_speakers": lambda ax: plots.plot_map(RNG.standard_normal((60, 2)), SPEAKERS, ax=ax),
    "layer_curve": lambda ax: plots.plot_layer_curve(
        {"nano": CURVE, "random": CURVE}, baselines={"logmel": 0.35}, chance=0.14, ax=ax
    ),
    "bars": lambda ax: plots.plot_bars(BARS, "features", "split", chance=0.14, ax=ax),
    "similarity": lambda ax: plots.plot_similarity(SIMILARITY, ax=ax),
    "auc_by_layer": lambda ax: plots.plot_auc_by_layer(CURVE.assign(method="lda"), ax=ax),
    "controls": lambda ax: plots.plot_controls(
        {"axis": AUC}, {"random": RNG.uniform(0.3, 0.7, 40)}, ax=ax
    ),
    "transfer": lambda ax: plots.plot_transfer(SIMILARITY.abs(), ax=ax),
    "ridges": lambda ax: plots.plot_ridges(POINTS[:, 0], WORDS, ax=ax),
    "ladder": lambda ax: plots.plot_ladder({"axis": CURVE.assign(step=["calm", "normal", "strong"])}, ax=ax),
    "rate_curves": lambda ax: plots.plot_rate_curves(RATES, "value", "cosine similarity", ax=ax),
    "ways": lambda ax: plots.plot_ways(WAYS, "bits", "value", ax=ax),
    "matrix": lambda ax: plots.plot_matrix(SIMILARITY, "drift", ax=ax),
    "plane": lambda ax: plots.plot_plane(POINTS, WORDS, ax=ax),
    "moves": lambda ax: plots.plot_moves(POINTS[:3], POINTS[3:6], WORDS[:3], ax=ax),
    "by_layer": lambda ax: plots.plot_by_layer(CURVE, "mel L1 (nepers)", ax=ax),
    "protocols": lambda ax: plots.plot_protocols(SCORES, chance=0.2, ax=ax),
    "mel_grid": lambda ax: plots.plot_mel_grid({"sad": [MEL.T, MEL.T], "angry": [MEL.T]}, ax=ax),
    "denoising": lambda ax: plots.plot_denoising([MEL.T, MEL.T], ["999", "0"], ax=ax),
    "series": lambda ax: plots.plot_series(
        CURVE.assign(who="nano"), "layer", "value", "who", levels={"log-mel": 0.35}, ax=ax
    ),
    "spread": lambda ax: plots.plot_spread(SPREAD, ax=ax),
    "response": lambda ax: plots.plot_response(RESPONSE, "P(angry)", controls=["random 1"], ax=ax),
}  # fmt: skip


@pytest.fixture
def axes():
    """Two empty axes of a figure that pyplot doesn't know."""
    return Figure(figsize=(8, 4)).subplots(1, 2)


def is_empty(ax: Axes) -> bool:
    return not (ax.lines or ax.patches or ax.collections or ax.images or ax.texts)


def words(texts) -> list[str]:
    return [text.get_text() for text in texts]


@pytest.mark.parametrize("name", DRAWN)
def test_draws_on_the_given_or_the_current_axes_and_changes_nothing_else(name, axes):
    tables = (TABLE, CURVE, BARS, SIMILARITY, RATES, RESPONSE, SCORES, SPREAD)
    settings, figures, before = dict(mpl.rcParams), plt.get_fignums(), [table.copy() for table in tables]
    assert DRAWN[name](axes[0]) is axes[0]
    axes[0].figure.draw_without_rendering()
    assert not is_empty(axes[0]) and is_empty(axes[1])
    assert dict(mpl.rcParams) == settings and plt.get_fignums() == figures
    for old, new in zip(before, tables, strict=True):
        pd.testing.assert_frame_equal(old, new)
    figure, current = plt.subplots()
    try:
        assert DRAWN[name](None) is current and plt.get_fignums() == [*figures, figure.number]
    finally:
        plt.close(figure)


def test_every_plot_is_drawn_here():
    assert {name.removeprefix("plot_") for name in vars(plots) if name.startswith("plot_")} <= set(DRAWN)


@pytest.mark.filterwarnings("error")
def test_values_without_intervals_are_drawn_without_whiskers(monkeypatch):
    bare = {"low": np.nan, "high": np.nan, "ua_low": np.nan, "ua_high": np.nan}
    for name in ("CURVE", "BARS", "SCORES", "RESPONSE", "WAYS"):
        monkeypatch.setitem(globals(), name, globals()[name].assign(**bare))
    monkeypatch.setitem(globals(), "AUC", Interval(0.9, np.nan, np.nan))
    with_intervals = ["layer_curve", "bars", "auc_by_layer", "ladder", "ways", "by_layer"]
    for name in [*with_intervals, "protocols", "series", "response"]:
        ax = DRAWN[name](Figure(figsize=(8, 4)).subplots())
        ax.figure.canvas.draw()
        assert not is_empty(ax) and np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all(), name
        whiskers = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")]
        assert not any(len(one) > 1 and np.isfinite(one).all() for drawn in whiskers for one in drawn), name
    assert not is_empty(DRAWN["controls"](Figure().subplots()))


def test_emotions_have_their_colours_and_order_and_every_clip_is_drawn(axes):
    order = ["neutral", "sad", "angry"]
    colours = [emotions.COLOURS[name].lower() for name in order]
    ax = DRAWN["counts"](axes[0])
    assert words(ax.get_xticklabels()) == order
    assert [to_hex(bar.get_facecolor()) for bar in ax.containers[0]] == colours
    assert sum(bar.get_height() for bars in ax.containers for bar in bars) == len(TABLE)
    assert words(ax.texts).count("20") == 3
    ax = DRAWN["map"](axes[1])
    assert [to_hex(dots.get_facecolor()[0]) for dots in ax.collections] == colours
    assert words(ax.get_legend().get_texts()) == order
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 60
    ax = DRAWN["by_emotion"](Figure().subplots())
    assert words(ax.get_yticklabels()) == order and ax.get_xlabel() == "F0 (Hz)"
    assert [to_hex(dots.get_facecolor()[0]) for dots in ax.collections] == colours


def test_counts_name_no_gender_that_is_not_there(axes):
    lone = TABLE[(TABLE["emotion"] != "sad") | (TABLE["gender"] == "male")]
    shown = words(plots.plot_counts(lone, ax=axes[0]).texts)
    assert (shown.count("female"), shown.count("male")) == (2, 3)
    assert words(plots.plot_counts(TABLE.assign(gender=""), ax=axes[1]).texts).count("?") == 3


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
    ax = DRAWN["mel_grid"](Figure().subplots())
    assert words(ax.get_xticklabels()) == ["sad", "angry"]
    assert len({tuple(image.get_extent()) for image in ax.images}) == 3
    ax = plots.plot_denoising([MEL.T - 3, MEL.T], ["0 %", "100 %"], ax=Figure().subplots())
    assert len({image.get_clim() for image in ax.images}) == 1


def test_curves_levels_and_bars_are_where_the_numbers_are(axes):
    ax = DRAWN["layer_curve"](axes[0])
    curves = [line for line in ax.lines if line.get_marker() == "o"]
    assert all(np.array_equal(line.get_ydata(), CURVE["value"]) for line in curves) and len(curves) == 2
    assert {line.get_ydata()[0] for line in ax.lines if line.get_marker() != "o"} == {0.35, 0.14}
    assert {"logmel", "chance"} <= set(words(ax.texts))
    assert words(ax.get_legend().get_texts()) == ["nano", "random"]
    ax = DRAWN["bars"](axes[1])
    assert sorted(bar.get_height() for bar in ax.patches) == sorted(BARS["value"])
    assert words(ax.get_xticklabels()) == ["a", "b"]


def test_protocols_have_two_colours(axes):
    bars = {bar.get_width(): to_hex(bar.get_facecolor()) for bar in DRAWN["protocols"](axes[1]).patches}
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
    ax = plots.plot_ways(far, "x", "y", joined=0.25, labels=("bits", "UA"), ax=axes[1])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, np.nan, 0.8, 0.9, 1])
    assert not ax.collections and (ax.get_xlabel(), ax.get_ylabel()) == ("bits", "UA")


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
        DRAWN["layer_curve"](figure.subplots())
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
