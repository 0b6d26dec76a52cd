"""Commands that train networks and make sound: pretrain, train-*, finetune, generate, steer, tts."""

import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import typer
from typer import Argument, Option

from emolib import paths
from emolib.cli.app import (
    Corpus,
    CorpusByOption,
    Precision,
    Profile,
    app,
    command,
    default_folder,
    encoded,
    print_skipped,
    whole_number,
)
from emolib.paths import SHIPPED_ENCODER

if TYPE_CHECKING:
    from emolib import ser
    from emolib.tts import AxisScore

_finetune = typer.Typer(no_args_is_help=True, help="Fine-tune an encoder on emotions, and use it.")
_generate = typer.Typer(no_args_is_help=True, help="Generate emotional speech.")
app.add_typer(_finetune, name="finetune")
app.add_typer(_generate, name="generate")

Names = Annotated[list[str] | None, Argument(metavar="CORPUS...")]
Table = Annotated[str | None, Option("--manifest")]


def _joined(names: list[str] | None, table: str | None) -> pd.DataFrame:
    """Return the clips of several corpora."""
    chosen = names or (["folder"] if table else ["demo"])
    return pd.concat([Corpus(name, table=table if name == "folder" else None).load() for name in chosen])


def _changed(settings: Any, **changes: Any) -> Any:
    """Return settings with those changes that are given."""
    return dataclasses.replace(settings, **{name: v for name, v in changes.items() if v is not None})


@command()
def pretrain(
    corpora_names: Names = None, table: Table = None, out: Path | None = None, steps: int | None = None,
    device: str = "auto", seed: int = 0, resume: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train a small wav2vec 2.0 network on speech, without its labels; resumes after a kill.

    JSON: folder, steps, loss, clips, skipped, speech_s, seconds.

    Parameters
    ----------
    corpora_names
        Corpora to learn from; demo by default.
    out
        Folder of the network; one in models/ for these clips and settings.
    seed
        Seed of weights, crops and masks.
    """
    from emolib.pretrain import recipe

    recipes = recipe("wav2vec2-nano")
    clips, settings = _joined(corpora_names, table), _changed(recipes.Settings(), seed=seed, steps=steps)
    done = recipes.pretrain(
        clips, out or default_folder("pretrained", clips, settings), settings, device=device, resume=resume,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print_skipped(done.skipped)
    loss = float(done.validation["loss"].iloc[-1])
    print(f"{done.steps} steps on {done.n_clips} clips, held-out loss {loss:.3f}: {done.folder}")
    return _trained(done, loss=loss)


def _trained(done: Any, **scores: float) -> dict[str, Any]:
    """Return what the JSON of a training on speech alone tells."""
    return {
        "folder": str(done.folder), "steps": done.steps, **scores, "clips": done.n_clips,
        "skipped": len(done.skipped), "speech_s": round(done.speech_s, 1), "seconds": round(done.seconds, 1),
    }  # fmt: skip


@command("train-vocoder")
def train_vocoder(
    corpora_names: Names = None, table: Table = None, out: Path | None = None,
    hold_out: list[str] | None = None, steps: int | None = None, device: str = "auto", seed: int = 0,
    resume: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train a small HiFi-GAN vocoder on speech; resumes after a kill.

    JSON: folder, steps, loss, log_mel_l1, pesq, pesq_refined, clips, skipped, speech_s, seconds.

    Parameters
    ----------
    corpora_names
        Corpora to learn from; demo by default.
    out
        Folder of the vocoder; one in models/ for these clips and settings.
    hold_out
        A speaker, as ravdess-01, never to train on, but to validate with; can be repeated.
    seed
        Seed of weights and segments.
    """
    from emolib.pretrain import recipe

    recipes, clips = recipe("hifigan-nano"), _joined(corpora_names, table)
    settings = _changed(recipes.VocoderSettings(), seed=seed, steps=steps)
    folder = out or default_folder("vocoder", clips, sorted(hold_out or []), settings)
    done = recipes.train_vocoder(
        clips, folder, settings, hold_out=hold_out or [], device=device, resume=resume,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print_skipped(done.skipped)
    last = done.validation.iloc[-1]
    print(
        f"{done.steps} steps on {done.n_clips} clips; held-out clips: log-mel L1 {last['log_mel_l1']:.3f}, "
        f"PESQ {last['pesq']:.2f}, refined {last['pesq_refined']:.2f}: {done.folder}"
    )
    scores = ("loss", "log_mel_l1", "pesq", "pesq_refined")
    return _trained(done, **{name: float(last[name]) for name in scores})


@command("train-mapper")
def train_mapper(
    corpus: Corpus, encoder: str = SHIPPED_ENCODER, layer: int = 0, without: str = "",
    out: Path | None = None, steps: int | None = None, device: str = "auto", seed: int = 0,
    resume: bool = True, replace: bool = False, store: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train the map from a layer's embeddings to mel-spectrograms; resumes after a kill.

    JSON: folder, layer, steps, mel_l1, linear_l1, clips, speakers, held_out, skipped.

    Parameters
    ----------
    layer
        The layer to map; 0, the transformer's input, sounds best.
    without
        Speakers to leave out, with commas; judge on these.
    out
        Folder of the mapper; one in models/ for these clips and settings.
    seed
        Seed of weights, crops and held-out speakers.
    replace
        Start again where --out holds another training.
    """
    from emolib import mapper, vocoder

    clips = mapper.leave_out(corpus.load(), [name for name in without.split(",") if name])
    clips, done = encoded(clips, encoder, [layer], frames=True, store=store, device=device)
    settings = _changed(mapper.Settings(), seed=seed, steps=steps)
    folder = out or mapper.default_folder(clips, done.store, layer, settings)
    trained = mapper.train(
        clips, done.store, layer, folder, settings, vocode=vocoder.load().vocode, device=device,
        resume=resume, replace=replace, progress=sys.stderr.isatty(),
    )  # fmt: skip
    found = trained.provenance
    speakers, held_out = found["speakers"], found["validation_speakers"]
    print(f"{found['steps']} steps on {len(clips)} clips, {len(speakers)} speakers, layer {layer}: {folder}")
    print(
        f"mel L1 {found['mel_l1']:.3f} on {', '.join(held_out)}, not trained on; "
        f"of the linear map alone {found['linear_l1']:.3f}"
    )
    scores = {name: found[name] for name in ("steps", "mel_l1", "linear_l1")}
    counts = {"clips": len(clips), "speakers": len(speakers), "skipped": len(done.skipped)}
    return {"folder": str(folder), "layer": layer, "held_out": held_out} | scores | counts


@command("train", _finetune)
def finetune_train(
    corpus: Corpus, out: Path | None = None, encoder: str = SHIPPED_ENCODER,
    target: Literal["emotion", "ratings"] = "emotion", free: str = "0", epochs: int | None = None,
    encoder_rate: float = 5e-5, head_rate: float | None = None, batch_size: int = 32, accumulation: int = 1,
    precision: Precision | None = None, device: str = "auto", seed: int = 0, resume: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Fine-tune an encoder on a corpus's emotions, or its ratings; resumes after a kill.

    Where blocks learn, they begin with the head of a frozen encoder; --free 2 takes minutes on two cores.

    Some speakers choose the epoch that is kept, and others, who decide nothing, are tested.

    JSON: folder, score (tested speakers' UA, or mean CCC), epochs, best_epoch, clips, skipped, seconds.

    Parameters
    ----------
    out
        Folder of the result; one in models/ for these clips and settings.
    target
        emotion, or ratings of valence and arousal.
    free
        Blocks that learn, from the top; 0 is none, or all.
    epochs
        Epochs, at most; 60 with --free 0, else 4.
    encoder_rate
        Learning rate of what was trained before.
    head_rate
        Learning rate of what is new; 3e-3 with --free 0, else 3e-4.
    batch_size
        Clips a batch.
    accumulation
        Batches a step.
    precision
        no with --free 0, else bf16 by default; or fp16.
    seed
        Seed of weights, order and held-out speakers.
    """
    from emolib import finetune as tuning

    layers: int | Literal["all"] = "all" if free == "all" else whole_number(free)
    start = tuning.TOP_BLOCKS if layers else tuning.Settings()
    settings = _changed(
        start, target=target, free_layers=layers, n_epochs=epochs, encoder_rate=encoder_rate,
        head_rate=head_rate, batch_size=batch_size, accumulation=accumulation, precision=precision, seed=seed,
        tested=start.held_out,
    )  # fmt: skip
    clips = corpus.load()
    folder = out or default_folder("finetuned", clips, encoder, settings)
    done = tuning.finetune(
        clips, folder, settings, encoder=encoder, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    print_skipped(done.skipped)
    print(
        f"{len(done.curve)} epochs on {done.n_clips} clips, {'UA' if target == 'emotion' else 'CCC'} of "
        f"{', '.join(done.tested)}, who chose nothing, {done.score:.3f}: {done.folder}"
    )
    return {
        "folder": str(done.folder), "score": done.score, "epochs": len(done.curve),
        "best_epoch": done.best_epoch, "clips": done.n_clips, "skipped": len(done.skipped),
        "seconds": round(done.seconds, 1),
    }  # fmt: skip


@command("infer", _finetune)
def finetune_infer(
    model: Annotated[Path, Argument()], corpus: Corpus, files: Path | None = None, store: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:  # fmt: skip
    """Write a fine-tuned encoder's features to a feature store, with its answers as CSV beside them.

    JSON: clips, skipped, store, answers.

    Parameters
    ----------
    model
        The folder that `emolib finetune train` wrote.
    files
        A folder of sound files, no table.
    """
    from emolib import finetune as tuning

    if files and corpus.is_named:
        raise ValueError(f"--files {files} beside a corpus; expected one of both")
    clips = tuning.files_manifest(files) if files else corpus.load()
    done = tuning.infer(model, clips, url=store, device=device)
    skipped = [*(clips.attrs["skipped"] if files else []), *done.skipped]
    print_skipped(skipped)
    print(f"features of {len(done.answers)} clips in {done.store.url}, answers in {done.path}")
    counts = {"clips": len(done.answers), "skipped": len(skipped)}
    return counts | {"store": done.store.url, "answers": str(done.path)}


@command("train", _generate)
def generate_train(
    corpus: Corpus, out: Path | None = None,
    emotions: Annotated[list[str] | None, Option("--emotion")] = None, leave_out: list[str] | None = None,
    space: Literal["latent", "mel"] = "latent", profile: Profile = "quick", steps: int | None = None,
    precision: Precision = "no", device: str = "auto", seed: int = 0, resume: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train a generator of mel-spectrograms on a corpus's emotions; resumes after a kill.

    JSON: folder, classes, clips, speakers, skipped, loss, reconstruction, seconds.

    Parameters
    ----------
    out
        Folder of the generator; one in models/ for these clips and settings.
    emotions
        A class to learn, repeated for each; the six that corpora share.
    leave_out
        A speaker never to learn from; can be repeated.
    space
        latent, or mel for an accelerator.
    profile
        How long to train.
    steps
        Of the diffusion; the profile's.
    precision
        bf16 or fp16 for mixed precision.
    seed
        Seed of weights, order and noise.
    """
    from emolib import generate, mapper

    preset = generate.Settings.full() if profile == "full" else generate.Settings.quick()
    settings = _changed(preset, space=space, seed=seed, precision=precision, steps=steps).check()
    clips = mapper.leave_out(corpus.load(), leave_out or [])
    mels, skipped = generate.load_mels(clips, emotions or generate.SIX)
    print_skipped(skipped)
    folder = out or default_folder("generator", clips, emotions, settings)
    made = generate.train(
        mels, folder, settings, classes=emotions, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    record = made.record
    print(
        f"{settings.steps} steps on {record['n_clips']} clips of {record['n_speakers']} speakers, "
        f"loss {record['loss']:.3f}: {folder}"
    )
    return {
        "folder": str(folder), "classes": list(made.classes), "clips": record["n_clips"],
        "speakers": record["n_speakers"], "skipped": len(skipped), "loss": record["loss"],
        "reconstruction": record.get("autoencoder", {}).get("reconstruction"), "seconds": record["seconds"],
    }  # fmt: skip


@command("sample", _generate)
def generate_sample(
    model: Annotated[Path, Argument()], emotions: Annotated[list[str] | None, Option("--emotion")] = None,
    count: int = 4, out: Path = Path("generated"), sampler: Literal["dpm++", "ddim", "ddpm"] = "dpm++",
    steps: int | None = None, guidance: float = 2.0, device: str = "auto", seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Write generated clips as WAV, and a manifest.csv that `--manifest` of other commands reads.

    JSON: folder, manifest, clips, classes, speech_s, seconds.

    Parameters
    ----------
    model
        The folder that `emolib generate train` wrote.
    emotions
        A class, repeated for more; all of them by default.
    count
        Clips of each class.
    out
        Folder of the clips and of manifest.csv.
    sampler
        dpm++, ddim or ddpm.
    steps
        20 by default, for ddim 50, for ddpm 1000.
    guidance
        1 is none, more makes classes plainer.
    seed
        Seed of the noise.
    """
    from emolib import audio, generate

    if count < 1:
        raise ValueError(f"--count {count}; expected 1 or more clips of each class")
    made = generate.Generator.load(model, device=device)
    labels = [emotion for emotion in emotions or made.classes for _ in range(count)]
    usual = {"dpm++": 20, "ddim": 50, "ddpm": 1000}[sampler]
    started = time.perf_counter()
    mels = made.sample(
        labels, sampler=sampler, steps=usual if steps is None else steps, guidance=guidance, seed=seed
    )
    names = [f"{clip}.wav" for clip in mels.clips]
    for name, wave in zip(names, generate.to_sound(mels), strict=True):
        audio.write(out / name, wave, generate.SAMPLE_RATE)
    table = pd.DataFrame({"path": names, "speaker": mels.speakers, "emotion": mels.labels})
    table.to_csv(out / "manifest.csv", index=False)
    seconds, speech_s = time.perf_counter() - started, float(mels.durations_s.sum())
    print(f"{len(mels)} clips, {speech_s:.1f} s of speech in {seconds:.1f} s: {out}")
    return {
        "folder": str(out), "manifest": str(out / "manifest.csv"), "clips": len(mels),
        "classes": sorted(set(labels)), "speech_s": round(speech_s, 2), "seconds": round(seconds, 1),
    }  # fmt: skip


@command()
def steer(
    recording: Annotated[Path, Argument(metavar="INPUT")], corpus: CorpusByOption, *, delta: float,
    out: Annotated[Path, Option("--output", "--out")],
    method: Literal["latent", "prosody", "hybrid"] = "prosody", source: str = "calm", target: str = "angry",
    encoder: str = SHIPPED_ENCODER, layer: int = 3, allow_extrapolation: bool = False, device: str = "auto",
    pitch: float = 0.0, pitch_range: Annotated[float, Option("--range")] = 0.0, tempo: float = 0.0,
    effort: float = 0.0, breathiness: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Move a recording from one emotion towards another.

    What moves it was learned from actors (RAVDESS) and is shipped: prosody from neutral or calm to an emotion
    at its strongest, and for the other methods axes in layer 3 of wav2vec2-nano. Where a corpus, another
    encoder or another layer is named, it is learned from that corpus the first time; from the embedded one,
    whose voices are no humans', where no corpus is named.

    The judge never had the recording's speaker: for a clip of the corpus that is learned from, another judge
    is trained where needed. Where that can't be done, the probabilities are left out. Who speaks in any
    other recording is unknown, and the output says so.

    Five knobs change prosody apart from emotion, in the same pass; the settings are kept in the sound file's
    comment.

    JSON: target_probability, source_probability (null where the judge had the speaker), duration_s, judge,
    knobs.

    Parameters
    ----------
    recording
        A recording of one speaker, any format and rate.
    delta
        How far: 0 changes nothing, 1 is one emotion further.
    out
        Where to write: .wav, .flac or .ogg.
    method
        What is moved.
    source
        The emotion that it is spoken in.
    target
        The emotion to move towards; several by their weights, as in angry=.6,sad=.3.
    layer
        Of latent and hybrid steering.
    allow_extrapolation
        Take deltas beyond -1 to 1.
    pitch
        Lower or higher, -1 to 1.
    pitch_range
        Flatter or livelier, -1 to 1.
    tempo
        Slower or faster, -1 to 1.
    effort
        Softer or more forceful, -1 to 1.
    breathiness
        Clearer or breathier, -1 to 1.
    """
    from emolib import audio, encoders, prosody, steering
    from emolib.steering import preparation, shipped

    knobs = prosody.check_knobs(
        {"pitch": pitch, "range": pitch_range, "tempo": tempo, "effort": effort, "breathiness": breathiness}
    )
    weights = _weights(target)

    delta = steering.check_delta(delta, allow_extrapolation=allow_extrapolation)
    steering.check_delta(delta * sum(map(abs, weights.values())), allow_extrapolation=allow_extrapolation)
    wave, sample_rate = audio.load(recording)
    make: Callable[[str], steering.Steerer]
    as_shipped = method == "prosody" or (encoder, layer) == (SHIPPED_ENCODER, preparation.LAYER)
    if not corpus.is_named and as_shipped and shipped.available():
        network = None if method == "prosody" else encoders.load(encoder, layers=[layer], device=device)
        make = functools.partial(
            shipped.prepare, method, source, encoder=network, allow_extrapolation=allow_extrapolation
        )
        corpus_name, judge, speaker = "ravdess", shipped.judge(), shipped.speaker(recording)
    else:
        clips = corpus.load()
        make = functools.partial(
            steering.prepare, method, source, manifest=clips, encoder=encoder, layer=layer, device=device,
            allow_extrapolation=allow_extrapolation, progress=sys.stderr.isatty(),
        )  # fmt: skip
        corpus_name, speaker = str(clips["corpus"].iloc[0]), _speaker(recording, clips)
        judge = _judge(clips, speaker)
    made = [make(word) for word in weights]
    steerer = made[0] if weights == {target: 1.0} else steering.blend(made, [*weights.values()])
    if any(knobs.values()):
        if not hasattr(steerer, "turned"):
            raise ValueError(f"knobs with --method {method}; they change prosody: expected prosody or hybrid")
        steerer = steerer.turned(knobs)
    steered = steerer.steer(wave, sample_rate, delta)
    settings = {"method": method, "delta": delta, "source": source, "target": target, "knobs": knobs}
    audio.write(out, steered, sample_rate, json.dumps(settings))
    after: dict[str, float | None] = dict.fromkeys((source, *weights))
    for word in after if speaker not in judge.speakers_ else ():
        before, found = judge.predict_proba([wave, steered], sample_rate)[:, judge.column(word)]
        after[word] = float(found)
        print(f"P({word}) {before:.2f} before, {found:.2f} after")
    note = _note(speaker, speaker not in judge.speakers_)
    print(f"{judge}\n{note}\nlearned from {corpus_name}, wrote {out}")
    found_p = [p for word, p in after.items() if word in weights and p is not None]
    return {
        "target_probability": sum(found_p) if found_p else None, "source_probability": after[source],
        "duration_s": len(steered) / sample_rate, "method": method, "delta": delta, "knobs": knobs,
        "learned_from": corpus_name, "judge": note, "natural_ua": judge.natural_ua_.value, "output": str(out),
    }  # fmt: skip


def _weights(target: str) -> dict[str, float]:
    """Return the weight of each emotion in ``angry=.6,sad=.3``; of one alone it is 1."""
    if "=" not in target:
        return {target: 1.0}
    weights: dict[str, float] = {}
    for part in target.split(","):
        word, _, number = part.partition("=")
        try:
            weights[word.strip()] = float(number)
        except ValueError:
            raise ValueError(f"--target {target!r}; expected one emotion, or angry=.6,sad=.3") from None
    return weights


def _speaker(recording: Path, clips: pd.DataFrame) -> str | None:
    """Return who speaks in a clip of a corpus, by its content; None in any other recording."""
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()
    found = clips.loc[clips["sha256"] == digest, "speaker"]
    return None if found.empty else str(found.iloc[0])


def _judge(clips: pd.DataFrame, speaker: str | None) -> "ser.Judge":
    """Return a corpus's judge, without one of its speakers where two others are left to learn from."""
    from emolib import steering

    chosen = steering.roles(clips).judges
    rest = [name for name in chosen if name != speaker]
    return steering.judge(clips, rest if len(rest) > 1 else chosen)


def _note(speaker: str | None, fit_to_judge: bool) -> str:
    """Return a sentence on whether the judge learned from the recording's speaker."""
    if speaker is None:
        return "the recording's speaker is unknown: it can't be told whether the judge was trained on them"
    if fit_to_judge:
        return f"the judge never had the recording's speaker, {speaker}"
    return f"no probabilities: the judge was trained on the recording's speaker, {speaker}"


@command()
def tts(
    *, text: str, out: Path, ref_calm: Path | None = None, ref_angry: Path | None = None,
    target: str | None = None, alpha: float = 1.0, allow_extrapolation: bool = False, voice: str = "en-us",
    vocoder: str | None = None, speaker: str | None = None, axis: Path | None = None,
    encoder: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Speak a text with emotion; JSON: axis_score, axis_score_plain, axis, duration_s, alpha, voice, out.

    Parameters
    ----------
    text
        What to say, in the voice's language.
    out
        Sound file to write: .wav, .flac or .ogg.
    ref_calm
        A recording of calm speech: the dial turns from it ...
    ref_angry
        ... to this one of angry speech, at alpha 1.
    target
        An emotion in place of references; angry by default.
    alpha
        How far to go, -1 to 1; 0 is the plain voice.
    allow_extrapolation
        Let alpha reach -2 to 2.
    voice
        A language of espeak-ng (de, en-us+f2), piper or the .onnx file of a Piper voice, a folder, or a
        Hugging Face id.
    vocoder
        Folder or id, for SpeechT5 and FastSpeech2-Conformer.
    speaker
        A number; for SpeechT5 a .npy file of an x-vector.
    axis
        Folder of a saved axis; one of the embedded voices by default.
    encoder
        The encoder of the default axis; the package's default encoder where none is given.
    """
    from emolib import audio
    from emolib.tts import check_alpha, load_voice, speak

    check_alpha(alpha, allow_extrapolation=allow_extrapolation)
    if (ref_calm is None) != (ref_angry is None):
        given = "--ref-calm" if ref_angry is None else "--ref-angry"
        raise ValueError(f"{given} alone; expected both references, or --target")
    clips = (ref_calm, ref_angry) if ref_calm and ref_angry else None
    speaking = load_voice(voice, vocoder=vocoder, speaker=speaker)
    plain, sample_rate = speaking.say(text)
    score = _score(axis, encoder, target if clips is None else None)
    wave, _ = speak(
        text, voice=speaking, target=target, alpha=alpha, clips=clips, score=score,
        allow_extrapolation=allow_extrapolation,
    )  # fmt: skip
    audio.write(out, wave, sample_rate)
    scores = [score(spoken, sample_rate) if score else None for spoken in (wave, plain)]
    goal = "the second reference" if clips else target or "angry"
    print(f"{len(wave) / sample_rate:.2f} s by {voice}, alpha {alpha:g} toward {goal}: {out}")
    ends = f"{score.axis.source_} to {score.axis.target_}" if score else None
    if score:
        print(f"axis score {scores[0]:.2f} from {ends}; the plain voice {scores[1]:.2f}")
    return {
        "axis_score": scores[0], "axis_score_plain": scores[1], "axis": ends,
        "duration_s": round(len(wave) / sample_rate, 3), "alpha": alpha, "voice": voice, "out": str(out),
    }  # fmt: skip


def _score(folder: Path | None, encoder: str | None, target: str | None) -> "AxisScore | None":
    """Return what scores the result; nothing, and say so, where the default encoder isn't at hand."""
    from emolib.axis import EmotionAxis
    from emolib.tts import AxisScore, embedded_score

    if folder is not None:
        if encoder is not None:
            raise ValueError(f"--encoder {encoder!r} beside --axis; a saved axis names its own encoder")
        return AxisScore(EmotionAxis.load(folder))
    ends = ("calm", "angry") if target in (None, "angry", "neutral") else ("neutral", str(target))
    if encoder is None and not (paths.model(SHIPPED_ENCODER) / "config.json").is_file():
        print(f"no axis score, and references count by prosody alone: {SHIPPED_ENCODER} isn't in models/")
        return None
    return embedded_score(*ends, encoder or SHIPPED_ENCODER)
