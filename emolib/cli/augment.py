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

    from emolib.studies.augmentation import Study


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
    conditions: Annotated[
        str | None,
        typer.Option(
            "--conditions", help="Only these, such as 'real,classical'; without the flattering protocol."
        ),
    ] = None,
    shares: Annotated[
        str | None, typer.Option("--shares", help="Only these shares of the real clips, such as '1,0.25'.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Only the first so many seeds of each condition.")
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the halves and of all networks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask whether generated speech makes a recogniser better on speakers that it never heard.

    JSON: ua_real, ua_classical, ua_generated, ua_equal and n, of the smallest share of real clips with
    generated ones; gain, gain_low, gain_high over the same number of steps with real clips repeated in place
    of generated ones; gain_equal, gain_equal_low, gain_equal_high over half the steps, in which each real
    clip is drawn as often.
    """
    from emolib import paths
    from emolib.studies.augmentation import CLASSICAL, EQUAL, Settings, study

    cells = Settings.of(profile.value, seed=seed).part(
        None if conditions is None else [name.strip() for name in conditions.split(",")],
        None if shares is None else _numbers(shares),
        seeds,
    )

    clips = load_clips(corpus, corpus_option, root, table)
    folder = out or paths.models() / paths.folder_name(f"augment-{clips['corpus'].iloc[0]}-{profile.value}")
    done = study(
        clips, folder, device=device, seed=seed, settings=cells, limit_s=limit, progress=sys.stderr.isatty()
    )
    other = sum("none of the classes" in entry["reason"] for entry in done.skipped)
    if other:
        print(f"left out {other} clips of other emotions")
    print_skipped([entry for entry in done.skipped if "none of the classes" not in entry["reason"]])
    scores = done.table()
    _print("Scores, intervals over speakers", scores, signed=False)
    for over, meaning in ((CLASSICAL, "the same steps"), (EQUAL, "each real clip drawn as often")):
        _print(f"Gains over {over.name} ({meaning}), paired", done.differences(over.name), signed=True)
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


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(f"shares {text!r}; expected numbers with commas, such as '1,0.25'") from error


def _answer(done: "Study", scores: "pd.DataFrame") -> dict[str, float]:
    """Return the numbers of the smallest share of real clips with generated ones; NaN before any."""
    from emolib.metrics import Interval
    from emolib.studies.augmentation import BOTH, CLASSICAL, EQUAL, REAL

    scores = scores[scores["protocol"] == "disjoint"]
    share = scores.loc[scores["condition"] == BOTH.name, "share"].min()
    rows = scores[scores["share"] == share].set_index("condition")
    ua = rows["ua"].reindex([REAL.name, CLASSICAL.name, BOTH.name, EQUAL.name]).tolist()
    gain, equal = (
        done.gain(over=name) if name in rows.index else Interval(*[float("nan")] * 3)
        for name in (CLASSICAL.name, EQUAL.name)
    )
    return {
        **dict(zip(("ua_real", "ua_classical", "ua_generated", "ua_equal"), ua, strict=True)),
        **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
        **dict(zip(("gain_equal", "gain_equal_low", "gain_equal_high"), equal, strict=True)),
        "n": int(rows["n"].max()) if len(rows) else 0,
        "share": float(share),
        "missing": len(done.missing),
    }
