"""Commands on directions from one emotion to another: axis."""

from pathlib import Path
from typing import Annotated

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


@app.command()
def axis(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    source: Annotated[str, typer.Option("--source", help="The emotion that the axis leads from.")] = "calm",
    target: Annotated[str, typer.Option("--target", help="The emotion that it leads to.")] = "angry",
    method: Annotated[
        str, typer.Option("--method", help="logistic, mean-difference, lda or pca.")
    ] = "logistic",
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str, typer.Option("--layer", help="A layer, or best: chosen on each fold's training speakers.")
    ] = "best",
    pooling: Annotated[
        PoolingName, typer.Option("--pooling", help="How to pool frames; an axis of mean can move frames.")
    ] = PoolingName.mean,
    folds: Annotated[
        Folds, typer.Option("--folds", help="emobox is for ravdess; random leaks speakers.")
    ] = Folds.loso,
    centre: Annotated[
        bool, typer.Option(help="Take each unseen speaker's mean away; it takes no label, but several clips.")
    ] = True,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the cut.")] = 0,
    store: Store = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Save the axis of all speakers to this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a direction between two emotions and try it on unseen speakers.

    JSON: auc, auc_low, auc_high, method, n_speakers, layer, n, auc_random.
    """
    from emolib import axis as axes
    from emolib import splits

    clips = load_clips(corpus, corpus_option, root, table)
    clips, X, found = pooled_layers(clips, encoder, layer, pooling, store=store, device=device)
    held_out = axes.choose_layer(
        X, clips, splits.folds(clips, folds.value, seed=seed), source=source, target=target, method=method,
        centre=centre,
    )  # fmt: skip
    assert held_out.layer is not None
    chance = axes.random_aucs(X[held_out.layer], clips, source=source, target=target, seed=seed)
    n = int(held_out.rows.sum())
    for sentence in held_out.incomplete:
        print(f"not judged: {sentence}")
    print(
        f"{source} to {target}, {method}, layer {held_out.layer}: {n} clips, {held_out.n_speakers} speakers"
    )
    print(f"AUC {held_out.auc}, {folds.value} folds; random directions {chance.mean():.3f}")
    if out:
        fitted = axes.fit_axis(
            clips, found, held_out.layer, source=source, target=target, method=method,
            pooling=pooling.value,
        )  # fmt: skip
        print(f"wrote {fitted.save(out)}")
    finish(
        {
            "auc": held_out.auc.value,
            "auc_low": held_out.auc.low,
            "auc_high": held_out.auc.high,
            "method": method,
            "n_speakers": held_out.n_speakers,
            "layer": held_out.layer,
            "n": n,
            "auc_random": float(chance.mean()),
        },
        as_json,
    )
