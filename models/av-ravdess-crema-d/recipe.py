"""Fit this learner on the shipped embeddings: ``python models/av-ravdess-crema-d/recipe.py``.

It prints the card's numbers: the CCC with the ratings of EmoDB, whose speakers and language are new to it.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from emolib import av, corpora, features, metrics, paths

HERE = Path(__file__).parent
LAYER = 2  # the one that all three corpora are shipped with


def embedded(corpus: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a corpus's clips and their mean frames, as they are: a single clip has no speaker's mean."""
    clips = corpora.load(corpus)
    return clips, features.extract(clips, layers=[LAYER]).store.pooled(LAYER, "mean", clips["clip"].tolist())


def main() -> None:
    """Fit on two corpora's categories, save, and compare with the ratings of the third."""
    (ravdess, X), (crema_d, Y), (emodb, Z) = map(embedded, ("ravdess", "crema-d", "emodb"))
    taught = pd.concat([ravdess, crema_d], ignore_index=True)
    learner = av.AVLearner().fit(np.concatenate([X, Y]), taught["emotion"], groups=taught["speaker"])
    learner.provenance_ |= {
        "corpus": "ravdess + crema-d", "encoder": paths.DEFAULT_ENCODER, "layer": LAYER, "pooling": "mean",
        "n": len(taught), "held_out": "emodb",
    }  # fmt: skip
    learner.save(HERE)
    places = learner.transform(Z)
    for column, kind in enumerate(("valence", "arousal")):
        truth, speakers = emodb[kind].to_numpy(), emodb["speaker"].to_numpy()
        print(f"{kind}: CCC {metrics.speaker_bootstrap(metrics.ccc, truth, places[:, column], speakers)}")


if __name__ == "__main__":
    main()
