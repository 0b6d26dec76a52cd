"""Vocoders against Griffin-Lim with 60 iterations, on speakers and a corpus that no network was trained on.

``python benchmarks/vocoder.py [FOLDER]`` prints one table: RAVDESS's actors 01 11 20 21 (EmoBox's first fold)
and EmoDB, where `EMOLIB_CORPORA` has them, else the demo corpus; a trained vocoder in FOLDER joins in, by
default the shipped one where there is one. `measure`, which ``emolib bench`` runs, takes a few clips only.
Each wave is turned into its log-mel-spectrogram and back. Intervals are bootstraps over speakers. Where
`make instruments` has installed it, DistillMOS, a network of others, gives its opinion of each wave and of
the natural one.
"""

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from emolib import audio, corpora, instruments, metrics, paths, quality, splits, vocoder
from emolib.audio import HIFIGAN_MEL, Wave

RATE = HIFIGAN_MEL.sample_rate
MEASURES = {
    "pesq": quality.pesq,
    "stoi": quality.stoi,
    "mcd_db": quality.mel_cepstral_distortion,
    "log_mel_l1": quality.log_mel_l1,
}
BASELINE, NATURAL, OPINION = "griffin-lim 60", "natural", "distillmos"
Vocode = Callable[[np.ndarray], Wave]


class Clip(NamedTuple):
    """A wave, (T * hop,), of a speaker."""

    corpus: str
    speaker: str
    wave: Wave


def vocoders(folder: Path) -> dict[str, Vocode]:
    """Return what is compared: two classics, and a network alone and refined where there is one."""
    ways: dict[str, Vocode] = {
        BASELINE: vocoder.GriffinLim(60).vocode,
        "mel-griffin-lim 60": vocoder.MelGriffinLim(60).vocode,
    }
    if (folder / vocoder.WEIGHTS).is_file():
        network = vocoder.HiFiGAN.load(folder)
        ways["network alone"] = lambda log_mel: network.vocode(log_mel, refine=0)
        ways[f"network + {network.refine}"] = network.vocode
    return ways


def clips(per_speaker: dict[str, int], seed: int = 0) -> list[Clip]:
    """Draw clips of the unseen speakers, as many of each as is said for the corpus."""
    rng, drawn = np.random.default_rng(seed), []
    for corpus, n_each in per_speaker.items():
        manifest = corpora.load(corpus)
        if corpus == "ravdess":
            manifest = manifest[manifest["speaker"].isin(splits.EMOBOX_RAVDESS[0])]
        for speaker, rows in manifest.groupby("speaker", sort=True):
            chosen = rng.permutation(rows["path"].to_numpy())[:n_each]
            drawn += [Clip(corpus, str(speaker), _load(path)) for path in chosen]
    return drawn


def _load(path: str) -> Wave:
    wave, _ = audio.load(path, RATE)
    return wave[: HIFIGAN_MEL.frames(len(wave)) * HIFIGAN_MEL.hop_length]


def score(drawn: Iterable[Clip], ways: dict[str, Vocode]) -> pd.DataFrame:
    """Return one row a clip and vocoder: its measures, and seconds of speech a second of work."""
    rows, is_heard = [], not instruments.missing("quality")
    for clip in drawn:
        log_mel, named = audio.log_mel(clip.wave, RATE), {"corpus": clip.corpus, "speaker": clip.speaker}
        if is_heard:
            rows.append(named | {"vocoder": NATURAL, OPINION: instruments.opinion([clip.wave], RATE)[0]})
        for name, vocode in ways.items():
            started = time.perf_counter()
            made = vocode(log_mel)
            realtime = len(made) / RATE / (time.perf_counter() - started)
            values = {measure: of(clip.wave, made, RATE) for measure, of in MEASURES.items()}
            if is_heard:
                values[OPINION] = instruments.opinion([made], RATE)[0]
            rows.append({**named, "vocoder": name, **values, "realtime": realtime})
    return pd.DataFrame(rows)


def table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each measure with its interval, by corpus and vocoder; real time as the median."""
    rows = {}
    for (corpus, name), group in scores.groupby(["corpus", "vocoder"], sort=False):
        speakers = group["speaker"].to_numpy()
        taken = [
            measure for measure in (*MEASURES, OPINION) if measure in group and group[measure].notna().any()
        ]
        cells = {measure: str(metrics.mean_interval(group[measure], speakers)) for measure in taken}
        rows[corpus, name] = {"n": len(group), **cells, "realtime": f"{group['realtime'].median():.1f}"}
    return pd.DataFrame(rows).T


def at_hand(per_speaker: dict[str, int]) -> dict[str, int]:
    """Return the corpora whose folders are there, else the demo corpus."""
    found = {name: n for name, n in per_speaker.items() if paths.corpus(name).is_dir()}
    return found or {"demo": 2}


def measure() -> dict[str, float]:
    """Return vocoder_realtime, and the default vocoder's and Griffin-Lim's measures on a few clips.

    ``vocoder_pesq`` over ``griffin_lim_pesq`` is what is gained; ``vocoder_realtime`` is in times real time.
    """
    drawn = clips(at_hand({"ravdess": 2, "emodb": 1}))
    scores = score(drawn, {BASELINE: vocoder.GriffinLim(60).vocode, "default": vocoder.load().vocode})
    medians = scores.groupby("vocoder")["realtime"].median()
    means = scores.groupby("vocoder").mean(numeric_only=True)
    opinions = means[OPINION].to_dict() if OPINION in means else {}
    return {
        "vocoder_realtime": float(medians["default"]),
        "griffin_lim_realtime": float(medians[BASELINE]),
        **{f"vocoder_{name}": float(means.loc["default", name]) for name in MEASURES},
        **{f"griffin_lim_{name}": float(means.loc[BASELINE, name]) for name in MEASURES},
        **{f"distillmos_{name.split()[0]}": float(value) for name, value in opinions.items()},
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else paths.models() / vocoder.TRAINED
    drawn = clips(at_hand({"ravdess": 6, "emodb": 3}))
    print(table(score(drawn, vocoders(folder))).to_string())
