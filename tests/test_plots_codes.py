"""Drawings of quantization show the numbers that they are given."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")
from matplotlib import pyplot as plt

from emolib import emotions, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_rate_curves_have_a_line_per_emotion_and_their_mean_and_none_through_no_data():
    bits = {0.0: 32, 0.1: 24, 0.2: 16, 0.3: 4, 0.4: 3}
    rows = [(e, lam, b, v) for e, v in (("sad", 0.2), ("angry", 0.6)) for lam, b in bits.items()]
    table = pd.DataFrame(rows, columns=["emotion", "lam", "bits", "hit"])
    ax = plots.plot_rate_curves(table, "hit", "recall", chance=0.5)
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["sad"].get_color() == emotions.COLOURS["sad"]
    for name, value in (("mean", 0.4), ("sad", 0.2)):
        np.testing.assert_array_equal(lines[name].get_xdata(), [3, 4, np.nan, 16, 24, 32])
        np.testing.assert_allclose(lines[name].get_ydata(), [value, value, np.nan, value, value, value])
    assert ax.get_xscale() == "log" and ax.get_ylabel() == "recall"


def test_ways_are_lines_with_bands_where_intervals_are_known():
    table = pd.DataFrame({"way": ["a", "a", "b", "b"], "x": [2, 1, 1, 2], "y": [4.0, 3.0, 1.0, 2.0]})
    ax = plots.plot_ways(table, "x", "y")
    assert [list(line.get_ydata()) for line in ax.lines] == [[3, 4], [1, 2]] and not ax.collections
    ax = plots.plot_ways(table.assign(low=0, high=5), "x", "y", ax=plt.figure().gca(), labels=("bits", "UA"))
    assert len(ax.collections) == 2 and (ax.get_xlabel(), ax.get_ylabel()) == ("bits", "UA")
    far = pd.DataFrame({"way": "a", "x": [0.0, 0.8, 0.9, 1.0], "y": 1.0})
    ax = plots.plot_ways(far, "x", "y", joined=0.25, ax=plt.figure().gca())
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, np.nan, 0.8, 0.9, 1])


def test_a_matrix_is_coloured_around_zero_and_its_gaps_stay_empty():
    table = pd.DataFrame([[np.nan, -0.2], [0.5, np.nan]], index=["p", "q"], columns=["p", "q"])
    ax = plots.plot_matrix(table, "drift", names=("to", "from"))
    assert ax.collections[0].get_clim() == (-0.5, 0.5)
    assert sorted(text.get_text() for text in ax.texts) == ["-0.20", "0.50"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("to", "from")
    ax = plots.plot_matrix(table.abs(), "similarity", ax=plt.figure().gca())
    assert ax.collections[0].get_clim() == (0, 0.5) and ax.collections[0].get_cmap().name == "Blues"
