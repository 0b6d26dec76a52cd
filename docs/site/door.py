"""The page to play with: one file without server, kernel or network; numbers of people, synthetic sound.

On the plane stand EmoDB's clips, placed from categories alone by learners that never met their speakers. The
dial moves two voices of the demo corpus from neutral to six emotions: what nine positions sound like is
rendered here, and the page crosses from one to the next.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
import soundfile

from emolib import audio, av, corpora, emotions, features, paths, splits
from emolib.steering import shipped

CORPUS, ENCODER, LAYER = "emodb", "whisper-tiny.en", 2
VOICES = {"a woman's voice": "F1-neutral-s1-t1", "a man's voice": "M1-neutral-s1-t1"}
DELTAS = np.linspace(-1, 1, 9)
SAMPLE_RATE = 16_000


def build(to: Path) -> Path:
    """Write the page."""
    found = {
        "colours": dict(emotions.COLOURS),
        "plane": plane(),
        "deltas": DELTAS.tolist(),
        "voices": voices(),
    }
    page = Path(__file__).with_suffix(".html").read_text()
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(page.replace("{{found}}", json.dumps(found)))
    return to


def plane() -> list:
    """Return emotion, valence and arousal of each clip, its speaker held out; no sound."""
    [folder] = [place for place in paths.embeddings(CORPUS) if (place / "manifest.csv").is_file()][:1]
    clips = corpora.read(folder / "manifest.csv", paths=False)
    X = features.extract(clips, ENCODER).store.pooled(LAYER, "mean+std", clips["clip"])
    X = av.standardise_speakers(X, clips["speaker"])
    points = av.place({LAYER: X}, clips, splits.folds(clips, "loso"), anchors="joined").points.round(3)
    return [[word, *point] for word, point in zip(clips["emotion"], points.tolist(), strict=True)]


def voices() -> dict[str, dict[str, list[str]]]:
    """Return each voice's sounds, by target and position of the dial, as FLAC in base64."""
    clips, found = corpora.load("demo").set_index("clip"), {}
    steerers = {target: shipped.steerer("neutral", target) for target in shipped.TARGETS}
    for name, clip in VOICES.items():
        wave = audio.resample(*audio.load(clips.loc[clip, "path"]), SAMPLE_RATE)
        analysis = steerers["angry"].analyse(wave, SAMPLE_RATE)
        found[name] = {
            target: [_flac(steerer.render(analysis, float(delta))) for delta in DELTAS]
            for target, steerer in steerers.items()
        }
    return found


def _flac(wave: audio.Wave) -> str:
    file = io.BytesIO()
    soundfile.write(file, audio.level(wave, -23.0), SAMPLE_RATE, format="FLAC")
    return base64.b64encode(file.getvalue()).decode()
