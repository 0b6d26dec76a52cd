"""Commands on codebooks: quantize."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from emolib.cli.app import (
    AsJson,
    CorpusOption,
    Device,
    EncoderName,
    Root,
    Table,
    app,
    finish,
    load_clips,
    print_skipped,
)
from emolib.paths import DEFAULT_ENCODER

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from emolib.codebook import ResidualQuantizer
    from emolib.store import FeatureStore


@app.command()
def quantize(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT", help="A sound to encode, or an .emoq stream to decode; else a whole corpus."
        ),
    ] = None,
    corpus: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[int, typer.Option("--layer", help="The layer whose features are coded.")] = 4,
    pooled: Annotated[bool, typer.Option(help="Code one mean a clip in place of its frames.")] = False,
    lam: Annotated[
        float, typer.Option("--lam", help="Share of the variance that a bit must save; 0 spends all bits.")
    ] = 0.01,
    stages: Annotated[int, typer.Option("--stages", help="Stages of a new codebook.")] = 8,
    codes: Annotated[int, typer.Option("--codes", help="Codes a stage of a new codebook.")] = 256,
    codebook: Annotated[
        Path | None,
        typer.Option(
            "--codebook", help="Folder of the codebook; trained on the corpus where there is none yet."
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of a new codebook.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Stream of INPUT, .npy of a decoded stream, or folder of a corpus's streams."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Encode features into .emoq streams, decode them again, and print bits and drift.

    JSON: bits (of the files), seconds (of speech), similarity (mean cosine to the original), and more.
    """
    from emolib import paths

    clips = None
    kind = "pooled" if pooled else "frames"
    name = f"codebook-{corpus or ('folder' if table else 'demo')}-{encoder}-layer{layer}-{kind}"
    folder = codebook or paths.trained(name, stages, codes, seed)
    if not (folder / "config.json").is_file() or source is None:
        clips = load_clips(None, corpus, root, table)
    store = None if clips is None else _features(clips, encoder, layer, pooled, device)
    book = _codebook(folder, clips, store, layer, pooled, (stages, codes, seed))
    if source is not None and source.suffix == ".emoq":
        _decode(source, book, out, as_json)
    elif source is not None:
        _encode_file(source, book, encoder, layer, pooled, lam, device, out, as_json)
    else:
        assert clips is not None and store is not None
        _encode_corpus(clips, store, book, layer, pooled, lam, out, as_json)


def _features(clips: "pd.DataFrame", encoder: str, layer: int, pooled: bool, device: str) -> "FeatureStore":
    from emolib import features, paths

    name = str(clips["corpus"].iloc[0])
    url = None if pooled else paths.feature_store(name, f"{encoder}-layer{layer}-frames")
    done = features.extract(
        clips,
        encoder,
        layers=[layer],
        frames=not pooled,
        url=url,
        device=device,
        progress=sys.stderr.isatty(),
    )
    print_skipped(done.skipped)
    return done.store


def _rows(store: "FeatureStore", clip: str, layer: int, pooled: bool) -> "NDArray[np.float32]":
    return store.pooled(layer, clips=[clip]) if pooled else store.frames(clip, layer)


def _codebook(
    folder: Path, clips: "pd.DataFrame | None", store: "FeatureStore | None", layer: int, pooled: bool,
    shape: tuple[int, int, int],
) -> "ResidualQuantizer":  # fmt: skip
    """Load a codebook, or train one and save it."""
    from emolib.codebook import ResidualQuantizer

    if (folder / "config.json").is_file():
        return ResidualQuantizer.load(folder)
    assert clips is not None and store is not None
    stages, codes, seed = shape
    names = [name for name in clips["clip"] if name in set(store.clips)]
    rng = np.random.default_rng(seed)
    X = np.concatenate([_rows(store, name, layer, pooled) for name in rng.permutation(names)[:2000]])
    X = rng.permutation(X)[: 64 * codes]
    book = ResidualQuantizer(stages, min(codes, max(1, len(X) // 4)), seed=seed).fit(X)
    book.save(folder)
    print(f"trained {book.n_stages} x {book.n_codes_} codes on {len(X)} rows: {folder}")
    return book


def _decode(source: Path, book: "ResidualQuantizer", out: Path | None, as_json: bool) -> None:
    rows = book.decompress(source.read_bytes())
    place = out or source.with_suffix(".npy")
    np.save(place, rows, allow_pickle=False)
    bits = 8 * source.stat().st_size
    print(f"{len(rows)} rows of {rows.shape[1]} numbers from {bits} bits: {place}")
    finish({"bits": bits, "rows": len(rows), "file": str(place)}, as_json)


def _encode_file(
    source: Path, book: "ResidualQuantizer", encoder: str, layer: int, pooled: bool, lam: float, device: str,
    out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from emolib import audio, encoders
    from emolib.atomic import write_file

    network = encoders.load(encoder, layers=[layer], device=device)
    wave, _ = audio.load(source, network.sample_rate)
    frames = network.encode([wave], network.sample_rate)[0][0]
    rows = frames.mean(axis=0, keepdims=True) if pooled else frames
    data = book.compress(rows, lam)
    place = out or Path(source.name).with_suffix(".emoq")
    write_file(place, data)
    result = _report(
        [rows], [book.decompress(place.read_bytes())], 8 * len(data), len(wave) / network.sample_rate, book
    )
    print(f"stream    {place}")
    finish(result | {"file": str(place)}, as_json)


def _encode_corpus(
    clips: "pd.DataFrame", store: "FeatureStore", book: "ResidualQuantizer", layer: int, pooled: bool,
    lam: float, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from emolib import paths
    from emolib.atomic import write_file

    kept = clips[~store.missing(clips)]
    before, after, bits = [], [], 0
    for clip in kept["clip"]:
        rows = _rows(store, clip, layer, pooled)
        data = book.compress(rows, lam)
        if out is not None:
            write_file(out / f"{paths.folder_name(clip)}.emoq", data)
        before.append(rows)
        after.append(book.decompress(data))
        bits += 8 * len(data)
    result = _report(before, after, bits, float(kept["duration_s"].sum()), book)
    _print_drift(kept, before, after)
    finish(result | {"clips": len(kept)}, as_json)


def _report(
    before: "list[NDArray]", after: "list[NDArray]", bits: int, seconds: float, book: "ResidualQuantizer"
) -> dict[str, float | int]:
    """Print and return what the coding cost and what it did."""
    from emolib.codebook import measures

    X, X_hat = np.concatenate(before), np.concatenate(after)
    left = measures.distortion(X - book.mean_, X_hat - book.mean_)
    cosine = float(measures.similarity(X, X_hat).mean())
    length = np.linalg.norm(X - book.mean_), np.linalg.norm(X_hat - book.mean_)
    shrinking = float(1 - length[1] / length[0]) if length[0] > 0 else 0.0
    print(f"bits      {bits} for {seconds:.2f} s of speech: {bits / max(seconds, 1e-9):.0f} a second")
    print(f"drift     {left:.3f} of the variance lost, {shrinking:.3f} shorter, cosine {cosine:.4f}")
    return {
        "bits": bits, "seconds": round(seconds, 3), "similarity": cosine, "distortion": left,
        "shrinking": shrinking, "rows": len(X),
    }  # fmt: skip


def _print_drift(clips: "pd.DataFrame", before: "list[NDArray]", after: "list[NDArray]") -> None:
    """Print each emotion's shrinking and the class that it drifted to most."""
    import pandas as pd

    from emolib.codebook import measures

    labels = clips["emotion"].to_numpy().astype(str)
    if len(set(labels)) < 2:
        return
    X, X_hat = (np.stack([rows.mean(axis=0) for rows in part]) for part in (before, after))
    moved = measures.drift(X, X_hat, labels, measures.class_centroids(X, labels))
    table = pd.DataFrame(moved.toward, columns=moved.classes).groupby(labels).mean()
    for name in moved.classes:
        others = table.loc[name].drop(name)
        nearest, share = others.idxmax(), others.to_numpy().max()
        faded = moved.shrinking[labels == name].mean()
        print(f"{name:10} shrinking {faded:5.2f}, most towards {nearest} {share:5.2f}")
