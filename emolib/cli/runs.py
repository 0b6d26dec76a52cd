"""Commands that run others: run, bench."""

import runpy
from typing import Annotated, Any

import typer

from emolib.cli.app import AsJson, Device, EncoderName, Profile, Root, Table, app, finish
from emolib.paths import DEFAULT_ENCODER


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NOTEBOOK...", help="Beginnings of names, such as 01; all by default."),
    ] = None,
    corpus: Annotated[str, typer.Option("--corpus", help="A name that `emolib corpora` lists.")] = "demo",
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    profile: Annotated[
        Profile, typer.Option("--profile", help="quick is for two cores, full for an accelerator.")
    ] = Profile.quick,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="The notebooks' SEED.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Execute the notebooks into a new folder of runs/; exit code 1 if one fails.

    JSON: notebooks, failed, seconds, summary.
    """
    from emolib import corpora, paths, sweep

    corpora.info(corpus)
    parameters: dict[str, Any] = {
        "CORPUS": corpus, "ENCODER": encoder, "PROFILE": profile.value, "DEVICE": device, "SEED": seed,
    }  # fmt: skip
    parameters |= {"ROOT": str(root.absolute())} if root else {}
    parameters |= {"TABLE": str(table.absolute())} if table else {}
    folder, ended = sweep.run(parameters, names)
    failed = [entry for entry in ended if entry.error]
    print((folder / "summary.md").read_text())
    for entry in ended:
        print(f"{entry.notebook:24} {entry.seconds:6.0f} s  {entry.error or 'ok'}")
    print(f"notebooks {folder}\nfigures   {paths.gallery(corpus, encoder)}")
    seconds = sum(entry.seconds for entry in ended)
    finish(
        {
            "notebooks": len(ended),
            "failed": len(failed),
            "seconds": round(seconds, 1),
            "summary": str(folder / "summary.json"),
        },
        as_json,
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Scripts of benchmarks/, such as extraction; all by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each part against what a user would pick instead, in one process; JSON: one ratio each."""
    from emolib import paths

    scripts = {path.stem: path for path in sorted((paths.home() / "benchmarks").glob("[a-z]*.py"))}
    if not scripts:
        raise ValueError(f"no comparisons in {paths.home() / 'benchmarks'}; run this in a checkout of emolib")
    if unknown := sorted(set(names or []) - set(scripts)):
        raise ValueError(f"no comparison {', '.join(unknown)}; expected: {', '.join(scripts)}")
    ratios: dict[str, float] = {}
    for name in names or scripts:
        ratios |= runpy.run_path(str(scripts[name]))["measure"]()
    for name, value in ratios.items():
        print(f"{name:32} {value:.4g}")
    finish(ratios, as_json)
