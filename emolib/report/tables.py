"""The report's tables, each one long DataFrame over corpora, encoders and seeds."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from emolib.report.findings import Finding

WHO = ["corpus", "encoder", "seed"]
_RANGE = ["low", "high", "value"]


def tables(findings: list[Finding]) -> dict[str, pd.DataFrame]:
    """Return the report's tables by name; one that nothing was found for has no rows.

    Returns
    -------
    tables : dict
        "layer curves": WHO, features, layer, value, low, high (unweighted accuracy; layer -1 for baselines);
        "axis transfer": WHO, method, fitted on, tried on, value, low, high (AUC);
        "ccc": WHO, placed by, axis, value, low, high;
        "rates": WHO, lam, bits, similarity, accuracy (bits a clip; means over emotions);
        "augmentation": WHO and what notebook 07 recorded; "results": WHO, notebook, metric, value;
        where WHO is corpus, encoder and seed.
    """
    return {
        "layer curves": _joined(
            findings, "01_probing_layers", "01_layer_curve", _curve, ["features", "layer", *_RANGE]
        ),
        "axis transfer": _joined(
            findings,
            "02_axis_construction",
            "02_transfer",
            _unchanged,
            ["method", "fitted on", "tried on", *_RANGE],
        ),
        "ccc": _joined(
            findings, "05_av_reduction", "05_ccc", _unchanged, ["placed by", "axis", *_RANGE]
        ).dropna(subset=["value"]),
        "rates": _joined(
            findings,
            "06_codebook_analysis",
            "06_rate_curves",
            _rates,
            ["lam", "bits", "similarity", "accuracy"],
        ),
        "augmentation": _augmentation(findings),
        "results": _results(findings),
    }


def spread(results: pd.DataFrame) -> pd.DataFrame:
    """Return how far seeds are apart.

    Parameters
    ----------
    results : DataFrame, as `tables` returns it

    Returns
    -------
    spread : DataFrame
        corpus, encoder, notebook, metric, n (seeds), mean, sd (of a sample), low and high (least and
        greatest); rows of one seed are left out.
    """
    keys = ["corpus", "encoder", "notebook", "metric"]
    columns = [*keys, "n", "mean", "sd", "low", "high"]
    known = results.dropna(subset=["value"])
    if known.empty:
        return pd.DataFrame(columns=columns)
    by_seed = known.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    by = by_seed.groupby(keys, sort=False)["value"]
    table = by.agg(n="count", mean="mean", sd="std", low="min", high="max").reset_index()
    return table[table["n"] > 1].reset_index(drop=True)


def over_seeds(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the means over seeds of a table's value, low and high, in the order in which groups come."""
    measures = [name for name in ("value", "low", "high", "bits", "accuracy") if name in table]
    return table.groupby(by, sort=False)[measures].mean().reset_index()


def _joined(
    findings: list[Finding],
    notebook: str,
    figure: str,
    shape: Callable[[pd.DataFrame, Finding], pd.DataFrame],
    columns: list[str],
) -> pd.DataFrame:
    """Join the numbers of one figure over findings; one that lacks the expected columns is left out."""
    parts = []
    for finding in findings:
        numbers = finding.numbers(figure) if finding.notebook == notebook and finding.metrics else None
        if numbers is None:
            continue
        try:
            parts.append(_who(finding, shape(numbers, finding)[columns]))
        except KeyError:
            continue
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*WHO, *columns])


def _who(finding: Finding, table: pd.DataFrame) -> pd.DataFrame:
    names = {"corpus": finding.corpus, "encoder": finding.encoder, "seed": finding.seed}
    return pd.concat(
        [pd.DataFrame({k: [v] * len(table) for k, v in names.items()}), table.reset_index(drop=True)], axis=1
    )


def _curve(numbers: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    """Keep the curve of mean and deviation, the untrained network's best layer, and the baselines."""
    chosen = numbers[numbers["pooling"] == "mean+std"].drop(columns="pooling")
    is_own = chosen["features"] == finding.encoder
    others = chosen[~is_own].sort_values("value", ascending=False).drop_duplicates("features")
    names = {f"random:{finding.encoder}": "untrained"}
    others = others.assign(features=others["features"].replace(names), layer=-1)
    own = chosen[is_own].assign(features="encoder")
    return pd.concat([own, others])


def _rates(numbers: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    means = numbers.groupby("lam")[["bits", "similarity", "hit"]].mean().reset_index()
    return means.rename(columns={"hit": "accuracy"})


def _unchanged(numbers: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    return numbers


def _augmentation(findings: list[Finding]) -> pd.DataFrame:
    rows = [
        {"corpus": one.corpus, "encoder": one.encoder, "seed": one.seed} | numbers
        for one in findings
        if one.notebook.startswith("07_")
        and (numbers := {k: v for k, v in one.metrics.items() if k.startswith(("ua_", "gain_"))})
    ]
    return pd.DataFrame(rows, columns=None if rows else WHO)


def _results(findings: list[Finding]) -> pd.DataFrame:
    rows = [
        {
            "corpus": one.corpus, "encoder": one.encoder, "seed": one.seed,
            "notebook": one.notebook, "metric": name,
            "value": float(value) if isinstance(value, int | float) else np.nan,
        }
        for one in findings
        for name, value in one.metrics.items()
        if not isinstance(value, str)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*WHO, "notebook", "metric", "value"])
