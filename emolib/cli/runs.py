"""Commands that run others: run, sweep, bench."""

import runpy
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from emolib.cli.app import AsJson, Device, EncoderName, Profile, Root, Scheduler, Table, app, finish
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
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: another parameter of a notebook; may be repeated."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Execute also what an earlier run did and nothing has changed of.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Notebooks at a time; one per core by default, at most 4."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Execute the notebooks into a new folder of runs/; exit code 1 if one fails.

    What is done and unchanged is copied from the run that did it; broken off, the same command goes on in the
    same folder.

    JSON: notebooks, failed, seconds, summary.
    """
    from emolib import corpora, paths, sweep

    corpora.info(corpus)
    parameters: dict[str, Any] = {
        "CORPUS": corpus, "ENCODER": encoder, "PROFILE": profile.value, "DEVICE": device, "SEED": seed,
    }  # fmt: skip
    parameters |= {"ROOT": str(root.absolute())} if root else {}
    parameters |= {"TABLE": table if "://" in table else str(Path(table).absolute())} if table else {}
    known = {path.stem: sweep.declared(path) for path in sweep.notebooks()}
    parameters |= sweep.from_text(settings or [], known)
    started = time.perf_counter()
    try:
        folder, ended = sweep.run(parameters, names, fresh=fresh, jobs=jobs)
    except KeyboardInterrupt:
        raise _interrupted() from None
    failed = [entry for entry in ended if entry.error]
    print((folder / "summary.md").read_text())
    for entry in ended:
        state = entry.error or ("done before" if entry.skipped else "ok")
        print(f"{entry.notebook:24} {entry.seconds:6.0f} s  {state}")
    print(f"notebooks {folder}\nfigures   {paths.gallery(corpus, encoder)}")
    seconds = time.perf_counter() - started
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
def sweep(
    grid: Annotated[
        Path,
        typer.Argument(metavar="GRID.yaml", help="Notebooks, fixed parameters, and axes to multiply."),
    ],
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Cells at a time on this machine.")] = 1,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Execute notebooks over a grid, a folder of runs/sweep-NAME a cell; exit code 1 if one fails.

    What is done and unchanged is skipped; broken off, the same command goes on.

    JSON: cells, done, skipped, failed, seconds, summary.
    """
    from emolib import scheduling
    from emolib import sweep as sweeps

    plan = sweeps.read_grid(grid)
    try:
        with scheduling.connect(scheduler) as client:
            ended = sweeps.run_grid(plan, jobs=jobs, client=client)
    except KeyboardInterrupt:
        raise _interrupted() from None
    count = ended.count()
    print((ended.folder / "summary.md").read_text(encoding="utf-8"))
    print(
        f"{count['cells']} cells: {count['done']} done, {count['skipped']} skipped, {count['failed']} failed"
    )
    print(f"results {ended.folder}")
    told = count | {"seconds": round(ended.seconds, 1), "summary": str(ended.folder / "summary.json")}
    finish(told, as_json)
    if count["failed"]:
        raise typer.Exit(1)


def _interrupted() -> typer.Exit:
    print("emolib: broken off; the same command goes on from here", file=sys.stderr)
    return typer.Exit(130)


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Scripts of benchmarks/, such as extraction; all by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each part against what a user would pick instead, in one process; JSON: one ratio each.

    What is measured is written to benchmarks/RESULTS.md.
    """
    from emolib import paths, sidebyside

    folder = paths.benchmarks()
    scripts = {path.stem: path for path in sorted(folder.glob("[a-z]*.py"))}
    if not scripts:
        raise ValueError(f"no comparisons in {folder}; run this in a checkout of emolib")
    if unknown := sorted(set(names or []) - set(scripts)):
        raise ValueError(f"no comparison {', '.join(unknown)}; expected: {', '.join(scripts)}")
    ratios: dict[str, float] = {}
    for name in names or scripts:
        script = runpy.run_path(str(scripts[name]))
        found = script["measure"]()
        question = (script["__doc__"] or name).strip().split("\n\n")[0].replace("\n", " ")
        sidebyside.write_section(folder, name, question, found)
        ratios |= found
    for name, value in ratios.items():
        print(f"{name:32} {value:.4g}")
    finish(ratios, as_json)
