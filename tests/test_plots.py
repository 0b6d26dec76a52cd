"""Plots draw where they are told, in the colours of the emotions, and leave everything else as it was."""

import re

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
RESPONSE = pd.DataFrame(
    [
        (n, d, 0.2 + 0.1 * d, 0.1 + 0.1 * d, 0.3 + 0.1 * d)
        for n in ("axis", "random 1")
        for d in (-1.0, 0.0, 1.0)
    ],
    columns=["name", "delta", "value", "low", "high"],
)
GAINS = pd.DataFrame(
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
        {"axis": Interval(0.9, 0.8, 0.95)}, {"random": RNG.uniform(0.3, 0.7, 40)}, ax=ax
    ),
    "transfer": lambda ax: plots.plot_transfer(SIMILARITY.abs(), ax=ax),
    "ladder": lambda ax: plots.plot_ladder({"axis": CURVE.assign(step=["calm", "normal", "strong"])}, ax=ax),
    "rate_curves": lambda ax: plots.plot_rate_curves(RATES, "value", "cosine similarity", ax=ax),
    "ways": lambda ax: plots.plot_ways(RATES.assign(way=RATES["emotion"]), "bits", "value", ax=ax),
    "matrix": lambda ax: plots.plot_matrix(SIMILARITY, "drift", ax=ax),
    "plane": lambda ax: plots.plot_plane(POINTS, WORDS, ax=ax),
    "moves": lambda ax: plots.plot_moves(POINTS[:3], POINTS[3:6], WORDS[:3], ax=ax),
    "agreement": lambda ax: plots.plot_agreement(POINTS[:, 0], POINTS[:, 1], WORDS, "arousal", ax=ax),
    "by_layer": lambda ax: plots.plot_by_layer(CURVE, "mel L1 (nepers)", ax=ax),
    "gains": lambda ax: plots.plot_gains(GAINS, ax=ax),
    "by_amount": lambda ax: plots.plot_by_amount(GAINS, "amount", "generated clips", chance=0.2, ax=ax),
    "protocols": lambda ax: plots.plot_protocols(GAINS, chance=0.2, ax=ax),
    "mel_grid": lambda ax: plots.plot_mel_grid({"sad": [MEL.T, MEL.T], "angry": [MEL.T]}, ax=ax),
    "denoising": lambda ax: plots.plot_denoising([MEL.T, MEL.T], ["999", "0"], ax=ax),
    "series": lambda ax: plots.plot_series(
        CURVE.assign(who="nano"), "layer", "value", "who", levels={"log-mel": 0.35}, ax=ax
    ),
    "spread": lambda ax: plots.plot_spread(SPREAD, ax=ax),
    "response": lambda ax: plots.plot_response(RESPONSE, "P(angry)", controls=["random 1"], ax=ax),
}  # fmt: skip


NONE = {"low": np.nan, "high": np.nan}
WITHOUT_INTERVALS = {
    "layer_curve": lambda ax: plots.plot_layer_curve({"nano": CURVE.assign(**NONE)}, ax=ax),
    "bars": lambda ax: plots.plot_bars(BARS.assign(**NONE), "features", "split", ax=ax),
    "auc_by_layer": lambda ax: plots.plot_auc_by_layer(CURVE.assign(method="lda", **NONE), ax=ax),
    "controls": lambda ax: plots.plot_controls(
        {"axis": Interval(0.9, np.nan, np.nan)}, {"random": [0.4, 0.5]}, ax=ax
    ),
    "ladder": lambda ax: plots.plot_ladder({"axis": CURVE.assign(step=["a", "b", "c"], **NONE)}, ax=ax),
    "ways": lambda ax: plots.plot_ways(
        RATES.assign(way=RATES["emotion"], **NONE), "bits", "value", ax=ax
    ),
    "by_layer": lambda ax: plots.plot_by_layer(CURVE.assign(**NONE), "mel L1 (nepers)", ax=ax),
    "gains": lambda ax: plots.plot_gains(GAINS.assign(ua_low=np.nan, ua_high=np.nan), ax=ax),
    "by_amount": lambda ax: plots.plot_by_amount(
        GAINS.assign(ua_low=np.nan, ua_high=np.nan), "amount", "generated clips", chance=0.2, ax=ax
    ),
    "protocols": lambda ax: plots.plot_protocols(
        GAINS.assign(ua_low=np.nan, ua_high=np.nan), chance=0.2, ax=ax
    ),
    "series": lambda ax: plots.plot_series(
        CURVE.assign(who="nano", **NONE), "layer", "value", "who", ax=ax
    ),
    "response": lambda ax: plots.plot_response(RESPONSE.assign(**NONE), "P(angry)", controls=[], ax=ax),
}  # fmt: skip


@pytest.fixture
def axes():
    """Two empty axes of a figure that pyplot doesn't know."""
    return Figure(figsize=(8, 4)).subplots(1, 2)


def is_empty(ax: Axes) -> bool:
    return not (ax.lines or ax.patches or ax.collections or ax.images or ax.texts)


@pytest.mark.parametrize("name", DRAWN)
def test_draws_on_the_axes_it_is_given(name, axes):
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    assert DRAWN[name](axes[0]) is axes[0]
    axes[0].figure.draw_without_rendering()
    assert not is_empty(axes[0]) and is_empty(axes[1])
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures, "no figure of pyplot's is opened"


@pytest.mark.parametrize("name", DRAWN)
def test_draws_on_the_current_axes_otherwise(name):
    figure, ax = plt.subplots()
    try:
        assert DRAWN[name](None) is ax
        assert plt.get_fignums() == [figure.number]
    finally:
        plt.close(figure)


def test_every_plot_is_drawn_here():
    public = {name.removeprefix("plot_") for name in vars(plots) if name.startswith("plot_")}
    assert public <= set(DRAWN)


@pytest.mark.parametrize("name", ["wave", "mel", "by_emotion"])
def test_axes_carry_their_unit(name, axes):
    ax = DRAWN[name](axes[0])
    assert re.search(r"\((s|Hz)\)", ax.get_xlabel())


def test_counts_add_up_in_the_colours_and_order_of_emotions(axes):
    ax = DRAWN["counts"](axes[0])
    order = ["neutral", "sad", "angry"]
    assert [label.get_text() for label in ax.get_xticklabels()] == order
    assert [to_hex(bar.get_facecolor()) for bar in ax.containers[0]] == [
        emotions.COLOURS[e].lower() for e in order
    ]
    assert sum(bar.get_height() for bars in ax.containers for bar in bars) == len(TABLE)
    assert [text.get_text() for text in ax.texts].count("20") == 3


def test_counts_name_no_gender_that_is_not_there(axes):
    lone = TABLE[(TABLE["emotion"] != "sad") | (TABLE["gender"] == "male")]
    words = [text.get_text() for text in plots.plot_counts(lone, ax=axes[0]).texts]
    assert words.count("female") == 2 and words.count("male") == 3
    nameless = plots.plot_counts(TABLE.assign(gender=""), ax=axes[1])
    assert [text.get_text() for text in nameless.texts].count("?") == 3


def test_maps_use_the_emotions_colours(axes):
    ax = DRAWN["map"](axes[0])
    drawn = {dots.get_label(): to_hex(dots.get_facecolor()[0]) for dots in ax.collections}
    assert drawn == {name: emotions.COLOURS[name].lower() for name in ("neutral", "sad", "angry")}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["neutral", "sad", "angry"]
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 60


def test_distributions_use_the_emotions_colours_and_order(axes):
    ax = DRAWN["by_emotion"](axes[0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["neutral", "sad", "angry"]
    dots = {to_hex(c) for group in ax.collections for c in group.get_facecolor()}
    assert dots == {emotions.COLOURS[name].lower() for name in ("neutral", "sad", "angry")}
    assert ax.get_xlabel() == "F0 (Hz)"


def test_mels_share_their_limits_and_span_their_time(axes):
    for ax in axes:
        plots.plot_mel(MEL, limits=(-60, 0), ax=ax)
    assert {ax.images[0].get_clim() for ax in axes} == {(-60, 0)}
    spec = audio.HIFIGAN_MEL
    left, right, *_ = axes[0].images[0].get_extent()
    assert (left, right) == (0, pytest.approx(50 * spec.hop_length / spec.sample_rate))


def test_a_tone_is_drawn_at_its_frequency(axes):
    tone = np.sin(2 * np.pi * 2000 * np.arange(22_050) / 22_050).astype(np.float32)
    log_mel = audio.log_mel(tone, 22_050, audio.HIFIGAN_MEL)
    ax = plots.plot_mel(log_mel, ax=axes[0])
    at = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert at["2"] == pytest.approx(log_mel.mean(axis=0).argmax() + 0.5, abs=1)
    values = ax.images[0].get_array()
    assert np.ptp(ax.images[0].get_clim()) == pytest.approx(80) and values.max() == ax.images[0].get_clim()[1]


def test_layer_curves_and_levels_are_where_the_numbers_are(axes):
    ax = DRAWN["layer_curve"](axes[0])
    curves = [line for line in ax.lines if line.get_marker() == "o"]
    assert all(np.array_equal(line.get_ydata(), CURVE["value"]) for line in curves) and len(curves) == 2
    assert {line.get_ydata()[0] for line in ax.lines if line.get_marker() != "o"} == {0.35, 0.14}
    assert {"logmel", "chance"} <= {text.get_text() for text in ax.texts}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["nano", "random"]


def test_series_have_looks_of_their_own_and_spreads_their_seeds(axes):
    many = pd.concat([CURVE.assign(who=f"encoder {i}") for i in range(6)])
    ax = plots.plot_series(many, "layer", "value", "who", ax=axes[0])
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 6
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"encoder {i}" for i in range(6)]
    ax = DRAWN["spread"](axes[1])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ua (3 seeds)", "auc (2 seeds)"]


def test_bars_have_their_heights(axes):
    ax = DRAWN["bars"](axes[0])
    assert sorted(bar.get_height() for bar in ax.patches) == sorted(BARS["value"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]


def test_gains_are_told_from_nothing_by_their_interval(axes):
    ax = DRAWN["gains"](axes[0])
    dots = ax.collections[1]
    assert np.allclose(dots.get_offsets()[:, 0], 100 * GAINS["ua"])
    shades = [to_hex(shade) for shade in dots.get_facecolor()]
    assert shades[0] == shades[1] == shades[3] != shades[2], "above zero, or below"
    assert [label.get_text() for label in ax.get_yticklabels()] == GAINS["condition"].tolist()


def test_amounts_are_a_line_and_a_single_one_is_a_level(axes):
    ax = DRAWN["by_amount"](axes[0])
    drawn = {line.get_label(): line for line in ax.lines}
    assert drawn["generated"].get_xdata().tolist() == [0.25, 1.0, 4.0]
    assert np.allclose(drawn["generated"].get_ydata(), [30, -10, 90])
    assert set(drawn["classical"].get_ydata()) == {10.0}


def test_protocols_stand_apart_in_two_colours(axes):
    ax = DRAWN["protocols"](axes[0])
    bars = {bar.get_width(): to_hex(bar.get_facecolor()) for bar in ax.patches}
    assert sorted(bars) == pytest.approx(sorted(100 * GAINS["ua"]))
    assert len(set(bars.values())) == 2 and bars[max(bars)] not in [bars[w] for w in bars if w != max(bars)]


def test_a_grid_of_mels_has_a_column_a_class_in_the_order_of_emotions(axes):
    ax = DRAWN["mel_grid"](axes[0])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["sad", "angry"]
    assert len(ax.images) == 3
    assert len({tuple(image.get_extent()) for image in ax.images}) == 3


def test_nothing_given_is_changed():
    kept = [TABLE.copy(), CURVE.copy(), BARS.copy(), SIMILARITY.copy(), MEL.copy()]
    for draw in DRAWN.values():
        draw(Figure().subplots())
    for before, after in zip(kept[:4], (TABLE, CURVE, BARS, SIMILARITY), strict=True):
        pd.testing.assert_frame_equal(before, after)
    assert np.array_equal(kept[4], MEL)


def figure() -> Figure:
    made = Figure(figsize=(4, 3))
    DRAWN["layer_curve"](made.subplots())
    return made


def test_a_saved_figure_is_three_files_equal_to_the_byte(tmp_path):
    settings = dict(mpl.rcParams)
    for folder in ("one", "two"):
        plots.save_figure(figure(), "01_layer_curve", tmp_path / "deep" / folder, CURVE)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / "deep" / folder).iterdir()}
        for folder in ("one", "two")
    )
    assert set(one) == {"01_layer_curve.png", "01_layer_curve.svg", "01_layer_curve.csv"}
    assert one == two
    assert one["01_layer_curve.png"].startswith(b"\x89PNG") and b"<svg" in one["01_layer_curve.svg"]
    assert dict(mpl.rcParams) == settings


def test_the_saved_numbers_come_back(tmp_path):
    plots.save_figure(figure(), "x", tmp_path, CURVE)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv"), CURVE)
    plots.save_figure(figure(), "y", tmp_path)
    assert not (tmp_path / "y.csv").exists() and (tmp_path / "y.svg").exists()


def test_saved_files_tell_neither_date_nor_place(tmp_path):
    plots.save_figure(figure(), "x", tmp_path, CURVE)
    for path in tmp_path.iterdir():
        text = path.read_bytes()
        assert str(tmp_path).encode() not in text
    assert "<dc:date>" not in (tmp_path / "x.svg").read_text()


def test_style_is_applied_only_when_asked_for():
    with mpl.rc_context():
        before = mpl.rcParams["axes.spines.top"]
        plots.use_style()
        assert before is True and mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", WITHOUT_INTERVALS)
def test_values_without_intervals_are_drawn_without_whiskers(name, axes):
    ax = WITHOUT_INTERVALS[name](axes[0])
    ax.figure.canvas.draw()
    assert not is_empty(ax) and np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
    whiskers = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")]
    assert not any(len(one) > 1 and np.isfinite(one).all() for drawn in whiskers for one in drawn)
