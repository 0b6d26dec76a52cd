"""Commands on corpora and their features: corpora, fetch, manifest, extract, export-npy."""

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from emolib import paths, scheduling
from emolib.cli.app import Corpus, app, command, encoded, print_skipped, whole_number
from emolib.paths import DEFAULT_ENCODER

_embeddings = typer.Typer(no_args_is_help=True, help="Make and check embeddings to ship without audio.")
app.add_typer(_embeddings, name="embeddings")


@command("corpora")
def list_corpora(corpus: Annotated[str | None, Argument()] = None) -> dict[str, Any]:
    """List the corpora, whether each is at hand, and how to get it; or all that is known of one.

    Parameters
    ----------
    corpus
        Show this one's licence, citation, and what is known to be wrong with it.
    """
    from emolib import corpora

    if corpus:
        card = corpora.info(corpus)
        count = f"{card.clips} clips, " if card.clips else ""
        print(f"{card.title}\n{count}licence: {card.licence}\ncite: {card.citation}\nget: {card.source}")
        print(*(f"known: {line}" for line in card.defects), sep="\n")
    rows = {}
    for card in map(corpora.info, corpora.names()):
        at_hand = card.name == "demo" or paths.corpus(card.name).is_dir()
        keys = ("name", "title", "clips", "speakers", "licence", "citation", "source", "defects")
        rows[card.name] = {key: getattr(card, key) for key in keys} | {"at_hand": at_hand}
        has_embeddings = bool(paths.embeddings(card.name))
        elsewhere = f"embeddings alone; the audio: {card.source}" if has_embeddings else card.source
        state = "at hand" if at_hand else elsewhere
        if not corpus:
            print(f"{card.name:11} {card.clips or '':>6}  {card.title} ({card.licence}): {state}")
    return rows[corpus] if corpus else rows


@command()
def fetch(corpus: Annotated[str, Argument()], root: Path | None = None) -> dict[str, Any]:
    """Download a corpus from its publisher: resumed, checked and safely unpacked.

    Parameters
    ----------
    corpus
        The corpus's name.
    """
    from emolib.corpora.fetch import fetch as download

    folder = download(corpus, root)
    print(f"{corpus} is in {folder}")
    return {"corpus": corpus, "folder": str(folder)}


@command()
def manifest(corpus: Corpus, out: Path | None = None) -> dict[str, Any]:
    """Read a corpus into its manifest, decoding every clip.

    JSON: clips, speakers, emotions, duplicates, under_two_speakers, skipped.

    Parameters
    ----------
    out
        Write the manifest here, as CSV.
    """
    from emolib import corpora

    clips = corpus.load()
    skipped, duplicates = clips.attrs["skipped"], clips.attrs["duplicates"]
    for note in clips.attrs["notes"]:
        if note != clips.attrs["renamed"]:  # which is printed where a corpus is read
            print(note)
    print_skipped(skipped)
    for entry in duplicates:
        differs = f", under another {entry['differs']}" if entry["differs"] else ""
        print(f"duplicate {entry['path']}: same content as {entry['clip']}{differs}")
    counts = clips["emotion"].value_counts()
    print(counts.to_string())
    if out:
        corpora.save(clips, out)
        print(f"wrote {out}")
    return {
        "clips": len(clips), "speakers": clips["speaker"].nunique(), "emotions": clips["emotion"].nunique(),
        "duplicates": len(duplicates),
        "under_two_speakers": sum("speaker" in entry["differs"] for entry in duplicates),
        "skipped": len(skipped), "by_emotion": {str(name): int(n) for name, n in counts.items()},
        "hours": round(float(clips["duration_s"].sum()) / 3600, 4),
    }  # fmt: skip


@command()
def extract(
    corpus: Corpus, encoder: str = DEFAULT_ENCODER, layer: str = "all", frames: bool = True,
    device: str = "auto", precision: Literal["float32", "bfloat16"] = "float32",
    store: Annotated[str | None, Option("--out", "--store")] = None, replace: bool = False,
    scheduler: str | None = None, parts: Annotated[int, Option(min=0)] = 0,
) -> dict[str, Any]:  # fmt: skip
    """Encode a corpus into its feature store; what is there already is kept.

    Parameters
    ----------
    layer
        0 is the transformer's input, k the output of block k; several with commas, or all.
    frames
        Keep every frame as well, some 100 kB a clip and layer.
    precision
        What to compute in; bfloat16 takes half the time.
    store
        Folder or fsspec URL to write; data/features/CORPUS/ENCODER by default.
    replace
        Delete what other weights or another precision have made.
    parts
        For more clips than memory holds: read --manifest, which `emolib manifest` wrote, as a stream, and
        encode so many clips at a time, each part into a store of its own in the folder --out.
    """
    is_alone = corpus == dataclasses.replace(Corpus(), table=corpus.table)
    if parts and not (corpus.table and store and is_alone):
        raise ValueError(
            "--parts goes with --manifest MANIFEST.csv and --out FOLDER, and with no other option of a corpus"
        )
    from emolib import features

    told: Any = Counter()
    with scheduling.connect(scheduler) as client:
        options: dict[str, Any] = {
            "layers": _layers(layer), "frames": frames, "device": device, "precision": precision,
            "replace": replace, "progress": sys.stderr.isatty(), "client": client,
        }  # fmt: skip
        if parts:
            found = features.extract_parts(str(corpus.table), encoder, url=str(store), clips=parts, **options)
        else:
            clips = corpus.load()
            found = iter([(clips, features.extract(clips, encoder, url=store, **options))])
        for _, done in found:
            print_skipped(done.skipped)
            new = f"{done.n_new} clips encoded in {done.seconds:.1f} s"
            print(f"{new}, {done.n_cached} were there: {done.store.url}")
            told.update(
                clips=len(done.store), new=done.n_new, cached=done.n_cached, skipped=len(done.skipped),
                seconds=round(done.seconds, 3), speech_s=round(done.speech_s, 3),
            )  # fmt: skip
    layers = list(done.store.config.layers)
    return dict(told) | {"layers": layers, "store": store if parts else done.store.url}


@command("export-npy")
def export_npy(
    corpus: Corpus, encoder: str = DEFAULT_ENCODER, layer: int = 0, device: str = "auto",
    out: Path = Path("features_npy"), store: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write one layer as the classic tree Actor_01/<clip>.npy of (time, features) arrays.

    Parameters
    ----------
    layer
        The layer to write; 0 is the transformer's input.
    out
        Folder to write the tree into.
    """
    from emolib import features

    clips, done = encoded(corpus.load(), encoder, [layer], frames=True, store=store, device=device)
    n = features.export_npy(done.store, clips, out, layer)
    print(f"wrote {n} files to {out}")
    return {"files": n, "skipped": len(done.skipped), "folder": str(out)}


@command("make", _embeddings)
def make_embeddings(
    corpus: Corpus, encoder: str = DEFAULT_ENCODER, layer: str = "all", device: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Extract a corpus's features, and write their pooled embeddings, manifest and card.

    JSON: clips, layers, bytes (of this encoder's files), folder.

    Parameters
    ----------
    layer
        Several with commas, or all.
    out
        The corpus's folder of embeddings; data/embeddings/CORPUS.
    """
    from emolib import embeddings

    clips = corpus.load()
    _, done = encoded(clips, encoder, _layers(layer), device=device)
    folder = embeddings.make(clips, done.store, folder=out)
    size, layers = sum(path.stat().st_size for path in folder.iterdir()), list(done.store.config.layers)
    print(f"{len(clips)} clips, layers {layers}, {size / 1e6:.2f} MB: {folder}")
    return {"clips": len(clips), "layers": layers, "bytes": size, "folder": str(folder)}


@command("check", _embeddings)
def check_embeddings(
    corpus: Corpus, encoder: str = DEFAULT_ENCODER, layer: str = "all", device: str = "auto"
) -> dict[str, Any]:
    """Compare the shipped embeddings of a corpus with a new extraction from its audio.

    JSON: steps (largest difference, in steps of the quantization: 0.5 is the rounding), ua_moved (largest
    difference in UA over the layers), clips.

    Parameters
    ----------
    layer
        Several with commas, or all that are shipped.
    """
    from emolib import embeddings, probing, splits

    clips, shipped = corpus.load(), embeddings.open(corpus.name, encoder)
    _, done = encoded(clips, encoder, _layers(layer) or list(shipped.config.layers), device=device)
    table, folds = embeddings.check(clips, done.store), splits.folds(clips, "speaker")
    for column, store in (("ua_new", done.store), ("ua_shipped", shipped)):
        tables = [store.pooled(k, "mean+std", clips["clip"].tolist()) for k in table["layer"]]
        table[column] = [probing.cross_validate(X, clips, folds).ua.value for X in tables]
    print(table.to_string(index=False, float_format="%.4f"))
    moved = (table["ua_shipped"] - table["ua_new"]).abs().max()
    return {"steps": table["steps"].max(), "ua_moved": moved, "clips": len(clips)}


def _layers(text: str) -> list[int] | None:
    """Read the option: numbers with commas, or all."""
    return None if text == "all" else [whole_number(number) for number in text.split(",")]
