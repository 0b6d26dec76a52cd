"""Corpora of emotional speech, each by the grammar of its own file names and tables, all in one manifest.

`load` reads a corpus, `save` and `read` keep its manifest as CSV, and `read_parts` reads one that is too long
for memory. `info` gives a corpus's licence and whom to cite; `emolib.corpora.fetch` downloads one from its
publisher. A parser is a function from a folder to labels (`Label`, `Skipped`, `Note`), such as a
`NamedCorpus` has; `assemble` reads the sound itself, and makes a manifest of a parser of your own.

Examples
--------
>>> from emolib import corpora
>>> corpora.info("ravdess").clips
1440
"""

import difflib
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from emolib import emotions, paths
from emolib.corpora import folder, labelled, tables
from emolib.corpora.manifest import COLUMNS, CorpusInfo, Label, Note, Skipped, read, read_parts, save
from emolib.corpora.published import CARDS, CORPORA, NamedCorpus
from emolib.corpora.scan import assemble, sound_files

__all__ = [
    "COLUMNS", "CorpusInfo", "Label", "NamedCorpus", "NoAudioWarning", "Note", "Skipped", "assemble",
    "described", "info", "load", "names", "read", "read_parts", "save", "sound_files", "way_to_get",
]  # fmt: skip

#: What adds the publisher's tables to what paths say.
_JOIN = {
    "crema-d": labelled.crema_d, "expresso": labelled.expresso, "emodb": labelled.emodb,
    "emodb-2": labelled.emodb, "esd": labelled.esd, "nemo": labelled.nemo,
}  # fmt: skip
#: What reads a corpus whose paths say nothing from the publisher's tables.
_TABLES = {"iemocap": labelled.iemocap, "meld": labelled.meld, "msp-podcast": labelled.msp_podcast}


def names() -> list[str]:
    """Return the names of all corpora."""
    return list(CARDS)


class NoAudioWarning(UserWarning):
    """A corpus's audio is not on this machine, and its shipped embeddings stand in for it."""


def info(name: str) -> CorpusInfo:
    """Return a corpus's card: title, licence, citation, size and source.

    Raises
    ------
    ValueError
        If there is no such corpus; the message lists those that there are.
    """
    if name not in CARDS:
        meant = nearest(name, CARDS)
        raise ValueError(f"unknown corpus {name!r}{meant}; expected one of: {', '.join(CARDS)}")
    return CARDS[name]


def nearest(name: object, names: Collection[str], least: float = 0.5) -> str:
    """Return " (did you mean 'X'?)" for the nearest of some names, or nothing where none is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=least)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


def load(
    name: str, root: str | Path | None = None, table: str | Path | None = None, *,
    mapping: Mapping[str, str] | None = None, form: tables.Format | None = None,
    speaker_pattern: str | None = None, trim_silence: bool = False,
) -> pd.DataFrame:  # fmt: skip
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
        The table of "folder", with at least path, speaker and emotion: a CSV, a TSV, JSON, Parquet, or what
        else `tables` reads; a file, a folder, or an fsspec URL of a CSV.
    mapping : mapping from label to emotion, optional
        Renames emotions, such as ``{"joy": "happy"}``; a label is the corpus's own code or the emotion's
        word. Case and blanks don't matter.
    form : str, optional
        The table's format, one of `tables.Format`; found by its name and content by default.
    speaker_pattern : str, optional
        A regular expression that finds the speaker in the table's paths, where no column says who speaks.
    trim_silence : bool
        End each clip where nothing but exact zeros follows: such padding gives labels away in some corpora.

    Returns
    -------
    manifest : DataFrame
        One row a clip, sorted by clip; `COLUMNS` first, then the corpus's own. `manifest.attrs` holds
        "skipped" (a path and a reason each), "duplicates" (a path, the clip of the same content that was
        kept, and what differs: emotion, speaker), "notes", and "renamed": a sentence on the labels that were
        renamed, empty where none was; it is the last of the notes too.

    Raises
    ------
    ValueError
        If the corpus is unknown, a table lacks what it needs, no clip is usable, the mapping names a label
        that no clip has, or silence is to be trimmed without the audio.
    FileNotFoundError
        If the corpus's folder or table isn't there.
    """
    card, renames = info(name), emotions.Renames(mapping)
    for given in (table, form, speaker_pattern):
        if given is not None and name != "folder":
            raise ValueError(f"a table ({given}) belongs to the corpus 'folder', not to {name!r}")
    is_alone = root is None and table is None and name != "demo"
    if is_alone and not paths.corpus(name).is_dir() and paths.embeddings(name):
        if trim_silence:
            raise ValueError(
                f"{name}: its audio is not on this machine, so no silence can be trimmed; {way_to_get(name)}"
            )
        clips = _without_audio(name)
        clips["emotion"] = list(map(renames, clips["emotion"], clips["label"]))
        renames.check_all_met()
    else:
        found, where = _items(name, root, table, form, speaker_pattern)
        items = [_renamed(item, renames) if isinstance(item, Label) else item for item in found]
        renames.check_all_met()
        clips = assemble(card, items, where, trim_silence=trim_silence)
    clips = _renamed_votes(clips, renames.mapping)
    own = clips.loc[~clips["emotion"].isin(emotions.EMOTIONS), "emotion"].value_counts().sort_index()
    if len(own):
        words = ", ".join(f"{w} ({n}){nearest(w, emotions.EMOTIONS, 0.8)}" for w, n in own.items())
        clips.attrs["notes"].append(f"{name}: emotions beyond the named ones, without an anchor: {words}")
    clips.attrs["renamed"] = f"{name}: {renames}" if renames.made else ""
    clips.attrs["notes"] += filter(None, [clips.attrs["renamed"]])
    return clips


def _items(
    name: str, root: str | Path | None, table: str | Path | None, form: tables.Format | None,
    speaker_pattern: str | None,
) -> tuple[Iterable[Label | Skipped | Note], str | Path]:  # fmt: skip
    """Return what the parser of a corpus yields, and the folder or table that it reads."""
    if name == "folder":
        if table is None:
            needed = "a table with path, speaker and emotion (`--manifest TABLE`)"
            raise ValueError(f"the corpus 'folder' needs {needed}")
        base = None if root is None else _existing(name, root)
        return folder.labels(table, base, form=form, speaker_pattern=speaker_pattern), table
    if name == "demo":
        from emolib import demo  # renders speech: only whoever asks for it should wait for its libraries

        built = demo.build(None if root is None else Path(root))
        return folder.labels(built / "demo.csv"), built
    place = _existing(name, root)
    if name in _TABLES:
        return _TABLES[name](place), place
    items = list(CORPORA[name].labels(place))
    return _JOIN[name](place, items) if name in _JOIN else items, place


def _renamed(label: Label, renames: emotions.Renames) -> Label | Skipped:
    """Give a label the word for its emotion; one that says that there is none is skipped."""
    try:
        return replace(label, emotion=renames(label.emotion, label.label))
    except ValueError as error:
        return Skipped(label.path, str(error))


def _renamed_votes(clips: pd.DataFrame, mapping: Mapping[str, str]) -> pd.DataFrame:
    """Rename emotions in the columns of votes, and add up those that become one."""
    votes = [column for column in clips.columns if column.startswith(tables.VOTES)]
    words = [tables.VOTES + mapping.get(word, word) for word in (v.removeprefix(tables.VOTES) for v in votes)]
    if words == votes:
        return clips
    renamed = clips[votes].set_axis(words, axis=1).T.groupby(level=0, sort=False).sum(min_count=1).T
    joined = clips.drop(columns=votes).join(renamed)
    joined.attrs = clips.attrs
    return joined


def way_to_get(name: str) -> str:
    """Return what to do to get a corpus's audio, as part of a sentence."""
    if name not in CORPORA and name not in _TABLES:
        return "name your table of its files with --manifest CSV"
    source = info(name).source
    get = f"get it {source}" if source.startswith(("by hand", "by signed")) else f"run `emolib fetch {name}`"
    return f"{get}, or point to your copy with --root DIR or EMOLIB_CORPORA"


def described(name: str) -> pd.DataFrame:
    """Return the manifest of a corpus that lies beside its embeddings; no clip has a path.

    Raises
    ------
    ValueError
        If no embeddings of it are here.
    """
    if not (places := paths.embeddings(name)):
        raise ValueError(f"no embeddings of {name!r} are here; `emolib embeddings make {name}` makes them")
    return read(places[0] / "manifest.csv", paths=False)


def _without_audio(name: str) -> pd.DataFrame:
    """Return the manifest of shipped embeddings, and warn that there is nothing to hear."""
    clips = described(name)
    note = (
        f"{name}: no folder {paths.corpus(name)}, so these are the {len(clips)} clips of the shipped "
        f"embeddings, which can't be played or measured anew; to get the audio, {way_to_get(name)}"
    )
    clips.attrs["notes"] = [note]
    warnings.warn(note, NoAudioWarning, stacklevel=3)
    return clips


def _existing(name: str, root: str | Path | None) -> Path:
    """Return the absolute folder of a corpus, or say how to come by it."""
    place = folder_of(name, root)
    if place.is_dir():
        return place
    raise FileNotFoundError(f"{name}: no folder {place}; {way_to_get(name)}")


def folder_of(name: str, root: str | Path | None) -> Path:
    """Return the absolute folder of a corpus, which need not be there."""
    return (Path(root).expanduser() if root is not None else paths.corpus(name)).absolute()
