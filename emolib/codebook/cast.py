"""Who speaks and who judges: voices of a corpus of parallel sentences, each in one role a fold.

The stage before `emolib.codebook.spoken`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import audio, emotions, prosody, splits, threads
from emolib.audio import Wave
from emolib.codebook import conditioning, study
from emolib.prosody import Contours, ProsodyTransform, Recording


class Judge(Protocol):
    """What hears: as `ser.Judge`."""

    classes_: NDArray

    def predict_proba(self, waves: Sequence[Wave], sample_rate: int) -> NDArray[np.float64]:
        """Return each wave's probabilities, (N, C)."""
        ...


@dataclass(frozen=True)
class Cast:
    """Who speaks and who judges in one fold.

    Attributes
    ----------
    transforms : dict of emotion to ProsodyTransform, all from one emotion, learned from the makers
    carriers : dict of speaker to a clip of that emotion taken apart; none of them a maker
    judge : Judge; trained on neither
    """

    transforms: dict[str, ProsodyTransform]
    carriers: dict[str, tuple[Recording, Contours]]
    judge: Judge

    @property
    def home(self) -> str:
        """The emotion that carriers are spoken in."""
        return next(iter(self.transforms.values())).source

    @property
    def names(self) -> list[str]:
        """The emotions that can be rendered."""
        return emotions.ordered([self.home, *self.transforms])

    @property
    def sample_rate(self) -> int:
        """Sampling rate of what is said, in Hz."""
        return next(iter(self.carriers.values()))[0].sample_rate

    def voice_of(self, speaker: str, among: Sequence[str]) -> str:
        """Return the carrier that stands for a speaker: the speaker, or else one by turns."""
        voices = list(self.carriers)
        return speaker if speaker in voices else voices[sorted(among).index(speaker) % len(voices)]

    def say(self, voice: str, wanted: Mapping[str, float] | pd.Series) -> Wave:
        """Return a carrier with shares of emotions, at its own level."""
        recording, seen = self.carriers[voice]
        speech = conditioning.blend(wanted, self.transforms).apply(recording.speech, 1.0, seen)
        return audio.level(prosody.resynthesise(recording, speech), audio.rms_dbfs(recording.wave))


def casts(
    voices: pd.DataFrame,
    folds: Sequence[splits.Fold],
    judge_of: Callable[[NDArray[np.intp]], Judge],
    *,
    home: str = "neutral",
    n_sentences: int = 3,
    seed: int = 0,
) -> list[Cast]:
    """Cast the speakers of a corpus of parallel sentences, fold by fold, as ``hold_out(apart=True)`` does.

    Parameters
    ----------
    voices : DataFrame; manifest, with text_id
    folds : list of (train, test); those in test speak
    judge_of : callable; trains a judge on rows of the manifest
    home : str; the emotion that everything starts from
    n_sentences : int; transforms learn from one take each of so many sentences
    seed : int; of the halves that make and that judge
    """
    sentences = sorted(voices["text_id"].unique())[:n_sentences]
    takes = voices[voices["text_id"].isin(sentences)].drop_duplicates(["speaker", "text_id", "emotion"])
    analysed = prosody.renditions(takes)
    speakers, made = voices["speaker"].to_numpy(), []
    for train, test in folds:
        makers, judges = study.halves(train, speakers, seed)
        own = takes[takes["speaker"].isin(set(speakers[makers]))]
        transforms = {
            name: ProsodyTransform(home, name).fit(prosody.pairs(own, home, name, analysed=analysed).pairs)
            for name in emotions.ordered(set(own["emotion"]) - {home})
        }
        spoken = voices.iloc[test]
        plain = spoken[spoken["emotion"] == home].drop_duplicates("speaker")
        carriers = {}
        for row in plain.to_dict("records"):
            recording = prosody.record(*audio.load_clip(row))
            carriers[str(row["speaker"])] = (recording, prosody.contours(recording.speech))
        made.append(Cast(transforms, carriers, judge_of(judges)))
    return made


def perform(cast: Cast, wanted: pd.DataFrame) -> pd.DataFrame:
    """Say and judge.

    Parameters
    ----------
    cast : Cast
    wanted : DataFrame; a column for each of `cast.names` with its share, and voice; others are kept

    Returns
    -------
    table : DataFrame; the other columns, wave, and heard: a dict of emotion to the judge's probability
    """
    distinct = wanted[["voice", *cast.names]].drop_duplicates()  # few bits leave few different embeddings
    ended: list[Any] = threads.each(partial(_perform, cast), distinct.to_dict("records"))
    number = dict(zip(map(tuple, distinct.to_numpy()), range(len(distinct)), strict=True))
    which = [number[tuple(row)] for row in wanted[["voice", *cast.names]].to_numpy()]
    table = wanted.drop(columns=cast.names).reset_index(drop=True)
    table["wave"] = [ended[i][0] for i in which]
    return table.assign(heard=[ended[i][1] for i in which])


def _perform(cast: Cast, row: dict[str, Any]) -> tuple[Wave, dict[str, float]]:
    wave = cast.say(row["voice"], {name: row[name] for name in cast.names})
    chances = cast.judge.predict_proba([wave], cast.sample_rate)[0]
    return wave, dict(zip(map(str, cast.judge.classes_), chances.tolist(), strict=True))
