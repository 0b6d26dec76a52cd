"""Fit this learner on the shipped embeddings: ``python models/av-ravdess-crema-d/recipe.py``.

It prints the card's table: the CCC with the ratings of EmoDB, whose speakers and language are new to it,
beside that of a learner made in the same way from log-mel statistics, which is not kept.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from emolib import av, corpora, features, metrics, paths

HERE = Path(__file__).parent
#: The layer of each feature set that all three corpora are shipped with.
LAYERS = {paths.DEFAULT_ENCODER: 2, "logmel": 0}


def embedded(corpus: str, encoder: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a corpus's clips and their mean frames, as they are: a single clip has no speaker's mean."""
    clips, layer = corpora.load(corpus), LAYERS[encoder]
    store = features.extract(clips, encoder, layers=[layer]).store
    return clips, store.pooled(layer, "mean", clips["clip"].tolist())


def main() -> None:
    """Fit on two corpora's categories, save, and compare with the ratings of the third."""
    for encoder, layer in LAYERS.items():
        (ravdess, X), (crema_d, Y), (emodb, Z) = (
            embedded(corpus, encoder) for corpus in ("ravdess", "crema-d", "emodb")
        )
        taught = pd.concat([ravdess, crema_d], ignore_index=True)
        learner = av.AVLearner().fit(np.concatenate([X, Y]), taught["emotion"], groups=taught["speaker"])
        learner.provenance_ |= {
            "corpus": "ravdess + crema-d", "encoder": encoder, "layer": layer, "pooling": "mean",
            "n": len(taught), "held_out": "emodb",
        }  # fmt: skip
        if encoder == paths.DEFAULT_ENCODER:
            learner.save(HERE)
        arousal, valence = (
            metrics.speaker_bootstrap(metrics.ccc, emodb[kind].to_numpy(), placed, emodb["speaker"])
            for kind, placed in zip(("arousal", "valence"), learner.transform(Z).T[::-1], strict=True)
        )
        print(f"| {encoder} | {arousal} | {valence} |")


if __name__ == "__main__":
    main()
