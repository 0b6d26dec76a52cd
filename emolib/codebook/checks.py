"""What a residual quantizer refuses, and why."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.codebook.coding import StageCoding


def check_parameters(quantizer: StageCoding, n_features: int) -> None:
    """Raise ValueError where a parameter is out of its range."""
    limits = {
        "n_stages": 255, "n_codes": 4096, "groups": n_features, "beam": 256, "n_iter": None, "n_epochs": None,
    }  # fmt: skip
    for name, most in limits.items():
        value, least = getattr(quantizer, name), 0 if name in ("n_iter", "n_epochs") else 1
        if not isinstance(value, int | np.integer) or value < least or (most is not None and value > most):
            upper = "or more" if most is None else f"to {most}"
            raise ValueError(f"{name}={value!r}; expected a whole number, {least} {upper}")
    if quantizer.context not in ("stage", "frame"):
        raise ValueError(f"context={quantizer.context!r}; expected 'stage' or 'frame'")
    rates = list(quantizer.rates)
    if (
        not 1 <= len(rates) <= 16
        or rates[0] != 0
        or rates != sorted(set(rates))
        or not np.isfinite(rates).all()
    ):
        raise ValueError(f"rates={quantizer.rates}; expected 1 to 16 numbers that rise from 0")


def affordable(n_codes: int, n_rows: int) -> int:
    """Return how many codes so many rows can train, two rows each; warn where fewer than asked for."""
    most = max(1, n_rows // 2)
    if n_codes > most:
        warnings.warn(
            f"{n_rows} rows are too few for {n_codes} codes, which takes two rows each: training {most}",
            UserWarning,
            stacklevel=3,
        )
    return min(n_codes, most)


def check_codes(codes: ArrayLike, n_stages: int, groups: int, n_codes: int) -> NDArray[np.int64]:
    """Return codes as (N, G, Q), or say what is wrong with them."""
    table, width = np.asarray(codes), groups * n_stages
    if table.ndim != 2 or table.shape[1] != width or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"codes of shape {table.shape} and type {table.dtype}; expected integers, (N, {width})"
        )
    table = table.astype(np.int64).reshape(len(table), groups, n_stages)
    if table.size and not -1 <= table.min() <= table.max() < n_codes:
        raise ValueError(f"codes from {table.min()} to {table.max()}; expected -1 to {n_codes - 1}")
    if ((table[..., :-1] < 0) & (table[..., 1:] >= 0)).any():
        raise ValueError("a code follows a -1; expected -1 from the stage on at which a row stops")
    return table


def check_lam(lam: float) -> float:
    """Return lambda, or raise ValueError where it is negative or not finite."""
    if not np.isfinite(lam) or lam < 0:
        raise ValueError(f"lam={lam}; expected 0 (all bits) or a positive, finite number")
    return float(lam)


def starts_of(n_rows: int, lengths: Sequence[int] | None) -> NDArray[np.bool_]:
    """Tell which rows begin a sequence, (N,)."""
    sizes = [n_rows] if lengths is None else [int(length) for length in lengths]
    if sum(sizes) != n_rows or min(sizes) < 1:
        raise ValueError(
            f"lengths add up to {sum(sizes)}; expected positive numbers adding up to {n_rows} rows"
        )
    starts = np.zeros(n_rows, dtype=bool)
    starts[np.cumsum([0, *sizes[:-1]])] = True
    return starts
