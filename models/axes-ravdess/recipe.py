"""Fit these axes on the shipped embeddings of RAVDESS: ``python models/axes-ravdess/recipe.py``.

The actors who teach them are those who teach all that ``prosody-ravdess`` holds. It prints the card's table:
the AUC for the others, beside that of axes made in the same way in eGeMAPS's measures, which are not kept.
"""

from pathlib import Path

from emolib import axis, corpora, features, paths, splits
from emolib.metrics import Interval
from emolib.steering import shipped

HERE = Path(__file__).parent
PAIRS = (
    ("calm", "angry"), ("happy", "angry"), ("neutral", "happy"), ("neutral", "sad"), ("neutral", "fearful"),
)  # fmt: skip


def fit(encoder: str, source: str, target: str) -> tuple[axis.EmotionAxis, Interval]:
    """Choose an axis's layer on held-out teachers, fit it on all teachers, and try it on the others."""
    clips, taught = corpora.load(shipped.CORPUS), shipped.makers()
    options = {"source": source, "target": target, "method": "mean-difference"}
    store = features.extract(clips, encoder).store
    X = {layer: store.pooled(layer, "mean", taught["clip"].tolist()) for layer in store.config.layers}
    layer = axis.choose_layer(X, taught, splits.folds(taught, "speaker"), **options).layer
    fitted = axis.fit_axis(taught, store, layer, **options)
    others = clips[~clips["speaker"].isin(taught["speaker"]) & clips["emotion"].isin((source, target))]
    places = fitted.project(store.pooled(layer, "mean", others["clip"].tolist()))
    return fitted, axis.auc_interval(places, others["emotion"] == target, others["speaker"])


def main() -> None:
    """Fit, save and judge each axis."""
    for source, target in PAIRS:
        fitted, auc = fit(paths.DEFAULT_ENCODER, source, target)
        fitted.save(HERE / f"{source}-{target}")
        baseline = fit("egemaps", source, target)[1]
        print(f"| {source} to {target} | {fitted.provenance_['layer']} | {auc} | {baseline} |")


if __name__ == "__main__":
    main()
