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

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import joblib
import numpy as np
from tqdm import tqdm

from emolib import audio, emotions, files, paths, threads, world
from emolib.audio import Wave
from emolib.demo import espeak, speech
from emolib.demo.speech import RULES, VOICES, Rule, Voice, render

__all__ = ["ANCHORS", "RULES", "SENTENCES", "VOICES", "Clip", "Rule", "Voice", "build", "plan", "render"]

SAMPLE_RATE = 22_050
SEED = 0
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
    *,
    voices: Sequence[Voice] = VOICES,
    sentences: Sequence[str] = tuple(SENTENCES),
    takes: int = 2,
    emotion_words: Sequence[str] = tuple(ANCHORS),
    seed: int = SEED,
) -> list[Clip]:
    """List the clips of the corpus, or of a part of it, with the truth about each.

    Raises
    ------
    ValueError
        If a sentence or an emotion is not in the corpus, or nothing is left of it.
    """
    for word in emotion_words:
        if emotions.check(word) not in ANCHORS:
            raise ValueError(
                f"emotion {word!r} is not in the demo corpus; expected one of: {', '.join(ANCHORS)}"
            )
    for text_id in sentences:
        if text_id not in SENTENCES:
            raise ValueError(f"unknown sentence {text_id!r}; expected one of: {', '.join(SENTENCES)}")
    clips = [
        Clip(name, voice, text_id, word, *_draw_affect(word, speech.generator(seed, name)))
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
    root: Path | None = None,
    *,
    voices: Sequence[Voice] = VOICES,
    sentences: Sequence[str] = tuple(SENTENCES),
    takes: int = 2,
    emotion_words: Sequence[str] = tuple(ANCHORS),
    seed: int = SEED,
    jobs: int | None = None,
    progress: bool = False,
) -> Path:
    """Render the corpus, unless it stands there already.

    Parameters
    ----------
    root : Path, optional
        ``data/demo`` by default. A demo corpus of other clips there is replaced; anything else is refused.
    voices, sentences, takes, emotion_words, seed
        The part to render; all of it, 672 clips, by default.
    jobs : int, optional
        Processes; one per core by default, whatever else this run does: it waits for the corpus as well.
    progress : bool
        Show a bar on stderr.

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
    clips = plan(voices=voices, sentences=sentences, takes=takes, emotion_words=emotion_words, seed=seed)
    return files.build_folder(
        Path(root) if root is not None else paths.data() / "demo",
        _STAMP,
        _recipe(clips, seed),
        lambda folder: _write(folder, clips, seed=seed, jobs=jobs, progress=progress),
    )


def _write(folder: Path, clips: list[Clip], *, seed: int, jobs: int | None, progress: bool) -> None:
    """Render every clip into a new folder; only this process writes, so a killed build writes no more."""
    groups: dict[tuple[Voice, str], list[Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.voice, clip.text_id), []).append(clip)
    jobs = min(jobs or joblib.cpu_count(), len(groups))
    rendered = threads.processes(partial(_render_group, seed=seed), groups.values(), jobs)
    with tqdm(total=len(clips), desc="demo corpus", unit="clip", disable=not progress) as bar:
        for group, waves in zip(groups.values(), rendered, strict=True):
            for clip, wave in zip(group, waves, strict=True):
                audio.write(folder / clip.path, wave, SAMPLE_RATE)
            bar.update(len(group))
    with (folder / "demo.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(clips[0].row()))
        table.writeheader()
        table.writerows(clip.row() for clip in clips)
    (folder / "README.txt").write_text(_README.format(clips=len(clips)), encoding="utf-8")


def _render_group(group: list[Clip], seed: int) -> list[Wave]:
    """Render the clips that share a voice and a sentence, and so one analysis."""
    return [
        render(
            clip.voice, SENTENCES[clip.text_id], clip.emotion, clip.valence, clip.arousal,
            name=clip.clip, seed=seed,
        )[0]
        for clip in group
    ]  # fmt: skip


def _draw_affect(emotion: str, rng: np.random.Generator) -> tuple[float, float]:
    """Draw valence and arousal around an emotion's anchor, rounded as the table shows them."""
    point = np.clip(np.array(ANCHORS[emotion]) + ANCHOR_SD * rng.standard_normal(2), -1, 1)
    return round(float(point[0]), 4), round(float(point[1]), 4)


def _recipe(clips: list[Clip], seed: int) -> dict[str, object]:
    """Return everything that decides what a corpus sounds like."""
    modules = (Path(module.__file__ or "") for module in (audio, espeak, world, speech))
    code = files.code_digest({path.name: path for path in [*modules, Path(__file__)]})
    libraries = {name: metadata.version(name) for name in ("espeakng-loader", "pyworld-prebuilt", "numpy")}
    return {
        "clips": len(clips),
        "seed": seed,
        **libraries,
        "sha256": sha256(repr((clips, seed, code)).encode()).hexdigest(),
    }


_README = """Synthesised speech: no person speaks here.

{clips} clips made by emolib (emolib/demo) with espeak-ng and WORLD. Emotion, valence and arousal in
demo.csv are the settings that each clip was made from by rule (emolib/demo/speech.py), not the judgement of
listeners. Use it to try the tools; draw no conclusion about people from it.
"""
