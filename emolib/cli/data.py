"""Commands on corpora: corpora, fetch, manifest."""

from pathlib import Path
from typing import Annotated

import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Root,
    Table,
    app,
    finish,
    load_clips,
    print_skipped,
)


@app.command("corpora")
def list_corpora(as_json: AsJson = False) -> None:
    """List the corpora, whether each is at hand, and how to get it."""
    from emolib import corpora, paths

    cards = [corpora.info(name) for name in corpora.names()]
    rows = [
        {
            "name": card.name,
            "title": card.title,
            "clips": card.clips,
            "licence": card.licence,
            "at_hand": card.name == "demo" or paths.corpus(card.name).is_dir(),
            "source": card.source,
        }
        for card in cards
    ]
    for card, row in zip(cards, rows, strict=True):
        state = "at hand" if row["at_hand"] else card.source
        print(f"{card.name:8} {card.clips or '':>6}  {card.title} ({card.licence}): {state}")
    finish({str(row["name"]): row for row in rows}, as_json)


@app.command()
def fetch(
    corpus: Annotated[str, typer.Argument(help="The corpus's name.")],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Download a corpus from its publisher: resumed, checked and safely unpacked."""
    from emolib.corpora.fetch import fetch as download

    folder = download(corpus, root)
    print(f"{corpus} is in {folder}")
    finish({"corpus": corpus, "folder": str(folder)}, as_json)


@app.command()
def manifest(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the manifest here, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read a corpus into its manifest, decoding every clip.

    JSON: clips, speakers, emotions, duplicates, under_two_speakers, skipped.
    """
    from emolib import corpora

    clips = load_clips(corpus, corpus_option, root, table)
    for note in clips.attrs["notes"]:
        print(note)
    print_skipped(clips.attrs["skipped"])
    for entry in clips.attrs["duplicates"]:
        differs = f", under another {entry['differs']}" if entry["differs"] else ""
        print(f"duplicate {entry['path']}: same content as {entry['clip']}{differs}")
    counts = clips["emotion"].value_counts()
    by_emotion = {str(name): int(n) for name, n in counts.items()}
    print(counts.to_string())
    if out:
        corpora.save(clips, out)
        print(f"wrote {out}")
    finish(
        {
            "clips": len(clips),
            "speakers": clips["speaker"].nunique(),
            "emotions": clips["emotion"].nunique(),
            "duplicates": len(clips.attrs["duplicates"]),
            "under_two_speakers": sum("speaker" in entry["differs"] for entry in clips.attrs["duplicates"]),
            "skipped": len(clips.attrs["skipped"]),
            "by_emotion": by_emotion,
            "hours": round(float(clips["duration_s"].sum()) / 3600, 4),
        },
        as_json,
    )
