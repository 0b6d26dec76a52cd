"""The command on generated speech in training sets: augment."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Device,
    Profile,
    Root,
    Table,
    app,
    finish,
    load_clips,
    print_skipped,
)

if TYPE_CHECKING:
    import pandas as pd

    from emolib.augment import Study


@app.command()
def augment(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the cells, taken up again; models/augment-CORPUS-PROFILE."),
    ] = None,
    profile: Annotated[
        Profile, typer.Option("--profile", help="quick takes minutes, full hours on two cores.")
    ] = Profile.quick,
    limit: Annotated[
        float | None, typer.Option("--limit", help="Begin no further cell after this many seconds.")
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the halves and of all networks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask whether generated speech makes a recogniser better on speakers that it never heard.

    JSON: ua_real, ua_classical, ua_generated, gain, gain_low, gain_high, n; of the smallest share of real
    clips with generated ones, gain over real clips and classical augmentation.
    """
    from emolib import paths
    from emolib.augment import study

    clips = load_clips(corpus, corpus_option, root, table)
    folder = out or paths.models() / paths.folder_name(f"augment-{clips['corpus'].iloc[0]}-{profile.value}")
    done = study(
        clips, folder, profile.value, device=device, seed=seed, limit_s=limit, progress=sys.stderr.isatty()
    )
    other = sum("none of the classes" in entry["reason"] for entry in done.skipped)
    if other:
        print(f"left out {other} clips of other emotions")
    print_skipped([entry for entry in done.skipped if "none of the classes" not in entry["reason"]])
    scores, gains = done.table(), done.differences()
    _print("Scores, intervals over speakers", scores, signed=False)
    _print("Gains over real clips and classical augmentation, paired", gains, signed=True)
    print("\nLeak audit\n" + done.leaks.to_string(index=False, float_format="%.3f"))
    if done.missing:
        print(f"\n{len(done.missing)} cells were not run; the same command goes on, first: {done.missing[0]}")
    finish(_answer(done, scores), as_json)


def _print(title: str, table: "pd.DataFrame", *, signed: bool) -> None:
    from emolib.metrics import Interval

    print(f"\n{title}")
    for _, row in table.iterrows():
        spec = "+.3f" if signed else ".3f"
        words = [
            f"{name} {Interval(row[name], row[f'{name}_low'], row[f'{name}_high']):{spec}}"
            for name in ("ua", "wa", "macro_f1")
        ]
        print(
            f"{row['protocol']:10} {100 * row['share']:3.0f} % {row['condition']:50} {'  '.join(words)}  "
            f"n={row['n']} speakers={row['speakers']} seeds={row['seeds']} real={row['n_real']:.0f} "
            f"generated={row['n_generated']:.0f}"
        )


def _answer(done: "Study", scores: "pd.DataFrame") -> dict[str, float]:
    """Return the numbers of the smallest share of real clips with generated ones; NaN before any."""
    from emolib.augment import BOTH, CLASSICAL, REAL
    from emolib.metrics import Interval

    scores = scores[scores["protocol"] == "disjoint"]
    share = scores.loc[scores["condition"] == BOTH.name, "share"].min()
    rows = scores[scores["share"] == share].set_index("condition")
    ua = rows["ua"].reindex([REAL.name, CLASSICAL.name, BOTH.name]).tolist()
    gain = done.gain() if rows["ua"].get(CLASSICAL.name) is not None else Interval(*[float("nan")] * 3)
    return {
        **dict(zip(("ua_real", "ua_classical", "ua_generated"), ua, strict=True)),
        **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
        "n": int(rows["n"].max()) if len(rows) else 0,
        "share": float(share),
        "missing": len(done.missing),
    }
