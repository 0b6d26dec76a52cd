"""Fit these axes on the shipped embeddings of RAVDESS: ``python models/axes-ravdess/recipe.py``.

Two thirds of the actors teach them, as they teach all that ``prosody-ravdess`` holds. It prints the card's
table: the AUC for the other third.
"""

from pathlib import Path

from emolib import axis, corpora, features, splits, steering

HERE = Path(__file__).parent
PAIRS = (
    ("calm", "angry"), ("happy", "angry"), ("neutral", "happy"), ("neutral", "sad"), ("neutral", "fearful"),
)  # fmt: skip


def main() -> None:
    """Choose each axis's layer on held-out teachers, fit it on all teachers, and try it on the others."""
    clips = corpora.load("ravdess")
    [first, *_] = steering.rotations(clips, 3)
    teaches = clips["speaker"].isin([*first.makers, *first.heard])
    taught, others = (clips[rows].reset_index(drop=True) for rows in (teaches, ~teaches))
    store = features.extract(clips).store
    X = {layer: store.pooled(layer, "mean", taught["clip"].tolist()) for layer in store.config.layers}
    for source, target in PAIRS:
        options = {"source": source, "target": target, "method": "mean-difference"}
        chosen = axis.choose_layer(X, taught, splits.folds(taught, "speaker"), **options).layer
        fitted = axis.fit_axis(taught, store, chosen, **options)
        fitted.save(HERE / f"{source}-{target}")
        judged = others[others["emotion"].isin((source, target))]
        places = fitted.project(store.pooled(chosen, "mean", judged["clip"].tolist()))
        auc = axis.auc_interval(places, judged["emotion"] == target, judged["speaker"])
        print(f"| {source} to {target} | {chosen} | {auc} |")


if __name__ == "__main__":
    main()
