"""The cards of all corpora, and the grammar of names where a corpus's file names say what each clip is.

Both are in ``published.yaml``. A file whose name doesn't fit is skipped with its reason. Where a publisher's
word is none of our twelve emotions and no synonym of one, the word stays.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from emolib.corpora.manifest import CorpusInfo, Label, Skipped
from emolib.corpora.scan import CONTAINERS, sound_files

Said = dict[str, str]
_FIELDS = frozenset({"speaker", "gender", "emotion", "intensity", "text", "text_id", "words", "language"})
#: What tables and names have for genders, in lower case.
GENDERS = {"m": "male", "f": "female", "w": "female", "male": "male", "female": "female"}


def _codes(text: str) -> dict[str, str]:
    """Return a code book from text such as "a=angry happy 01..03"."""
    book: dict[str, str] = {}
    for part in text.split():
        first, _, last = part.partition("..")
        if last:
            book |= {f"{n:0{len(first)}d}": "" for n in range(int(first), int(last) + 1)}
        else:
            code, is_coded, meaning = part.partition("=")
            book[code] = meaning if is_coded else code
    return book


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus whose files' paths say what each clip is.

    Attributes
    ----------
    card : CorpusInfo
    pattern : str
        Regular expression of a path's end without the file's ending. Its groups `speaker`, `emotion` and,
        where a name says so, `gender`, `intensity`, `text` are codes; any other group becomes a column.
    example : str; such a path
    emotion_codes : mapping of codes to words
    speaker_codes : mapping of codes to genders; empty where any fits
    intensity_codes, texts : mappings of codes to levels and to words; empty where a name tells none
    clip : str; template of the clip's unique name, from the groups and the file's own name, `stem`
    folder : str; where the sound is, if not in all of the corpus's folder
    refused : tuple of mappings; the pattern of paths that name something else than speech, and the reason
    adapt : function of the groups as found, which returns them as meant, perhaps with `text_id` and `words`
    """

    card: CorpusInfo
    pattern: str
    example: str
    emotion_codes: Mapping[str, str]
    speaker_codes: Mapping[str, str] = field(default_factory=dict)
    intensity_codes: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    clip: str = "{stem}"
    folder: str = ""
    refused: tuple[Mapping[str, str], ...] = ()
    adapt: Callable[[Said], Said] = dict

    def labels(self, root: Path) -> Iterator[Label | Skipped]:
        """Yield what the path of each sound file says."""
        folder = root / self.folder
        yield from map(self.parse, sound_files(folder if folder.is_dir() else root))

    def parse(self, path: Path) -> Label | Skipped:
        """Read a sound file's path."""
        where = (path.parent / path.stem).as_posix()
        for other in self.refused:
            if _ends(other["pattern"], where):
                return Skipped(path, other["reason"])
        match = _ends(self.pattern, where)
        if match is None:
            return Skipped(path, f"its path isn't like {self.example}")
        if path.suffix.lower() in CONTAINERS and path.with_suffix(".wav").exists():
            return Skipped(path, "its converted copy beside it is read instead")
        said = self.adapt(match.groupdict(""))
        books = {"speaker": self.speaker_codes, "emotion": self.emotion_codes, "text": self.texts}
        books["intensity"] = self.intensity_codes and {**self.intensity_codes, "": ""}
        for name, book in books.items():
            if book and said.get(name, "") not in book:
                return Skipped(path, f"unknown {name} {said.get(name, '')!r}")
        text = said.get("text", "")
        return Label(
            path, self.clip.format(stem=path.stem, **match.groupdict("")), said["speaker"],
            self.emotion_codes[said["emotion"]], said["emotion"],
            gender=GENDERS.get(said.get("gender", "").lower(), self.speaker_codes.get(said["speaker"], "")),
            intensity=self.intensity_codes.get(said.get("intensity", ""), ""),
            text_id=said.get("text_id", text), text=said.get("words", self.texts.get(text, "")),
            language=said.get("language", self.card.language),
            extra={name: said[name] for name in match.groupdict() if name not in _FIELDS},
        )  # fmt: skip


def _ends(pattern: str, where: str) -> re.Match[str] | None:
    return re.fullmatch(f"(?:.*/)?(?:{pattern})", where, re.DOTALL)


def _one_neutral(said: Said) -> Said:
    """Leave the level out where the emotion has one only."""
    return said | {"intensity": ""} if said["emotion"] in ("N", "neutral") else said


def _ased(said: Said) -> Said:
    emotion, text = said["emotion"].lower(), said["text"]
    text_id = text if text < "03" else emotion + text  # later sentences are another emotion's own
    return said | {"emotion": emotion, "gender": "fm"[int(said["gender"]) - 1], "text_id": text_id}


def _esd(said: Said) -> Said:
    language = "zh" if said["speaker"] <= "0010" else "en"
    return said | {"language": language, "text_id": f"{language}{(int(said['text']) - 1) % 350 + 1:03d}"}


def _asvp_esd(said: Said) -> Said:
    return said | {
        "vocal": {"01": "speech", "02": "non-speech"}[said["vocal"]],
        "speaker": f"{int(said['speaker']):03d}", "gender": "mf"[int(said["gender"]) % 2],
        "intensity": said["intensity"] if said["intensity"] in ("01", "02") else "",
    }  # fmt: skip


def _tess(said: Said) -> Said:
    speaker = "OAF" if said["speaker"] == "OA" else said["speaker"]
    return said | {"speaker": speaker, "words": f"Say the word {said['text']}."}


#: Where codes mean something else than they say.
_ADAPT: dict[str, Callable[[Said], Said]] = {
    "mead": lambda said: _one_neutral(said) | {"text_id": f"{said['emotion']}_{said['text']}"},
    "savee": lambda said: said | {"text_id": said["emotion"] + said["text"]},
    "emov-db": lambda said: said | {"emotion": said["emotion"].lower()},
    "turev-db": lambda said: said | {"words": said["text"]},
    "cafe": _one_neutral, "tess": _tess, "ased": _ased, "esd": _esd, "asvp-esd": _asvp_esd,
}  # fmt: skip


def _entry(told: dict[str, Any]) -> dict[str, Any]:
    """Return what the file says of a corpus, with its codes as mappings and its lists as tuples."""
    lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
    return told | lists | {key: _codes(told[key]) for key in told if key.endswith("_codes")}


def _told(kind: type, entry: dict[str, Any]) -> dict[str, Any]:
    """Return what an entry says of a dataclass's fields."""
    return {one.name: entry[one.name] for one in fields(kind) if one.name in entry}


with Path(__file__).with_suffix(".yaml").open(encoding="utf-8") as _file:
    _ENTRIES = {name: _entry(told) for name, told in yaml.safe_load(_file).items()}
#: Each corpus's card, in the order in which they are listed.
CARDS = {name: CorpusInfo(name, **_told(CorpusInfo, entry)) for name, entry in _ENTRIES.items()}
#: The corpora whose names say what each clip is.
CORPORA = {
    name: NamedCorpus(CARDS[name], adapt=_ADAPT.get(name, dict), **_told(NamedCorpus, entry))
    for name, entry in _ENTRIES.items()
    if "pattern" in entry
}
#: What each corpus's codes of emotions mean.
CODES: dict[str, dict[str, str]] = {name: entry.get("emotion_codes", {}) for name, entry in _ENTRIES.items()}
#: Where those are that a program may fetch; `emolib.corpora.fetch.Source` says what each key means.
ARCHIVES = {name: entry["archive"] for name, entry in _ENTRIES.items() if entry.get("archive")}
