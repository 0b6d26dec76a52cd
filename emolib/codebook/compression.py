"""What coding makes of clips: a codebook of some speakers, streams and their bits, drift of the others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import audio, encoders, paths
from emolib.codebook import measures
from emolib.codebook.quantizer import ResidualQuantizer
from emolib.files import write_file
from emolib.store import FeatureStore

#: A codebook is trained on so many clips at most, and on so many rows for each code.
_MOST_CLIPS, _ROWS_PER_CODE = 2000, 64


@dataclass(frozen=True)
class Coded:
    """Clips before and after their streams.

    Attributes
    ----------
    bits : int; of the streams
    before, after : list of arrays, (T, D) each, one a clip
    """

    bits: int
    before: list[NDArray]
    after: list[NDArray]

    @property
    def n_rows(self) -> int:
        """Rows of all clips."""
        return sum(map(len, self.before))

    def part(self, clips: Iterable[int]) -> "Coded":
        """Return some of the clips, by number; the bits stay those of all."""
        chosen = list(clips)
        return Coded(self.bits, [self.before[i] for i in chosen], [self.after[i] for i in chosen])

    def change(self, origin: NDArray) -> dict[str, float]:
        """Return `measures.change` of all rows as seen from an origin; NaN where there are none."""
        if not self.before:
            return dict.fromkeys(("similarity", "distortion", "shrinking"), float("nan"))
        return measures.change(np.concatenate(self.before), np.concatenate(self.after), origin)

    def drift(self, labels: NDArray) -> pd.DataFrame:
        """Return each emotion's shrinking, and the class that it drifted to most: towards, and share.

        No rows where there are fewer than two emotions.
        """
        if len(set(labels.tolist())) < 2:  # also where no clip is held out
            return pd.DataFrame(columns=["shrinking", "towards", "share"])
        X, X_hat = (np.stack([rows.mean(axis=0) for rows in part]) for part in (self.before, self.after))
        moved = measures.drift(X, X_hat, labels, measures.class_centroids(X, labels))
        toward = pd.DataFrame(moved.toward, columns=moved.classes).groupby(labels).mean()
        others = toward.mask(toward.columns.to_numpy() == toward.index.to_numpy()[:, None])
        shrinking = pd.Series(moved.shrinking).groupby(labels).mean()
        columns = {"shrinking": shrinking, "towards": others.idxmax(axis=1), "share": others.max(axis=1)}
        return pd.DataFrame(columns).loc[moved.classes]


def rows_of(store: FeatureStore, clips: pd.DataFrame, layer: int, pooled: bool) -> Iterator[NDArray]:
    """Yield what is coded of each clip: its frames, (T, D), or their mean, (1, D)."""
    for clip in clips["clip"]:
        yield store.pooled(layer, clips=[clip]) if pooled else store.frames(clip, layer)


def rows_of_file(
    path: Path, encoder: str, layer: int, pooled: bool, device: str = "auto"
) -> tuple[NDArray, float]:
    """Return what is coded of a sound file, and its length in seconds."""
    network = encoders.load(encoder, layers=[layer], device=device)
    wave, _ = audio.load(path, network.sample_rate)
    frames = network.encode([wave], network.sample_rate)[0][0]
    return frames.mean(axis=0, keepdims=True) if pooled else frames, len(wave) / network.sample_rate


def train(
    store: FeatureStore, clips: pd.DataFrame, layer: int, pooled: bool, n_stages: int, n_codes: int, seed: int
) -> ResidualQuantizer:
    """Train a codebook on half of the speakers, a single one's all; its provenance names them."""
    speakers = np.random.default_rng(seed).permutation(np.unique(clips["speaker"]))
    taught = clips[clips["speaker"].isin(speakers[: (len(speakers) + 1) // 2])]
    rng = np.random.default_rng(seed)
    chosen = taught.iloc[rng.permutation(len(taught))[:_MOST_CLIPS]]
    X = rng.permutation(np.concatenate(list(rows_of(store, chosen, layer, pooled))))[
        : _ROWS_PER_CODE * n_codes
    ]
    book = ResidualQuantizer(n_stages, min(n_codes, max(1, len(X) // 4)), seed=seed).fit(X)
    book.provenance_ |= {"corpus": str(taught["corpus"].iloc[0]), "speakers": sorted(set(taught["speaker"]))}
    return book


def code(
    book: ResidualQuantizer, clips: Iterable[NDArray], lam: float, streams: Iterable[Path] | None = None
) -> Coded:
    """Compress each clip's rows, (T, D), and decode them again; write the streams where files are named."""
    before, after, bits = [], [], 0
    names = iter(streams or ())
    for rows in clips:
        data = book.compress(rows, lam)
        if place := next(names, None):
            write_file(place, data)
        before.append(rows)
        after.append(book.decompress(data))
        bits += 8 * len(data)
    return Coded(bits, before, after)


def stream_of(folder: Path, clip: str) -> Path:
    """Return the file of a clip's stream in a folder."""
    return folder / f"{paths.folder_name(clip)}.emoq"
