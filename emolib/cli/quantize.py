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

    A new codebook is trained on half of the speakers. Of a corpus, drift is measured on clips of speakers
    that the codebook was not trained on; of a file, on that file, whoever speaks.

    JSON: bits (of the files), seconds (of speech), similarity (mean cosine to the original, both seen from
    the codebook's training mean), distortion, held_out (clips that these were measured on), and more.
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
    from emolib import features

    done = features.extract(
        clips,
        encoder,
        layers=[layer],
        frames=not pooled,
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
    known = clips[~store.missing(clips)]
    taught = known.iloc[_first_half(known["speaker"].to_numpy(), seed)]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(taught["clip"].to_numpy())[:2000]
    X = np.concatenate([_rows(store, name, layer, pooled) for name in chosen])
    X = rng.permutation(X)[: 64 * codes]
    book = ResidualQuantizer(stages, min(codes, max(1, len(X) // 4)), seed=seed).fit(X)
    book.provenance_ |= {"corpus": str(taught["corpus"].iloc[0]), "speakers": sorted(set(taught["speaker"]))}
    book.save(folder)
    print(
        f"trained {book.n_stages} x {book.n_codes_} codes on {len(X)} rows of "
        f"{taught['speaker'].nunique()} of {known['speaker'].nunique()} speakers: {folder}"
    )
    return book


def _first_half(speakers: "NDArray", seed: int) -> "NDArray[np.intp]":
    """Return the clips of half of the speakers; of a single speaker, all."""
    from emolib import splits

    rows = np.arange(len(speakers))
    return splits.halves(rows, speakers, seed)[0] if len(set(speakers)) > 1 else rows


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
    seconds = len(wave) / network.sample_rate
    result = _report(8 * len(data), seconds, [rows], [book.decompress(place.read_bytes())], book)
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
    n_rows, seconds = sum(map(len, before)), float(kept["duration_s"].sum())
    judged = np.flatnonzero(~kept["speaker"].isin(book.provenance_.get("speakers", ())))
    _say_whose(kept, judged, book)
    before, after = [before[i] for i in judged], [after[i] for i in judged]
    result = _report(bits, seconds, before, after, book)
    _print_drift(kept.iloc[judged], before, after)
    finish(result | {"rows": n_rows, "clips": len(kept), "held_out": len(judged)}, as_json)


def _say_whose(clips: "pd.DataFrame", judged: "NDArray[np.intp]", book: "ResidualQuantizer") -> None:
    n_clips, n_speakers = len(judged), clips.iloc[judged]["speaker"].nunique()
    if "speakers" not in book.provenance_:
        print(f"drift over {n_clips} clips; the codebook does not say which speakers it was trained on")
    elif n_clips:
        print(f"drift over {n_clips} clips of {n_speakers} speakers that the codebook was not trained on")
    else:
        print("no drift: the codebook was trained on every speaker of these clips; give it others")


def _report(
    bits: int, seconds: float, before: "list[NDArray]", after: "list[NDArray]", book: "ResidualQuantizer"
) -> dict[str, float | int]:
    """Print and return what the coding cost, and what it did to the given rows."""
    from emolib.codebook import measures

    print(f"bits      {bits} for {seconds:.2f} s of speech: {bits / max(seconds, 1e-9):.0f} per second")
    done = dict.fromkeys(("similarity", "distortion", "shrinking"), float("nan"))
    if before:
        done = measures.change(np.concatenate(before), np.concatenate(after), book.mean_)
        print(
            f"drift     {done['distortion']:.3f} of the variance lost, {done['shrinking']:.3f} shorter, "
            f"cosine {done['similarity']:.4f}"
        )
    return {"bits": bits, "seconds": round(seconds, 3), **done, "rows": sum(map(len, before))}


def _print_drift(clips: "pd.DataFrame", before: "list[NDArray]", after: "list[NDArray]") -> None:
    """Print each emotion's shrinking and the class that it drifted to most."""
    import pandas as pd

    from emolib.codebook import measures

    labels = clips["emotion"].to_numpy().astype(str)
    if len(set(labels)) < 2:  # also where no clip is held out
        return
    X, X_hat = (np.stack([rows.mean(axis=0) for rows in part]) for part in (before, after))
    moved = measures.drift(X, X_hat, labels, measures.class_centroids(X, labels))
    table = pd.DataFrame(moved.toward, columns=moved.classes).groupby(labels).mean()
    for name in moved.classes:
        others = table.loc[name].drop(name)
        nearest, share = others.idxmax(), others.to_numpy().max()
        faded = moved.shrinking[labels == name].mean()
        print(f"{name:10} shrinking {faded:5.2f}, most towards {nearest} {share:5.2f}")
