"""Corpora of emotional speech, each by the grammar of its own file names and tables, all in one manifest.

`load` reads a corpus, `save` and `read` keep its manifest as CSV, `info` gives its licence and whom to cite;
`emolib.corpora.fetch` downloads one from its publisher. A parser is a function from a folder to labels
(`Label`, `Skipped`, `Note`), such as a `NamedCorpus` has; `assemble` reads the sound itself, and makes a
manifest of a parser of your own.

Examples
--------
>>> from emolib import corpora
>>> corpora.info("ravdess").clips
1440
"""

import difflib
import warnings
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from emolib import paths
from emolib.corpora import folder, iemocap, labelled
from emolib.corpora.manifest import COLUMNS, CorpusInfo, Label, Note, Skipped, read, save
from emolib.corpora.published import CORPORA, NamedCorpus
from emolib.corpora.scan import assemble, sound_files

__all__ = [
    "COLUMNS", "CorpusInfo", "Label", "NamedCorpus", "NoAudioWarning", "Note", "Skipped", "assemble", "info",
    "load", "names", "read", "save", "sound_files", "way_to_get",
]  # fmt: skip

_DEMO = CorpusInfo(
    "demo", "emolib's synthesised demo corpus (not human speech)", "MIT, as the package", "emolib",
    language="en", source="rendered on first use; nothing is downloaded",
)  # fmt: skip
#: The parser of each corpus, which yields what names and tables say of the files in its folder.
_PARSERS = {corpus.card.name: corpus.labels for corpus in CORPORA} | {
    "iemocap": iemocap.labels, "meld": labelled.meld, "msp-podcast": labelled.msp_podcast,
}  # fmt: skip
_TABLED = (iemocap.CARD, labelled.MELD, labelled.MSP_PODCAST)
_CARDS = {card.name: card for card in (_DEMO, *(one.card for one in CORPORA), *_TABLED, folder.CARD)}


def names() -> list[str]:
    """Return the names of all corpora."""
    return list(_CARDS)


class NoAudioWarning(UserWarning):
    """A corpus's audio is not on this machine, and its shipped embeddings stand in for it."""


def info(name: str) -> CorpusInfo:
    """Return a corpus's card: title, licence, citation, size and source.

    Raises
    ------
    ValueError
        If there is no such corpus; the message lists those that there are.
    """
    if name not in _CARDS:
        raise ValueError(
            f"unknown corpus {name!r}{nearest(name, names())}; expected one of: {', '.join(names())}"
        )
    return _CARDS[name]


def nearest(name: object, names: Collection[str]) -> str:
    """Return " (did you mean 'X'?)" for the nearest of some names, or nothing where none is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=0.5)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


def load(
    name: str, root: str | Path | None = None, table: str | Path | None = None, *, trim_silence: bool = False
) -> pd.DataFrame:
    """Read a corpus into a manifest, decoding every clip from end to end.

    Where a corpus that is asked for by its name alone is not on this machine, but its embeddings are shipped,
    it is their manifest: each path is empty, and a warning says so.

    Parameters
    ----------
    name : str
        One of `names()`.
    root : str or Path, optional
        The corpus's folder; `paths.corpus(name)` by default. For "folder", where relative paths start from.
    table : str or Path, optional
        The CSV of "folder", a file or an fsspec URL: at least path, speaker and emotion.
    trim_silence : bool
        End each clip where nothing but exact zeros follows: such padding gives labels away in some corpora.

    Returns
    -------
    manifest : DataFrame
        One row a clip, sorted by clip; `COLUMNS` first, then the corpus's own. `manifest.attrs` holds
        "skipped" (a path and a reason each), "duplicates" (a path, the clip of the same content that was
        kept, and what differs: emotion, speaker) and "notes".

    Raises
    ------
    ValueError
        If the corpus is unknown, a table lacks what it needs, no clip is usable, or silence is to be trimmed
        without the audio.
    FileNotFoundError
        If the corpus's folder or table isn't there.
    """
    card = info(name)
    if table is not None and name != "folder":
        raise ValueError(f"a table ({table}) belongs to the corpus 'folder', not to {name!r}")
    if name == "folder":
        if table is None:
            raise ValueError(
                "the corpus 'folder' needs a table with path, speaker and emotion (`--manifest CSV`)"
            )
        labels = folder.labels(table, None if root is None else _existing(card, root))
        return assemble(card, labels, table, trim_silence=trim_silence)
    if name == "demo":
        from emolib import demo  # renders speech: only whoever asks for it should wait for its libraries

        built = demo.build(None if root is None else Path(root))
        return assemble(card, folder.labels(built / "demo.csv"), built, trim_silence=trim_silence)
    shipped = [at for place in paths.embeddings(name) if (at := place / "manifest.csv").is_file()]
    if root is None and not paths.corpus(name).is_dir() and shipped:
        if trim_silence:
            raise ValueError(
                f"{name}: its audio is not on this machine, so no silence can be trimmed; {way_to_get(name)}"
            )
        return _without_audio(name, shipped[0])
    place = _existing(card, root)
    return assemble(card, _PARSERS[name](place), place, trim_silence=trim_silence)


def way_to_get(name: str) -> str:
    """Return what to do to get a corpus's audio, as part of a sentence."""
    if name not in _PARSERS:
        return "name your table of its files with --manifest CSV"
    source = info(name).source
    by_hand = source.startswith("by hand") or source.startswith("by signed")
    get = f"get it {source}" if by_hand else f"run `emolib fetch {name}`"
    return f"{get}, or point to your copy with --root DIR or EMOLIB_CORPORA"


def _without_audio(name: str, csv: Path) -> pd.DataFrame:
    """Read the manifest of shipped embeddings, and warn that there is nothing to hear."""
    clips = read(csv, paths=False)
    note = (
        f"{name}: no folder {paths.corpus(name)}, so these are the {len(clips)} clips of the shipped "
        f"embeddings, which can't be played or measured anew; to get the audio, {way_to_get(name)}"
    )
    clips.attrs["notes"] = [note]
    warnings.warn(note, NoAudioWarning, stacklevel=3)
    return clips


def _existing(card: CorpusInfo, root: str | Path | None) -> Path:
    """Return the absolute folder of a corpus, or say how to come by it."""
    place = (Path(root).expanduser() if root is not None else paths.corpus(card.name)).absolute()
    if place.is_dir():
        return place
    raise FileNotFoundError(f"{card.name}: no folder {place}; {way_to_get(card.name)}")
