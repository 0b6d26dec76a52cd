"""What a shift inside the network does to a probe above it, by layer, operator and strength.

    python benchmarks/long/steering_layers.py [LAYER ...]

RAVDESS by whisper-tiny.en; needs the corpus's audio. Three groups of actors take turns: one teaches the axes
from calm to angry (mean difference, by layer, from the shipped embeddings), one the probe of eight emotions
at the last layer, and clips of the third are moved: both sentences of each actor, normal intensity, first
repetition. Calm clips are moved towards angry, and the axis is projected out of angry ones. Beside the axis
there are five random directions of the same length. Writes the rows of these layers, all by
default, to data/results/ravdess-whisper-tiny.en/04_steering_layers.csv; rows of layers not named stay.
"""

import sys

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emolib import audio, corpora, embeddings, encoders, files, paths, probing, results, steering
from emolib.axis import EmotionAxis, apply_axes
from emolib.metrics import mean_interval

CORPUS, ENCODER, NAME, N_RANDOM = "ravdess", "whisper-tiny.en", "04_steering_layers", 5
#: Operator, whether the norm is kept, the emotion that is moved, and strengths of the axis and of the others.
WAYS = (
    ("add", False, "calm", (0.5, 1.0, 2.0), (1.0, 2.0)),
    ("add", True, "calm", (1.0, 2.0), ()),
    ("rotate", False, "calm", (0.5, 1.0, 2.0), (1.0, 2.0)),
    ("project_out", False, "angry", (0.5, 1.0), (1.0,)),
)


class Upper(torch.nn.Module):
    """The blocks of an encoder above a layer, so that those below need to run only once."""

    def __init__(self, encoder: encoders.TransformerEncoder, layer: int) -> None:
        super().__init__()
        # a hook on the first, which only passes on, moves the layer itself
        self.layers = torch.nn.ModuleList([torch.nn.Identity(), *encoder.network.layers[layer:]])

    @torch.inference_mode()
    def pooled(self, hidden: torch.Tensor, n_frames: int) -> NDArray[np.float64]:
        """Return the mean over a clip's frames, (D,), of the last layer, of a layer's states, (1, T, D)."""
        hidden = self.layers[0](hidden)
        for block in self.layers[1:]:
            out = block(hidden, None)
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden[0, :n_frames].double().mean(dim=0).numpy()


class Trial:
    """The clips, the states of each at each layer, and the probes of the three groups."""

    def __init__(self) -> None:
        self.manifest, self.encoder = corpora.load(CORPUS), encoders.load(ENCODER, device="cpu")
        self.store, clips = embeddings.open(CORPUS, ENCODER), self.manifest["clip"].tolist()
        self.X = {k: self.store.pooled(k, "mean", clips) for k in self.encoder.layers}
        self.groups = [turn.heard for turn in steering.rotations(self.manifest, 3)]
        self.y, self.top = self.manifest["emotion"].to_numpy(), max(self.encoder.layers)
        self.probes = [
            probing.make_probe().fit(self.X[self.top][rows], self.y[rows])
            for rows in (self._of_group(k + 1) for k in range(3))
        ]
        first = self.manifest["clip"].str.contains(r"-01-\d\d$") & (self.manifest["intensity"] == "normal")
        self.moved = self.manifest[first & np.isin(self.y, ["calm", "angry"])]
        self.states = [self._states(path) for path in self.moved["path"]]

    def _of_group(self, k: int) -> NDArray[np.bool_]:
        return self.manifest["speaker"].isin(self.groups[k % 3]).to_numpy()

    def _states(self, path: str) -> tuple[list[torch.Tensor], int]:
        """Return what enters each block, and what leaves the last, and the clip's number of frames."""
        wave, sample_rate = audio.load(path)
        with encoders.inputs_of(self.encoder.network.layers) as entered:
            [states] = self.encoder.encode([wave], sample_rate)
        return [*entered, torch.from_numpy(states[-1])[None]], states.shape[1]

    def axis(self, k: int, layer: int, seed: int | None) -> EmotionAxis:
        """Return the axis of a group's teachers, or one as long in a random direction."""
        rows = self._of_group(k + 2)
        axis = EmotionAxis(method="mean-difference")
        axis.fit(self.X[layer][rows], self.y[rows], self.manifest["speaker"].to_numpy()[rows])
        if seed is not None:
            drawn = np.random.default_rng(seed).standard_normal(len(axis.direction_))
            axis.direction_ = drawn / np.linalg.norm(drawn)
        return axis

    def answers(
        self, emotion: str, layer: int, strength: float = 0.0, seed: int | None = None, **options: object
    ) -> pd.DataFrame:
        """Return the probe's P(angry), and whether it takes it for angry, of each clip of an emotion."""
        upper, rows = Upper(self.encoder, layer), []
        for k, probe in enumerate(self.probes):
            with apply_axes(upper, {1: (self.axis(k, layer, seed), strength)}, blocks="layers", **options):
                for row, (states, n) in zip(self.moved.itertuples(), self.states, strict=True):
                    if row.speaker in self.groups[k] and row.emotion == emotion:
                        [p] = probe.predict_proba(upper.pooled(states[layer], n)[None])
                        angry = list(probe.classes_).index("angry")
                        rows.append((row.speaker, p[angry], p.argmax() == angry))
        return pd.DataFrame(rows, columns=["speaker", "p", "hit"])


def summary(answers: list[pd.DataFrame], **named: object) -> dict[str, object]:
    """Return one row of the table; of several directions, their mean and the largest mean."""
    table = pd.concat(answers)
    p = mean_interval(table["p"], table["speaker"])
    largest = max(one["p"].mean() for one in answers)
    numbers = {"p_angry": p.value, "low": p.low, "high": p.high, "largest": largest}
    numbers |= {"hit": table["hit"].mean()}
    rounded = {name: round(float(number), 4) for name, number in numbers.items()}
    return named | rounded | {"n": len(answers[0])}


def measure(trial: Trial, layer: int) -> list[dict[str, object]]:
    """Return the rows of one layer."""
    rows = []
    for operator, keep_norm, emotion, strengths, others in WAYS:
        named = {"layer": layer, "speech": emotion, "operator": operator + " keep_norm" * keep_norm}
        for direction, steps in (("axis", strengths), ("random", others)):
            seeds = [None] if direction == "axis" else range(N_RANDOM)
            for strength in steps:
                found = [
                    trial.answers(emotion, layer, strength, seed, operator=operator, keep_norm=keep_norm)
                    for seed in seeds
                ]
                rows.append(summary(found, **named, direction=direction, strength=strength))
                print(rows[-1], flush=True)
    return rows


def natural(trial: Trial) -> list[dict[str, object]]:
    """Return the rows of the clips as they were spoken."""
    named = {"layer": trial.top, "operator": "none", "direction": "none", "strength": 0.0}
    return [summary([trial.answers(word, trial.top)], **named, speech=word) for word in ("calm", "angry")]


def main(words: list[str]) -> None:
    """Write the rows of some layers, each when it is done."""
    trial = Trial()
    folder = paths.CHECKOUT / "data" / "results" / f"{CORPUS}-{ENCODER}"
    place = folder / f"{NAME}.csv"
    rows = pd.read_csv(place).to_dict("records") if words and place.is_file() else []
    for layer in [int(word) for word in words] or sorted(trial.encoder.layers, reverse=True):
        kept = [row for row in rows if row["layer"] != layer and row["direction"] != "none"]
        rows = sorted([*kept, *measure(trial, layer)], key=lambda row: row["layer"])
        pd.DataFrame([*natural(trial), *rows]).to_csv(place, index=False)
    source = {
        "command": " ".join(["python benchmarks/long/steering_layers.py", *words]),
        "commit": results._commit(),
    }
    files.write_json(folder / "source.json", files.read_json(folder / "source.json") | {NAME: source})


if __name__ == "__main__":
    main(sys.argv[1:])
