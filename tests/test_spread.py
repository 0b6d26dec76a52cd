"""Tolerances follow what rounding does to a result, and the features of a checked run are really changed."""

import json

import last_bit
import numpy as np
import pandas as pd
import pytest
import spread

from emolib.sweep.grid import cells, declared


def of(*values, seeds=()):
    """Return a result over the variations."""
    names = [*spread.ROUNDING, "seed 1", "seed 2"]
    padded = [*values, *[values[-1]] * (len(spread.ROUNDING) - len(values)), *(seeds or [values[0]] * 2)]
    return pd.Series(padded, index=names, dtype=object)


def test_tolerance_follows_rounding_and_where_that_decides_the_seeds():
    for result, expected in (
        (of(0.5, seeds=(0.3, 0.9)), 0.01), (of(40.0), 0.4), (of(0.50, 0.505), 0.015),
        (of(0.50, 0.53, seeds=(0.45, 0.52)), 0.15), (of("a"), 0), (of(3, seeds=(4, 5)), 0),
        (of("a", "b"), None), (of(3, 4), None), (of(True, False), None), (of(None, 0.5), None),
    ):  # fmt: skip
        assert spread.tolerance(result) == (None if expected is None else pytest.approx(expected))


def test_every_notebook_has_committed_results_of_its_defaults():
    for path in sorted((spread.ROOT / "notebooks").glob("*.ipynb")):
        content = json.loads((spread.EXPECTED / f"{path.stem}.json").read_text())
        last = [cell for cell in cells(path) if cell.cell_type == "code"][-1]
        assert content["setting"] == spread.setting_of(path, last.source) and content["results"], path.stem
        assert "SEED" not in declared(path) or 0 in content["setting"]


def test_a_nudge_moves_by_a_last_bit_keeps_zeros_and_repeats(monkeypatch):
    values = np.array([0.0, 1.0, -3.5, 1e-20], dtype=np.float32)
    monkeypatch.setattr(last_bit, "_SEED", 1)
    np.testing.assert_array_equal(last_bit.nudge(values), last_bit.nudge(values.copy()))
    moved = []
    for seed in range(50):
        monkeypatch.setattr(last_bit, "_SEED", seed)
        moved.append(last_bit.nudge(values))
    moved = np.stack(moved)
    assert moved.dtype == np.float32 and not moved[:, 0].any() and (moved != values).any()
    np.testing.assert_allclose(moved, np.broadcast_to(values, moved.shape), rtol=2.0**-22)
    words = np.array(["a"])
    assert last_bit.nudge([values, words])[1] is words and last_bit.nudge(3) == 3


def test_a_kernel_that_is_started_so_has_nudged_features(tmp_path, monkeypatch):
    from jupyter_client.manager import run_kernel

    for name, value in last_bit.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    code = "from emolib import audio, store; print(hasattr(audio.log_mel, '__wrapped__') and "
    code += "hasattr(store.FeatureStore.pooled, '__wrapped__'))"
    said = []
    with run_kernel(kernel_name="python3") as client:
        client.execute_interactive(
            code, timeout=120, output_hook=lambda m: said.append(m["content"].get("text"))
        )
    assert "True\n" in said
