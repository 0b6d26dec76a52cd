"""Corpora from their publishers, verified and unpacked; for those that a licence guards, the way to get them.

What a publisher states of a file is checked. RAVDESS: Zenodo's size and md5 in record 1188976. CREMA-D: the
sha256 and size in the Git LFS pointer of each clip. nEMO: a fixed commit. No checksum is published for the
archives of EmoDB, nEMO and CREMA-D: the first download's sha256 is recorded, and a later download has to
agree.

A corpus's folder has a `.fetch/` that holds what isn't finished, the recorded checksums, and `done` when all
is; take `done` and `unpacked` away to download again.
"""

import re
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from emolib import paths
from emolib.corpora import info
from emolib.corpora.download import FetchError, Remote, download
from emolib.corpora.scan import sound_files
from emolib.corpora.unpack import unpack

_POINTER = re.compile(r"version https://git-lfs\S+\noid (sha256:[0-9a-f]{64})\nsize ([0-9]+)\n?")


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from.

    Attributes
    ----------
    archive : Remote
    exclude : tuple of str; folders in it that aren't needed
    lfs : str or None; where those files lie that the archive has as Git LFS pointers only
    """

    archive: Remote
    exclude: tuple[str, ...] = ()
    lfs: str | None = None


_GITHUB = "https://github.com"
SOURCES = {
    "ravdess": Source(
        Remote(
            "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            "Audio_Speech_Actors_01-24.zip",
            208_468_073,
            "md5:bc696df654c87fed845eb13823edef8a",
        )
    ),
    "emodb": Source(Remote("https://emodb.bilderbar.info/download/download.zip", "emodb.zip")),
    "nemo": Source(
        Remote(f"{_GITHUB}/amu-cai/nEMO/archive/06f1f83dde8f1a780443a57d53b2af3971af34ab.zip", "nemo.zip")
    ),
    "crema-d": Source(
        Remote(f"{_GITHUB}/CheyneyComputerScience/CREMA-D/archive/refs/heads/master.zip", "crema-d.zip"),
        exclude=("AudioMP3", "VideoFlash"),
        lfs="https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master",
    ),
}


def fetch(name: str, root: str | Path | None = None, progress: bool = True) -> Path:
    """Download a corpus from its publisher; a second call finds it there, an interrupted one is gone on with.

    Parameters
    ----------
    name : str
        One of `corpora.names()`.
    root : str or Path, optional
        Where to put it; `paths.corpus(name)` by default.
    progress : bool
        Show bars on a terminal.

    Returns
    -------
    root : Path
        The folder for `corpora.load`.

    Raises
    ------
    ValueError
        If there is no such corpus.
    FetchError
        If it can't be scripted (the message says how to get it), if the folder already holds somebody's copy,
        or if the download fails or isn't what the publisher states.
    """
    card = info(name)
    place = (Path(root).expanduser() if root is not None else paths.corpus(name)).absolute()
    if name == "demo":
        from emolib import demo  # renders speech: only whoever asks for it should wait for its libraries

        return demo.build(None if root is None else place)
    if name not in SOURCES:
        raise FetchError(
            f"{name}: no program may fetch it; get {card.title} {card.source}, unpack it in {place}"
        )
    state = place / ".fetch"
    if (state / "done").exists():
        return place
    if place.is_dir() and not state.exists() and sound_files(place):
        raise FetchError(
            f"{name}: {place} holds sound that `fetch` didn't put there; name another with --root"
        )
    try:
        _bring(SOURCES[name], place, state, progress)
    except FetchError as error:
        raise FetchError(f"{name}: {error} (publisher: {card.source})") from None
    return place


def _bring(source: Source, place: Path, state: Path, progress: bool) -> None:
    """Download and unpack, each once; then fetch what the archive only points to."""
    if not (state / "unpacked").exists():
        archive = download(source.archive, state, progress=progress)
        unpack(archive, place, source.exclude)
        (state / "unpacked").touch()
        archive.unlink()
    if source.lfs:
        _resolve_pointers(place, source.lfs, state / "lfs", progress)
    (state / "done").touch()


def _resolve_pointers(place: Path, url: str, folder: Path, progress: bool) -> None:
    """Put in each Git LFS pointer's place the file that it stands for."""
    pointers = [(path, remote) for path in sound_files(place) if (remote := _pointer(path, place, url))]
    with ThreadPoolExecutor(8) as pool:
        waiting = [(path, pool.submit(download, remote, folder, progress=False)) for path, remote in pointers]
        try:
            for path, future in tqdm(waiting, "clips", unit="clip", disable=None if progress else True):
                future.result().replace(path)
        except FetchError:
            pool.shutdown(cancel_futures=True)
            raise


def _pointer(path: Path, place: Path, url: str) -> Remote | None:
    """Return what a Git LFS pointer stands for, None for a file that is none."""
    if path.stat().st_size > 1024:
        return None
    match = _POINTER.fullmatch(path.read_text(encoding="ascii", errors="replace"))
    if match is None:
        return None
    target = f"{url}/{urllib.parse.quote(path.relative_to(place).as_posix())}"
    return Remote(target, path.name, int(match[2]), match[1])
