"""The command on the plane of valence and arousal: av."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Device,
    EncoderName,
    Folds,
    PoolingName,
    Root,
    Store,
    Table,
    app,
    finish,
    load_clips,
    pooled_layers,
)
from emolib.paths import DEFAULT_ENCODER

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Layers = dict[int, np.ndarray]


class MethodName(StrEnum):
    """Ways to reduce features to the plane."""

    anchored = "anchored"
    umap = "umap"


@app.command()
def av(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    trained_on: Annotated[
        list[str] | None,
        typer.Option("--trained-on", help="Fit on this corpus, or several, and place CORPUS unseen."),
    ] = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str, typer.Option("--layer", help="A layer, or best: chosen on training speakers' categories.")
    ] = "best",
    pooling: Annotated[
        PoolingName, typer.Option("--pooling", help="How to pool frames.")
    ] = PoolingName.mean_std,
    method: Annotated[
        MethodName, typer.Option("--method", help="anchored has a closed form; umap is the published way.")
    ] = MethodName.anchored,
    anchors: Annotated[
        str, typer.Option("--anchors", help="Where emotions lie: joined, emodb or iemocap.")
    ] = "joined",
    normalise: Annotated[
        bool,
        typer.Option(help="Take each speaker's own level and spread out of the features."),
    ] = True,
    folds: Annotated[
        Folds, typer.Option("--folds", help="emobox is for ravdess; random leaks speakers.")
    ] = Folds.loso,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the cut and of umap.")] = 0,
    store: Store = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write each clip's place here, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Place clips by valence and arousal from categories alone, and judge that by ratings where there are.

    JSON: ccc_arousal, ccc_valence, n (clips with ratings), their intervals, layer and clips.
    """
    from emolib.av import AVLearner, place, transfer
    from emolib.splits import folds as cut

    learner = AVLearner(method.value, seed=seed)
    clips, layers = _features(
        load_clips(corpus, corpus_option, root, table), encoder, layer, pooling, normalise, device, store
    )
    if trained_on:
        others = [load_clips(name, None, None, None) for name in trained_on]
        known, known_layers = _join(
            [_features(other, encoder, layer, pooling, normalise, device, None) for other in others]
        )
        plane = transfer(known_layers, known, layers, clips, learner=learner, anchors=anchors)
    else:
        plane = place(layers, clips, cut(clips, folds.value, seed=seed), learner=learner, anchors=anchors)
    arousal, valence, n_rated = plane.arousal, plane.valence, int(plane.rated.sum())
    print(f"{len(plane)} clips placed, {n_rated} of them rated, layer {plane.layer}")
    print(f"CCC arousal {arousal}, valence {valence}" if n_rated else "no ratings to judge by in this corpus")
    if out:
        points = dict(zip(("valence", "arousal"), plane.points.T, strict=True))
        out.parent.mkdir(parents=True, exist_ok=True)
        clips[["clip", "speaker", "emotion"]].assign(**points).to_csv(out, index=False)
    finish(
        {
            "ccc_arousal": arousal.value,
            "ccc_valence": valence.value,
            "n": n_rated,
            "ccc_arousal_low": arousal.low,
            "ccc_arousal_high": arousal.high,
            "ccc_valence_low": valence.low,
            "ccc_valence_high": valence.high,
            "layer": plane.layer,
            "clips": len(plane),
        },
        as_json,
    )


def _features(
    clips: "pd.DataFrame",
    encoder: str,
    layer: str,
    pooling: PoolingName,
    normalise: bool,
    device: str,
    store: str | None,
) -> "tuple[pd.DataFrame, Layers]":
    """Return the clips that could be encoded, and their pooled features by layer."""
    from emolib.av import standardise_speakers

    clips, layers, _ = pooled_layers(clips, encoder, layer, pooling, store=store, device=device)
    if not normalise:
        return clips, dict(layers)
    return clips, {k: standardise_speakers(X, clips["speaker"]) for k, X in layers.items()}


def _join(parts: "list[tuple[pd.DataFrame, Layers]]") -> "tuple[pd.DataFrame, Layers]":
    """Join several corpora's clips and features."""
    import numpy as np
    import pandas as pd

    joined = {k: np.concatenate([layers[k] for _, layers in parts]) for k in parts[0][1]}
    return pd.concat([clips for clips, _ in parts], ignore_index=True), joined
