"""The demo corpus: synthesised emotional speech whose arousal and valence are known.

Eight voices say six sentences in seven emotions, twice. Every clip's valence and arousal are drawn around its
emotion's anchor, and the rules of `speech` turn them into sound. It replaces recorded speech in tests and
examples, and is no evidence about people: a probe of it finds the rules that made it.

References
----------
Calm, which the anchors of `emotions` lack, lies in the pleasant, sleepy quadrant of J. A. Russell (1980), "A
circumplex model of affect", Journal of Personality and Social Psychology 39(6), 1161-1178; the numbers are
this project's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from itertools import chain, groupby
from pathlib import Path
from types import MappingProxyType

import joblib
import numpy as np
import pandas as pd

from emolib import audio, emotions, files, paths, threads, world
from emolib.audio import Wave
from emolib.demo import espeak, speech
from emolib.demo.speech import RULES, SEED, VOICES, Rule, Voice, render

__all__ = ["ANCHORS", "RULES", "SENTENCES", "VOICES", "Clip", "Rule", "Voice", "build", "plan", "render"]

SAMPLE_RATE = 22_050
#: Spread of valence and of arousal around an emotion's anchor.
ANCHOR_SD = 0.14
_STAMP = "demo.json"

_WORDS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust")
_CALM = {"calm": emotions.Anchor(valence=0.3, arousal=-0.5)}
ANCHORS: Mapping[str, emotions.Anchor] = MappingProxyType(
    {word: (emotions.ANCHORS["iemocap"] | _CALM)[word] for word in _WORDS}
)

#: Neutral in content, so that only the voice tells the emotion.
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "s1": "The bus leaves from the north gate at nine.",
        "s2": "She put the blue folder on the table.",
        "s3": "There are seven books on the lower shelf.",
        "s4": "He walked along the river to the station.",
        "s5": "The meeting has moved to the second floor.",
        "s6": "We will paint the garden wall in the morning.",
    }
)


@dataclass(frozen=True)
class Clip:
    """One clip that is to be rendered; its attributes are the columns of the corpus's table."""

    clip: str
    voice: Voice
    text_id: str
    emotion: str
    valence: float
    arousal: float

    @property
    def path(self) -> str:
        """The sound file's path below the corpus's folder."""
        return f"{self.voice.speaker}/{self.clip}.flac"

    @property
    def intensity(self) -> str:
        """``"strong"`` where the clip lies further out than its emotion's anchor, else ``"normal"``."""
        anchor = ANCHORS[self.emotion]
        reach = self.valence * anchor.valence + self.arousal * anchor.arousal
        return "strong" if reach > anchor.valence**2 + anchor.arousal**2 > 0 else "normal"

    def row(self) -> dict[str, object]:
        """The clip's row of the corpus's table."""
        return {
            "clip": self.clip, "path": self.path, "speaker": self.voice.speaker, "gender": self.voice.gender,
            "emotion": self.emotion, "intensity": self.intensity, "text_id": self.text_id,
            "text": SENTENCES[self.text_id], "language": "en", "arousal": self.arousal,
            "valence": self.valence, "dominance": math.nan,
        }  # fmt: skip


def plan(
    *, voices: Sequence[Voice] = VOICES, sentences: Sequence[str] = tuple(SENTENCES), takes: int = 2,
    emotion_words: Sequence[str] = tuple(ANCHORS),
) -> list[Clip]:  # fmt: skip
    """List the clips of the corpus, or of a part of it, with the truth about each.

    Raises
    ------
    ValueError
        If a sentence or an emotion is not in the corpus, or nothing is left of it.
    """
    parts = (("emotion", emotion_words, ANCHORS), ("sentence", sentences, SENTENCES))
    for kind, given, known in parts:
        if unknown := [word for word in given if word not in known]:
            raise ValueError(
                f"{kind} {unknown[0]!r} is not in the demo corpus; expected one of: {', '.join(known)}"
            )
    clips = [
        Clip(name, voice, text_id, word, *_draw_affect(word, speech.generator(name)))
        for voice in voices
        for text_id in sentences
        for word in emotion_words
        for take in range(1, takes + 1)
        for name in [f"{voice.speaker}-{word}-{text_id}-t{take}"]
    ]
    if not clips:
        raise ValueError(f"an empty corpus: {len(voices)} voices, {len(sentences)} sentences, {takes} takes")
    return clips


def build(
    root: Path | None = None, *, voices: Sequence[Voice] = VOICES,
    sentences: Sequence[str] = tuple(SENTENCES), takes: int = 2,
    emotion_words: Sequence[str] = tuple(ANCHORS), jobs: int | None = None,
) -> Path:  # fmt: skip
    """Render the corpus, unless it stands there already.

    Parameters
    ----------
    root : Path, optional
        ``data/demo`` by default. A demo corpus of other clips there is replaced; anything else is refused.
    voices, sentences, takes, emotion_words
        The part to render; all of it, 672 clips, by default.
    jobs : int, optional
        Processes; one per core by default, whatever else this run does: it waits for the corpus as well.

    Returns
    -------
    Path
        The folder: one FLAC file a clip in one folder a speaker, ``demo.csv``, ``demo.json`` (what it was
        made with) and ``README.txt``. Written whole or not at all (`files.build_folder`).

    Raises
    ------
    ValueError
        If the folder holds something else, or as `plan` does.
    """
    clips = plan(voices=voices, sentences=sentences, takes=takes, emotion_words=emotion_words)
    place = Path(root) if root is not None else paths.data() / "demo"
    return files.build_folder(place, _STAMP, _recipe(clips), lambda folder: _write(folder, clips, jobs))


def _write(folder: Path, clips: list[Clip], jobs: int | None) -> None:
    """Render every clip into a new folder; only this process writes, so a killed build writes no more."""
    groups = [list(group) for _, group in groupby(clips, lambda clip: (clip.voice, clip.text_id))]
    jobs = min(jobs or joblib.cpu_count(), len(groups))
    waves = chain.from_iterable(threads.processes(_render_group, groups, jobs))
    for clip, wave in zip(clips, waves, strict=True):
        audio.write(folder / clip.path, wave, SAMPLE_RATE)
    table = pd.DataFrame([clip.row() for clip in clips])
    table.to_csv(folder / "demo.csv", index=False, na_rep="nan", lineterminator="\r\n")
    (folder / "README.txt").write_text(_README.format(clips=len(clips)), encoding="utf-8")


def _render_group(group: list[Clip]) -> list[Wave]:
    """Render the clips that share a voice and a sentence, and so one analysis."""
    return [
        render(c.voice, SENTENCES[c.text_id], c.emotion, c.valence, c.arousal, name=c.clip)[0] for c in group
    ]


def _draw_affect(emotion: str, rng: np.random.Generator) -> tuple[float, float]:
    """Draw valence and arousal around an emotion's anchor, rounded as the table shows them."""
    point = np.clip(np.array(ANCHORS[emotion]) + ANCHOR_SD * rng.standard_normal(2), -1, 1)
    return round(float(point[0]), 4), round(float(point[1]), 4)


def _recipe(clips: list[Clip]) -> dict[str, object]:
    """Return everything that decides what a corpus sounds like."""
    modules = (Path(module.__file__ or "") for module in (audio, espeak, world, speech))
    code = files.code_digest({path.name: path for path in [*modules, Path(__file__)]})
    libraries = {name: metadata.version(name) for name in ("espeakng-loader", "pyworld-prebuilt", "numpy")}
    return {
        "clips": len(clips), "seed": SEED, **libraries,
        "sha256": sha256(repr((clips, SEED, code)).encode()).hexdigest(),
    }  # fmt: skip


_README = """Synthesised speech: no person speaks here.

{clips} clips made by emolib (emolib/demo) with espeak-ng and WORLD. Emotion, valence and arousal in
demo.csv are the settings that each clip was made from by rule (emolib/demo/speech.py), not the judgement of
listeners. Use it to try the tools; draw no conclusion about people from it.
"""
