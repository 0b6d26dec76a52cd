"""Scores by the amount of generated and of real clips, as `plots.plot_by_amount` draws them.

Read off the table of a study.
"""

import pandas as pd

from emolib.augment.protocol import BOTH, CLASSICAL, REAL

#: What the series are called that stand in both tables.
_SERIES = {REAL.name: "real", CLASSICAL.name: "real + classical", BOTH.name: "real + classical + generated"}


def by_generated(table: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """Return the scores of one share of real clips by the amount of generated ones.

    Parameters
    ----------
    table : DataFrame, as `Study.table` gives it
    share : float; of the real training clips

    Returns
    -------
    table : DataFrame
        The rows with the columns series and amount, the number of generated clips by that of real ones. What
        has a single amount, such as real clips and classical augmentation, is a level to compare with.

    Raises
    ------
    ValueError
        If the study has no such share.
    """
    rows = table[(table["protocol"] == "disjoint") & (table["share"] == share)]
    if rows.empty:
        known = ", ".join(f"{share:g}" for share in sorted(set(table["share"])))
        raise ValueError(f"no cells of {share:g} of the real clips; expected one of: {known}")
    grown = rows[rows["condition"].str.fullmatch(r"generated \d+ %")]
    grown = grown.assign(series="real + generated", amount=grown["n_generated"] / grown["n_real"])
    levels = rows[rows["condition"].isin(list(_SERIES))]
    levels = levels.assign(series=levels["condition"].map(_SERIES), amount=1.0)
    return pd.concat([levels, grown], ignore_index=True)


def by_real(table: pd.DataFrame) -> pd.DataFrame:
    """Return the speaker-disjoint scores by the number of real clips.

    Parameters
    ----------
    table : DataFrame, as `Study.table` gives it

    Returns
    -------
    table : DataFrame; the rows with the columns series and amount, the number of real training clips
    """
    rows = table[(table["protocol"] == "disjoint") & table["condition"].isin(list(_SERIES))]
    return rows.assign(series=rows["condition"].map(_SERIES), amount=rows["n_real"]).reset_index(drop=True)
