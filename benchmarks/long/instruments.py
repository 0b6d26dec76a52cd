"""What the instruments say where the answer is known: words, voices and quality of natural speech.

    EMOLIB_CORPORA=... python benchmarks/long/instruments.py [CLIPS]

Neutral RAVDESS clips, as many of each actor as CLIPS says, four by default: the word error rate; how often
two clips of one actor are nearer than two of different actors (AUC), with an interval over actors; and the
mean DistillMOS of the first actors' clips as white noise is raised by steps of 5 dB.
"""

import sys

import numpy as np
from sklearn.metrics import roc_auc_score

from emolib import audio, corpora, instruments, metrics

RATIOS_DB = (30, 25, 20, 15, 10, 5, 0)


def main() -> None:
    n_clips = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    manifest = corpora.load("ravdess").query("emotion == 'neutral'").groupby("speaker").head(n_clips)
    waves = [audio.load(path, instruments.SAMPLE_RATE)[0] for path in manifest["path"]]
    rate, speakers = instruments.SAMPLE_RATE, manifest["speaker"].to_numpy()

    words = instruments.word_errors(waves, rate, list(manifest["text"])).set_index(speakers)
    share = words.groupby(level=0)["errors"].sum() / words.groupby(level=0)["words"].sum()
    found = metrics.mean_interval(share.to_numpy(), share.index.to_numpy())
    print(f"word error rate of {len(waves)} clips: {found}")

    similar = (embedded := instruments.voices(waves, rate)) @ embedded.T
    one, other = np.triu_indices(len(waves), 1)
    same = speakers[one] == speakers[other]
    by_actor = [
        roc_auc_score(same[mine], similar[one, other][mine])
        for actor in share.index
        for mine in [(speakers[one] == actor) | (speakers[other] == actor)]
    ]
    found = metrics.mean_interval(np.array(by_actor), share.index.to_numpy())
    print(f"same actor against another, AUC: {found}")

    rng = np.random.default_rng(0)
    chosen = [(wave, rng.standard_normal(len(wave))) for wave in waves[:: 2 * n_clips]]
    means = [instruments.opinion([wave for wave, _ in chosen], rate).mean()]
    for ratio in RATIOS_DB:
        noisy = [wave + 10 ** (-ratio / 20) * np.sqrt(np.mean(wave**2)) * noise for wave, noise in chosen]
        means.append(instruments.opinion([clip.astype(np.float32) for clip in noisy], rate).mean())
    told = ", ".join(f"{ratio} dB {mean:.2f}" for ratio, mean in zip(RATIOS_DB, means[1:], strict=True))
    print(f"DistillMOS of {len(chosen)} clips: as they are {means[0]:.2f}, with noise at {told}")
    print("it falls at every step" if (np.diff(means) < 0).all() else "it does not fall at every step")


if __name__ == "__main__":
    main()
