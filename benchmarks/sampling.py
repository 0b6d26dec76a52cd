"""Twenty steps of DPM-Solver++ against a thousand of DDPM, on one generator.

``python benchmarks/sampling.py [FOLDER]`` takes the generator in FOLDER, by default one trained here on half
of the demo corpus's speakers. Both samplers get the same classes, guidance and number of clips. The judge is
a linear discriminant on the mean and deviation of each mel band, fitted on real clips of the other half, with
which a generator in FOLDER must not be trained either. The ceiling is its accuracy on the real clips that the
generator learned from; the Frechet distance is in the same features, from those clips.
"""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from emolib import corpora, generate, metrics, paths, steering
from emolib.generate import Generator, Mels, Normaliser, quality

FOLDER = "generator-demo-half"
GUIDANCE = 2.0
SAMPLERS = {"dpm": ("dpm++", 20), "ddpm": ("ddpm", 1000)}


def speech() -> tuple[Mels, Mels]:
    """Return the demo corpus's clips that the generator learns from, and those that the judge learns from."""
    manifest = corpora.load("demo")
    mels, _ = generate.load_mels(manifest)
    judges = np.isin(mels.speakers, steering.roles(manifest).judges)
    return mels.take(~judges), mels.take(judges)


def statistics(mels: Mels, normaliser: Normaliser) -> NDArray[np.float64]:
    """Return mean and spread over time of each band, (N, 256)."""
    values, weight = normaliser.apply(mels).astype(np.float64), mels.mask[:, None].astype(np.float64)
    n_frames = weight.sum(2)
    mean = (values * weight).sum(2) / n_frames
    spread = np.sqrt((np.square(values - mean[..., None]) * weight).sum(2) / n_frames)
    return np.concatenate([mean, spread], axis=1)


def measure(folder: Path | None = None, n_each: int = 4, seed: int = 0) -> dict[str, float]:
    """Return how much faster the twenty steps are, and how much worse.

    Parameters
    ----------
    folder : Path, optional; n_each : int; clips of each class; seed : int

    Returns
    -------
    metrics : dict
        sampling_speedup: seconds of DDPM over seconds of DPM-Solver++; sampling_ua_NAME: clips recognised as
        their class, 1 / 6 by chance, with the bounds of its interval over clips; sampling_fid_NAME:
        Frechet distance from the real clips, with its bounds where these are of five speakers or more;
        sampling_ua_real: of the real clips that the generator learned from, the ceiling.
    """
    train, others = speech()
    place = folder or paths.models() / FOLDER
    generator = Generator.load(place) if folder else generate.train(train, place, generate.Settings.quick())
    normaliser = Normaliser.fit(train)
    real = statistics(train, normaliser)
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2)
    judge.fit(statistics(others, normaliser), others.labels)
    labels = np.repeat(generator.classes, n_each)
    found = {"sampling_ua_real": metrics.unweighted_accuracy(train.labels, judge.predict(real))}
    seconds = {}
    for name, (sampler, steps) in SAMPLERS.items():
        started = time.perf_counter()
        made = generator.sample(labels, sampler=sampler, steps=steps, guidance=GUIDANCE, seed=seed)
        seconds[name] = time.perf_counter() - started
        features = statistics(made, normaliser)
        ua = metrics.speaker_bootstrap(
            metrics.unweighted_accuracy, labels, judge.predict(features), np.arange(len(labels))
        )
        distance = quality.frechet_distance(real, features, speakers=train.speakers)
        for measured, interval in (("ua", ua), ("fid", distance)):
            found |= {
                f"sampling_{measured}_{name}": interval.value,
                f"sampling_{measured}_{name}_low": interval.low,
                f"sampling_{measured}_{name}_high": interval.high,
            }
    known = {name: value for name, value in found.items() if not np.isnan(value)}
    return {"sampling_speedup": seconds["ddpm"] / seconds["dpm"], **known}


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, value in measure(given, n_each=int(sys.argv[2]) if len(sys.argv) > 2 else 16).items():
        print(f"{name:24s} {value:.6g}")
