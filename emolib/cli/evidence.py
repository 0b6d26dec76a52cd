"""Commands that measure: probe, axis, av, quantize, augment, trial."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from typer import Argument, Option

from emolib import files, paths, scheduling
from emolib.cli.app import (
    Corpus,
    CorpusByOption,
    Folds,
    Pooling,
    Profile,
    command,
    encoded,
    pooled_layers,
    print_skipped,
    write_answers,
)
from emolib.paths import DEFAULT_ENCODER, SHIPPED_ENCODER

if TYPE_CHECKING:
    from emolib.codebook import ResidualQuantizer, measures


@command()
def probe(
    corpus: Corpus, encoder: str = DEFAULT_ENCODER, layer: str = "best", pooling: Pooling = "mean+std",
    folds: Folds = "speaker", standardise: str = "none", device: str = "auto", seed: int = 0,
    store: str | None = None, out: Path | None = None, scheduler: str | None = None,
    published: Path | None = None, labels: Literal["hard", "soft"] = "hard",
) -> dict[str, Any]:  # fmt: skip
    """Probe an encoder's layers for emotion; JSON: ua, ua_low, ua_high, wa, macro_f1, layer, n, standardise.

    With --labels soft, JSON: cross_entropy (nats), jensen_shannon (bits), best_1, best_2, each with its
    interval; lead_over_hard, lead_over_prior (in cross-entropy); alpha, pairwise (the raters'), layer, n.

    Parameters
    ----------
    layer
        A layer, several joined (1+2+3), or best: chosen on each fold's training speakers.
    standardise
        Take each speaker's own mean and deviation out, without labels: none, speaker (from all of their
        clips), or a number (from so many of their clips, drawn by the seed).
    seed
        Seed of the cut, and of the clips to standardise by.
    out
        Write each clip's held-out answer here, as CSV.
    published
        Folder of published folds in EmoBox's layout, in place of --folds; what they share is printed.
    labels
        hard: one emotion a clip. soft: the shares of a corpus's raters (CREMA-D's, or a table's).
    """
    from emolib import probing, splits

    n_known = _clips_to_know(standardise)
    clips, X, _ = pooled_layers(corpus.load(), encoder, layer, pooling, store=store, device=device, join=True)
    scheme: splits.Scheme = "random" if folds == "random" else "speaker"
    if published:
        cut = splits.published(clips, published)
        shared = splits.audit(clips, cut)
        print(shared.to_string(index=False))
        scheme = "random" if shared["shared_speakers"].any() else "speaker"
    else:
        cut = splits.folds(clips, folds, seed=seed)
    if standardise != "none":  # without a prior: nothing of other test speakers is used
        X = {
            k: probing.standardise_speakers(rows, clips["speaker"], n_clips=n_known, prior_clips=0, seed=seed)
            for k, rows in X.items()
        }
    if labels == "soft":
        return _probe_soft(X, clips, cut, out)
    with scheduling.connect(scheduler) as client:
        answer = probing.choose_layer(X, clips, cut, scheme=scheme, partial=bool(published), client=client)
    n_speakers, chance = clips["speaker"].nunique(), 1 / clips["emotion"].nunique()
    print(f"{len(clips)} clips, {n_speakers} speakers, {published or folds} folds, layer {answer.layer}")
    print(f"UA {answer.ua}, chance {chance:.3f}, WA {answer.wa:.3f}, macro-F1 {answer.macro_f1:.3f}")
    if standardise != "none":
        print(f"standardised by {n_known or 'all'} unlabelled clips of each speaker, test speakers included")
        if n_few := int((clips["speaker"].value_counts() < (n_known or 0)).sum()):
            print(f"{n_few} speakers have fewer than {n_known} clips: all of theirs were used")
    tested = clips.iloc[sorted({row for _, test in cut for row in test})]
    write_answers(tested, out, predicted=answer.y_pred)
    rest = {"layer": answer.layer, "n": len(answer), "standardise": standardise}
    return {**_interval("ua", answer.ua), "wa": answer.wa, "macro_f1": answer.macro_f1, **rest}


def _probe_soft(layers: Any, clips: pd.DataFrame, cut: Any, out: Path | None) -> dict[str, Any]:
    """Probe for the raters' shares, beside hard labels and the mean shares."""
    from emolib import metrics, probing

    votes = probing.votes(clips)
    kinds: tuple[Literal["soft", "hard", "prior"], ...] = ("soft", "hard", "prior")
    probes = {kind: probing.cross_validate_soft(layers, clips, cut, labels=kind) for kind in kinds}
    soft = probes["soft"]
    print(f"{len(clips)} clips, {clips['speaker'].nunique()} speakers, layer {soft.layer}")
    counted = metrics.Agreement(float("nan"), float("nan"), float("nan"))
    if (votes % 1 == 0).to_numpy().all() and (votes.sum(axis=1) > 1).any():
        counted = metrics.agreement(votes)
        print(
            f"{counted.raters:.1f} raters a clip: alpha {counted.alpha:.3f}, {counted.pairwise:.3f} of pairs "
            f"agree"
        )
    for name, one in probes.items():
        print(
            f"{name:5} cross-entropy {one.cross_entropy} nats, Jensen-Shannon {one.jensen_shannon} bits, "
            f"best {one.n_best(1)}, among two {one.n_best(2)}"
        )
    write_answers(clips, out, **dict(zip(soft.words, soft.y_pred.T, strict=True)))
    return {
        **_interval("cross_entropy", soft.cross_entropy), **_interval("jensen_shannon", soft.jensen_shannon),
        **_interval("best_1", soft.n_best(1)), **_interval("best_2", soft.n_best(2)),
        **_interval("lead_over_hard", soft.lead_over(probes["hard"])),
        **_interval("lead_over_prior", soft.lead_over(probes["prior"])),
        "alpha": counted.alpha, "pairwise": counted.pairwise, "layer": soft.layer, "n": len(soft),
    }  # fmt: skip


def _clips_to_know(standardise: str) -> int | None:
    """Read the option: of how many clips of a speaker mean and deviation are taken; None is all or none."""
    if standardise in ("none", "speaker"):
        return None
    if not standardise.isdecimal() or int(standardise) < 2:
        raise ValueError(
            f"standardise {standardise!r}; expected none, speaker, or a number of clips, two or more"
        )
    return int(standardise)


@command()
def benchmark(
    corpus: list[str] | None = None, encoder: list[str] | None = None, device: str = "auto", seed: int = 0,
    out: Path | None = None, scheduler: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare feature sets on corpora, for unseen speakers; JSON: answers, left_out, and ua_CORPUS_ENCODER.

    Each is asked blind and standardised by 16 unlabelled clips a speaker; on folds that share no speaker, and
    no sentence either where the corpus has sentences in common; and from corpus to corpus.

    Parameters
    ----------
    corpus
        A corpus; several where repeated. All that the committed tables have by default.
    encoder
        A feature set; several where repeated, and the first is what others are compared with.
    seed
        Seed of cuts and draws.
    out
        Folder of the answers, taken up again; data/benchmark by default.
    """
    from emolib import benchmark as bench

    folder, encoders = out or paths.data() / "benchmark", encoder or list(bench.ENCODERS)
    with scheduling.connect(scheduler) as client:
        found = bench.run(
            folder, corpus or bench.CORPORA, encoders, device=device, seed=seed, client=client, told=print
        )
    page = bench.as_markdown(bench.beside_committed(found.within), found.across)
    (folder / "benchmark.md").write_text(page + "\n", encoding="utf-8")
    print("", page, *(f"left out: {reason}" for reason in found.left_out), sep="\n")
    blind = found.within[(found.within["folds"] == "speaker") & (found.within["n_clips"] == 0)]
    scores = {f"ua_{row.corpus}_{row.encoder}": row.ua for row in blind.itertuples()}
    return {"answers": len(found.within) + len(found.across), "left_out": len(found.left_out)} | scores


@command()
def axis(
    corpus: Corpus, source: str = "calm", target: str = "angry", method: str = "logistic",
    encoder: str = DEFAULT_ENCODER, layer: str = "best", pooling: Pooling = "mean", folds: Folds = "loso",
    centre: bool = True, device: str = "auto", seed: int = 0, store: str | None = None,
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit a direction between two emotions and try it on unseen speakers.

    JSON: auc, auc_low, auc_high, method, n_speakers, layer, n, auc_random.

    Parameters
    ----------
    source
        The emotion that the axis leads from.
    target
        The emotion that it leads to.
    method
        logistic, mean-difference, lda or pca.
    layer
        A layer, or best: chosen on each fold's training speakers.
    pooling
        How to pool frames; an axis of mean can move frames.
    centre
        Take each unseen speaker's mean away; it takes no label, but several clips.
    seed
        Seed of the cut.
    out
        Save the axis of all speakers to this folder.
    """
    from emolib import axis as axes
    from emolib import splits

    clips, X, found = pooled_layers(corpus.load(), encoder, layer, pooling, store=store, device=device)
    held_out = axes.choose_layer(
        X, clips, splits.folds(clips, folds, seed=seed), source=source, target=target, method=method,
        centre=centre,
    )  # fmt: skip
    assert held_out.layer is not None
    chance = axes.random_aucs(X[held_out.layer], clips, source=source, target=target, seed=seed).mean()
    n, n_speakers = int(held_out.rows.sum()), held_out.n_speakers
    for sentence in held_out.incomplete:
        print(f"not judged: {sentence}")
    print(f"{source} to {target}, {method}, layer {held_out.layer}: {n} clips, {n_speakers} speakers")
    print(f"AUC {held_out.auc}, {folds} folds; random directions {chance:.3f}")
    if out:
        fitted = axes.fit_axis(
            clips, found, held_out.layer, source=source, target=target, method=method, pooling=pooling
        )
        print(f"wrote {fitted.save(out)}")
    rest = {"method": method, "n_speakers": n_speakers, "layer": held_out.layer, "n": n}
    return _interval("auc", held_out.auc) | rest | {"auc_random": float(chance)}


@command()
def av(
    corpus: Corpus, trained_on: list[str] | None = None, encoder: str = DEFAULT_ENCODER, layer: str = "best",
    pooling: Pooling = "mean+std", method: Literal["anchored", "umap"] = "anchored", anchors: str = "joined",
    normalise: bool = True, folds: Folds = "loso", device: str = "auto", seed: int = 0,
    store: str | None = None, out: Path | None = None, predict: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Place clips by valence and arousal from categories alone, and judge that by ratings where there are.

    JSON: ccc_arousal, ccc_valence, n (clips with ratings), their intervals, layer and clips.

    Parameters
    ----------
    trained_on
        Fit on this corpus, or several, and place CORPUS unseen.
    layer
        A layer, or best: chosen on training speakers' categories.
    method
        anchored has a closed form; umap is the published way.
    anchors
        Where emotions lie: joined, emodb or iemocap; or a CSV with the columns word, arousal and valence,
        which adds to joined.
    normalise
        Take each speaker's own level and spread out of the features.
    seed
        Seed of the cut and of umap.
    out
        Write each clip's place here, as CSV.
    predict
        Take the places from this network with a regression head, a folder or a Hugging Face id. Nothing is
        fitted, so the options of encoders, methods and folds are not used.
    """
    from emolib import ser
    from emolib.av import AVLearner, Plane, place, transfer
    from emolib.probing import standardise_speakers
    from emolib.splits import folds as cut

    def features(one: Corpus, store: str | None) -> tuple[pd.DataFrame, dict[int, Any]]:
        clips, layers, _ = pooled_layers(one.load(), encoder, layer, pooling, store=store, device=device)
        speakers = clips["speaker"]
        return clips, {k: standardise_speakers(X, speakers) if normalise else X for k, X in layers.items()}

    if predict and trained_on:
        raise ValueError(f"--predict {predict} fits nothing; leave --trained-on out")
    learner = AVLearner(method, seed=seed)
    if predict:
        clips = ser.dimensional(
            corpus.load(), predict, url=store, device=device, progress=sys.stderr.isatty()
        )
        print_skipped(clips.attrs["skipped"])
        clips = clips.dropna(subset="predicted_valence")
        places, ratings = (clips[[f"{kind}valence", f"{kind}arousal"]] for kind in ("predicted_", ""))
        plane = Plane(places.to_numpy(float), ratings.to_numpy(float), clips["speaker"].to_numpy(str))
    elif trained_on:
        clips, layers = features(corpus, store)
        tables, parts = zip(*(features(Corpus(name), None) for name in trained_on), strict=True)
        known: pd.DataFrame = pd.concat(tables, ignore_index=True)
        joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        plane = transfer(joined, known, layers, clips, learner=learner, anchors=anchors)
    else:
        clips, layers = features(corpus, store)
        plane = place(layers, clips, cut(clips, folds, seed=seed), learner=learner, anchors=anchors)
    arousal, valence, n_rated = plane.arousal, plane.valence, int(plane.rated.sum())
    origin = f"by {predict}" if predict else f"layer {plane.layer}"
    print(f"{len(plane)} clips placed, {n_rated} of them rated, {origin}")
    print(f"CCC arousal {arousal}, valence {valence}" if n_rated else "no ratings to judge by in this corpus")
    write_answers(clips, out, valence=plane.points[:, 0], arousal=plane.points[:, 1])
    scores = _interval("ccc_arousal", arousal) | _interval("ccc_valence", valence)
    return scores | {"n": n_rated, "layer": plane.layer, "clips": len(plane)}


def _interval(name: str, interval: Any) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


@command()
def quantize(
    source: Annotated[Path | None, Argument(metavar="INPUT")] = None, *, corpus: CorpusByOption,
    encoder: str = DEFAULT_ENCODER, layer: int = 4,
    pooled: Annotated[bool, Option("--pooled/--no-pooled")] = False, lam: float = 0.01, stages: int = 8,
    codes: int = 256, codebook: Path | None = None, device: str = "auto", seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Encode features into .emoq streams, decode them again, and print bits and drift.

    A new codebook is trained on half of the speakers. Of a corpus, drift is measured on clips of speakers
    that the codebook was not trained on; of a file, on that file, whoever speaks.

    JSON: bits (of the files), seconds (of speech), similarity (mean cosine to the original, both seen from
    the codebook's training mean), distortion, held_out (clips that these were measured on), and more.

    Parameters
    ----------
    source
        A sound to encode, or an .emoq stream to decode; else a whole corpus.
    layer
        The layer whose features are coded.
    pooled
        Code one mean a clip in place of its frames.
    lam
        Share of the variance that a bit must save; 0 spends all bits.
    stages
        Stages of a new codebook.
    codes
        Codes a stage of a new codebook.
    codebook
        Folder of the codebook; trained on the corpus where there is none yet.
    seed
        Seed of a new codebook.
    out
        Stream of INPUT, .npy of a decoded stream, or folder of a corpus's streams.
    """
    from emolib.codebook import ResidualQuantizer, measures

    name = f"codebook-{corpus.name}-{encoder}-layer{layer}-{'pooled' if pooled else 'frames'}"
    folder = codebook or paths.trained(name, stages, codes, seed)
    is_new = not (folder / "config.json").is_file()
    if is_new or source is None:
        clips, done = encoded(corpus.load(), encoder, [layer], frames=not pooled, device=device)
    if is_new:
        book = measures.train_codebook(done.store, clips, layer, pooled, stages, codes, seed)
        print(f"trained {book.n_stages} x {book.n_codes_} codes: {book.save(folder)}")
    else:
        book = ResidualQuantizer.load(folder)
    if source is None:
        return _encode_corpus(book, clips, measures.rows_of(done.store, clips, layer, pooled), lam, out)
    if source.suffix == ".emoq":
        return _decode(book, source, out or source.with_suffix(".npy"))
    rows, seconds = measures.rows_of_file(source, encoder, layer, pooled, device)
    place = out or Path(source.name).with_suffix(".emoq")
    result = _report(measures.code(book, [rows], lam, [place]), seconds, book.mean_)
    print(f"stream    {place}")
    return result | {"file": str(place)}


def _decode(book: "ResidualQuantizer", source: Path, place: Path) -> dict[str, Any]:
    rows, bits = book.decompress(source.read_bytes()), 8 * source.stat().st_size
    np.save(place, rows, allow_pickle=False)
    print(f"{len(rows)} rows of {rows.shape[1]} numbers from {bits} bits: {place}")
    return {"bits": bits, "rows": len(rows), "file": str(place)}


def _encode_corpus(
    book: "ResidualQuantizer", clips: pd.DataFrame, rows: Any, lam: float, out: Path | None
) -> dict[str, Any]:
    from emolib.codebook import measures

    streams = [measures.stream_of(out, clip) for clip in clips["clip"]] if out else None
    done = measures.code(book, rows, lam, streams)
    is_judged = ~clips["speaker"].isin(book.provenance_.get("speakers", ())).to_numpy()
    judged, held_out = clips[is_judged], done.part(is_judged.nonzero()[0])
    n_clips, n_speakers = len(judged), judged["speaker"].nunique()
    if "speakers" not in book.provenance_:
        print(f"drift over {n_clips} clips; the codebook does not say which speakers it was trained on")
    elif n_clips:
        print(f"drift over {n_clips} clips of {n_speakers} speakers that the codebook was not trained on")
    else:
        print("no drift: the codebook was trained on every speaker of these clips; give it others")
    result = _report(held_out, float(clips["duration_s"].sum()), book.mean_)
    for emotion, (shrinking, towards, share) in held_out.drift(judged["emotion"].to_numpy(str)).iterrows():
        print(f"{emotion:10} shrinking {shrinking:5.2f}, most towards {towards} {share:5.2f}")
    return result | {"rows": done.n_rows, "clips": len(clips), "held_out": n_clips}


def _report(done: "measures.Coded", seconds: float, origin: Any) -> dict[str, Any]:
    """Print and return what the coding cost, and what it did to the rows."""
    found, rate = done.change(origin), done.bits / max(seconds, 1e-9)
    print(f"bits      {done.bits} for {seconds:.2f} s of speech: {rate:.0f} per second")
    if done.before:
        print(
            f"drift     {found['distortion']:.3f} of the variance lost, {found['shrinking']:.3f} shorter, "
            f"cosine {found['similarity']:.4f}"
        )
    return {"bits": done.bits, "seconds": round(seconds, 3), **found, "rows": done.n_rows}


@command()
def augment(
    corpus: Corpus, out: Path | None = None, profile: Profile = "quick", limit: float | None = None,
    conditions: str | None = None, shares: str | None = None, seeds: int | None = None, device: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Ask whether generated speech makes a recogniser better on speakers that it was not trained on.

    JSON: ua_real, ua_classical, ua_generated, ua_equal and n, of the smallest share of real clips with
    generated ones; gain, gain_low, gain_high over the same number of steps with real clips repeated in place
    of generated ones; gain_equal, gain_equal_low, gain_equal_high over half the steps, in which each real
    clip is drawn as often.

    Parameters
    ----------
    out
        Folder of the cells, taken up again; models/augment-CORPUS-PROFILE.
    profile
        quick takes minutes; full is for an accelerator.
    limit
        Begin no further cell after this many seconds.
    conditions
        Only these, such as 'real,classical'; without the flattering protocol.
    shares
        Only these shares of the real clips, such as '1,0.25'.
    seeds
        Only the first so many seeds of each condition.
    seed
        Seed of the halves and of all networks.
    """
    from emolib.studies import augmentation

    cells = augmentation.Settings.of(profile, seed=seed).part(
        None if conditions is None else [name.strip() for name in conditions.split(",")],
        None if shares is None else _numbers(shares),
        seeds,
    )
    clips = corpus.load()
    folder = out or paths.models() / paths.folder_name(f"augment-{clips['corpus'].iloc[0]}-{profile}")
    done = augmentation.study(
        clips, folder, device=device, seed=seed, settings=cells, limit_s=limit, progress=sys.stderr.isatty()
    )
    others = [entry for entry in done.skipped if "none of the classes" in entry["reason"]]
    if others:
        print(f"left out {len(others)} clips of other emotions")
    print_skipped([entry for entry in done.skipped if entry not in others])
    print("\nScores, intervals over speakers")
    _print_scores(done.table(), ".3f")
    meanings = {augmentation.CLASSICAL: "the same steps", augmentation.EQUAL: "each real clip drawn as often"}
    for over, meaning in meanings.items():
        print(f"\nGains over {over.name} ({meaning}), paired")
        _print_scores(done.differences(over.name), "+.3f")
    print("\nLeak audit\n" + done.leaks.to_string(index=False, float_format="%.3f"))
    if done.missing:
        print(f"\n{len(done.missing)} cells were not run; the same command goes on, first: {done.missing[0]}")
    return done.headline() | {"missing": len(done.missing)}


def _print_scores(table: pd.DataFrame, spec: str) -> None:
    from emolib.metrics import Interval

    for _, row in table.iterrows():
        scores = "  ".join(
            f"{name} {Interval(row[name], row[f'{name}_low'], row[f'{name}_high']):{spec}}"
            for name in ("ua", "wa", "macro_f1")
        )
        print(
            f"{row['protocol']:10} {100 * row['share']:3.0f} % {row['condition']:50} {scores}  n={row['n']} "
            f"speakers={row['speakers']} seeds={row['seeds']} real={row['n_real']:.0f} "
            f"generated={row['n_generated']:.0f}"
        )


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(f"shares {text!r}; expected numbers with commas, such as '1,0.25'") from error


@command()
def trial(
    corpus: Corpus, methods: str = "latent,prosody,hybrid", source: str = "neutral",
    targets: str = "angry,happy,sad,fearful", per_speaker: int = 2, speakers: int | None = None,
    encoder: str = SHIPPED_ENCODER, layer: int = 3, device: str = "auto", seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Try every way to steer on speakers that it was not learned from, with a judge of other corpora.

    Beside the methods: the clips unmodified, through WORLD alone, moved in a random direction and by what
    shuffled labels teach, and the speakers' own renditions. Words, voice and quality need `make instruments`.

    JSON: <measure>_<way>_<target>, such as recognised_prosody_angry, with _low and _high; the setting, the
    judge, its accuracy on natural clips (judge_ua), missing (instruments), clips, skipped, seconds.

    Parameters
    ----------
    methods
        Some of latent, prosody and hybrid, with commas.
    source
        The emotion that is steered from.
    targets
        The emotions that are steered to, with commas.
    per_speaker
        Clips of each speaker that are converted to each target, at most.
    speakers
        Take only so many of the corpus's speakers, of both genders.
    encoder
        Of latent and hybrid steering; another than the judge's.
    layer
        Whose frames latent and hybrid steering move.
    seed
        Seed of random directions and of shuffled labels.
    out
        Write trial.csv, trial.json and each clip's measures, clips.csv, to this folder.
    """
    from emolib.steering import trial as trials

    started = time.perf_counter()
    done = trials.hold(
        corpus.load(), source, targets.split(","), methods=methods.split(","), per_speaker=per_speaker,
        n_speakers=speakers, encoder=encoder, layer=layer, device=device, seed=seed,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print_skipped(done.skipped)
    told = done.setting | {"clips": int(done.rows["clip"].nunique()), "skipped": len(done.skipped)}
    told["seconds"] = round(time.perf_counter() - started)
    print(done)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        done.table.to_csv(out / "trial.csv", index=False, float_format="%.4f")
        done.rows.to_csv(out / "clips.csv", index=False, float_format="%.4f")
        files.write_json(out / "trial.json", told)
        print(f"wrote trial.csv, trial.json and clips.csv: {out}")
    return told | done.flat()
