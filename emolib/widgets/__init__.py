"""The interactive parts of the notebooks: a steering panel, an upload, a pad and a scatter on the plane.

`app` is the panel with what is shipped; ``app.ipynb`` beside this file shows it as a page (`make app`), in
the template under ``voila/``. ``panel.css`` has the panel's columns.
"""

import asyncio
import base64
import html
import importlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import soundfile as sf
import traitlets
from IPython import display
from numpy.typing import ArrayLike

from emolib import audio, demo, embeddings, emotions, files, paths
from emolib.audio import Wave
from emolib.widgets import sketches


def wav_bytes(wave: Wave, sample_rate: int) -> bytes:
    """Return a wave, (S,), as a wav file of 16 bits; what passes full scale is clipped."""
    file = io.BytesIO()
    sf.write(file, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def players(sounds: Mapping[str, Mapping[str, Wave]], sample_rate: int) -> display.HTML:
    """Return a table of players that needs no kernel: a row for each name, in it a player for each caption.

    Parameters
    ----------
    sounds : mapping of row to mapping of caption to wave, (S,)
    sample_rate : int, Hz

    Notes
    -----
    The sound is MP3 at 16 kHz, about 3 kB a second, so that a page holds many.
    """
    rows = []
    for name, waves in sounds.items():
        cells = []
        for caption, wave in waves.items():
            file = io.BytesIO()
            sf.write(file, audio.resample(wave, sample_rate, 16_000), 16_000, format="MP3")
            source = base64.b64encode(file.getvalue()).decode()
            told = html.escape(f"{name}, {caption}", quote=True)
            cells.append(
                f'<td>{html.escape(caption)}<br><audio controls preload="none" style="width: 150px" '
                f'aria-label="{told}" src="data:audio/mpeg;base64,{source}"></audio></td>'
            )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(cells)}</tr>')
    return display.HTML(f"<table>{''.join(rows)}</table>")


class PlanePad(anywidget.AnyWidget):
    """A plane with the emotions' anchors on it and one ring that a person moves.

    Parameters
    ----------
    anchors : mapping of emotion to (valence, arousal), each in [-1, 1]

    Attributes
    ----------
    valence, arousal : float, in [-1, 1]; where the ring is, set when it is let go
    path : list of two [valence, arousal]; where a clip lies before and after, or empty
    """

    _esm = Path(__file__).parent / "pad.js"
    _css = Path(__file__).parent / "panel.css"
    valence = traitlets.Float(0.0).tag(sync=True)
    arousal = traitlets.Float(0.0).tag(sync=True)
    #: What is drawn: name, valence, arousal and colour of each anchor.
    anchors: Any = traitlets.List().tag(sync=True)
    path: Any = traitlets.List().tag(sync=True)

    def __init__(self, anchors: Mapping[str, tuple[float, float]]) -> None:
        rows: list[Any] = [
            {"name": name, "valence": v, "arousal": a, "colour": emotions.COLOURS[name]}
            for name, (v, a) in anchors.items()
        ]
        super().__init__(anchors=rows)

    @traitlets.validate("valence", "arousal")
    def _inside(self, proposal: Any) -> float:
        return min(1.0, max(-1.0, float(proposal["value"])))


class Upload(anywidget.AnyWidget):
    """Two buttons: one sends a file in pieces, the other what it records from the microphone.

    Jupyter's servers close the connection without a message where one has more than 10 MB, so a file that is
    sent as one message would be lost. A file over the limit is refused in the page.

    Parameters
    ----------
    take : callable (name, content)
        What is done with a file that has arrived.

    Attributes
    ----------
    most_bytes : int
    """

    _esm = Path(__file__).parent / "upload.js"
    #: Six minutes of stereo at 48 kHz and 32 bits; 16 bits take half.
    most_bytes = traitlets.Int(150_000_000).tag(sync=True)

    def __init__(self, take: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self._take, self._content = take, bytearray()
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], pieces: Sequence[Any]) -> None:
        if message["at"] == 0:
            self._content = bytearray()
        if message["at"] != len(self._content):
            return  # a piece of a file that another one has replaced
        for piece in pieces:
            self._content += piece
        if len(self._content) == message["size"]:
            content, self._content = bytes(self._content), bytearray()
            self._take(message["name"], content)


class Scatter(anywidget.AnyWidget):
    """Points on the plane, one of them chosen by a click or the arrow keys.

    Attributes
    ----------
    points : list of [valence, arousal, colour]
    chosen : int; -1 before anything is chosen
    """

    _esm = Path(__file__).parent / "scatter.js"
    points: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)


class AudibleScatter(widgets.VBox):
    """A scatter of clips that plays the one that is clicked, or only names it where it has no audio.

    Parameters
    ----------
    points : array-like, (N, 2); valence, arousal; what lies outside [-1, 1] is drawn on the border
    manifest : DataFrame, N rows, with clip, emotion, speaker and path
        A path is empty where the audio is not on this machine, as in the manifest of shipped embeddings.

    Raises
    ------
    ValueError
        If the numbers of points and clips differ, or a point isn't finite.
    """

    def __init__(self, points: ArrayLike, manifest: pd.DataFrame) -> None:
        places = np.asarray(points, dtype=np.float64)
        if places.shape != (len(manifest), 2) or not np.isfinite(places).all():
            n = len(manifest)
            raise ValueError(f"points of shape {places.shape} for {n} clips; expected ({n}, 2), all finite")
        self._manifest = manifest.reset_index(drop=True)
        colours = [emotions.COLOURS[word] for word in manifest["emotion"]]
        rows = [[float(v), float(a), colour] for (v, a), colour in zip(places, colours, strict=True)]
        self.scatter = Scatter(points=rows)
        self.player = widgets.Audio(value=b"", format="wav", autoplay=True, loop=False)
        lacks_audio = embeddings.lack_audio(manifest)
        self.words = widgets.HTML(f"click a point to {'see' if lacks_audio else 'hear'} its clip")
        shown = [self.scatter, self.words] if lacks_audio else [self.scatter, self.words, self.player]
        super().__init__(children=shown)
        self.scatter.observe(self._play, "chosen")

    def __repr__(self) -> str:
        return f"AudibleScatter({len(self._manifest)} clips)"

    def _play(self, change: Any) -> None:
        row = self._manifest.iloc[change["new"]]
        valence, arousal, _ = self.scatter.points[change["new"]]
        text = f"{row['clip']}: {row['emotion']}, speaker {row['speaker']}"
        self.words.value = html.escape(f"{text}; valence {valence:+.2f}, arousal {arousal:+.2f}")
        if not row["path"]:
            return
        try:
            self.player.value = wav_bytes(*audio.load_clip(row))
        except audio.AudioError as error:
            self.words.value = html.escape(str(error))


# ------------------------------------------------------------------------------------- the steering panel


if TYPE_CHECKING:
    from emolib.ser import Judge
    from emolib.steering import Steerer

Point = tuple[float, float]
#: Lowest and highest value, the one that changes nothing, and what it does.
Knob = tuple[float, float, float, str]

_LONGEST_S = 60.0
_WIDE = widgets.Layout(width="auto")
_LEGEND = (
    "Drag the ring, or move it by arrow keys, to steer towards a point of the plane. "
    "The line: where the clip lies before (hollow) and after (full)."
)


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip that is being steered; no two are equal, whatever their names."""

    name: str
    wave: Wave
    sample_rate: int
    emotion: str


class SteeringPanel(widgets.VBox):
    """A panel that steers one clip: sound, spectrograms, pitch, judge and plane follow its controls.

    Parameters
    ----------
    manifest : DataFrame
        The clips to choose from, with speaker, text_id, text, emotion and path: of speakers that neither the
        steerers nor the judge were trained on.
    steerer : callable (method, source, target) -> Steerer
        Called when a method or an emotion is chosen; it should keep what it trains.
    blend : callable (source, valence, arousal) -> Steerer
        A steerer whose delta 1 is a point of the plane.
    judge : Judge, optional
        Nothing is drawn without one; the attribute `judge` may be set later, which draws.
    locate : callable (wave, sample_rate) -> (valence, arousal), optional
        By default the mean of the anchors, weighted by the judge's probabilities.
    anchors : mapping of emotion to (valence, arousal)
    targets, methods : sequence of str
    knobs : mapping of name to `Knob`, optional
        More sliders: ``steerer.turned(values by name)`` renders what the steerer analysed.
    load : callable (row of the manifest) -> (wave, sample_rate)
    folder : Path; where `save` puts the sound and its settings

    Attributes
    ----------
    heard : float32 array, (S,); what is playing now, at ``clip.sample_rate``
    clip : Clip
    latency_s : float, s; from the last change to its sound
    """

    judge: Any = traitlets.Any()

    def __init__(
        self, manifest: pd.DataFrame, *, steerer: "Callable[[str, str, str], Steerer]",
        blend: "Callable[[str, float, float], Steerer]", judge: "Judge | None" = None,
        locate: Callable[[Wave, int], Point] | None = None, anchors: Mapping[str, Point],
        targets: Sequence[str], methods: Sequence[str] = ("prosody", "latent", "hybrid"),
        knobs: Mapping[str, Knob] | None = None,
        load: Callable[[Any], tuple[Wave, int]] = audio.load_clip, folder: Path,
    ) -> None:  # fmt: skip
        if manifest.empty:
            raise ValueError("an empty manifest; expected at least one clip to steer")
        self._manifest, self._steerer, self._blend, self._load = manifest, steerer, blend, load
        self._locate, self._anchors, self._folder = locate, dict(anchors), folder
        self._analysed = lru_cache(maxsize=8)(self._analyse)
        self.latency_s = float("nan")
        self._build(targets, methods, knobs or {})
        super().__init__(children=self._arranged(), judge=judge)
        self.add_class("emolib-panel")
        self._take_row(self._chosen())
        self._listen()

    def __repr__(self) -> str:
        return f"SteeringPanel(clip={self.clip.name!r})"

    # ------------------------------------------------------------------------------------- controls

    def _build(self, targets: Sequence[str], methods: Sequence[str], knobs: Mapping[str, Knob]) -> None:
        def dropdown(name: str, options: Sequence[Any]) -> widgets.Dropdown:
            return widgets.Dropdown(options=options, description=name, layout=_WIDE)

        def slider(name: str, low: float, high: float, value: float, text: str) -> widgets.FloatSlider:
            return widgets.FloatSlider(
                value=value, min=low, max=high, step=0.05, description=name, readout_format=".2f",
                continuous_update=False, layout=_WIDE, tooltip=text,
            )  # fmt: skip

        first = self._manifest.iloc[0]
        self.speaker = dropdown("speaker", sorted(self._manifest["speaker"].unique()))
        self.speaker.value = first["speaker"]
        self.sentence = dropdown("sentence", self._sentences())
        self.source = dropdown("source", self._sources())
        self.target = dropdown("target", list(targets))
        self.method = dropdown("method", list(methods))
        self.delta = slider("delta", -1.0, 1.0, 0.0, "how far towards the target")
        self._at_rest = {name: knob[2] for name, knob in knobs.items()}
        self.knobs = {name: slider(name, *knob) for name, knob in knobs.items()}
        self.upload = Upload(self._on_upload)
        self.save_button = widgets.Button(description="save", tooltip="the sound, and its settings beside it")
        self.at_once = widgets.Checkbox(description="play each change", indent=False, layout=_WIDE)
        self.pad = PlanePad(self._anchors)
        self.before, self.after = (
            widgets.Audio(value=b"", format="wav", autoplay=False, loop=False) for _ in range(2)
        )
        widgets.jslink((self.at_once, "value"), (self.after, "autoplay"))
        self.mel_before, self.mel_after, self.pitch, self.verdict, self.status = (
            widgets.HTML() for _ in range(5)
        )

    def _arranged(self) -> list[widgets.Widget]:
        def part(*children: widgets.Widget, title: str = "", name: str = "part") -> widgets.VBox:
            heading = [widgets.HTML(f"<b>{title}</b>")] if title else []
            box = widgets.VBox([*heading, *children])
            box.add_class(f"emolib-{name}")
            return box

        return [
            part(
                self.speaker, self.sentence, self.source, self.target, self.method, self.delta,
                *self.knobs.values(), self.upload, part(self.at_once, self.save_button, name="row"),
                part(self.status, name="status"),
            ),
            part(self.pad, widgets.HTML(_LEGEND)),
            part(self.before, self.mel_before, title="before"),
            part(self.after, self.mel_after, title="after"),
            part(self.pitch, title="pitch: before (thin) and after"),
            part(self.verdict, title="probabilities of the judge: before (ticks) and after"),
        ]  # fmt: skip

    def _listen(self) -> None:
        self.speaker.observe(lambda _: self._on_speaker(), "value")
        self.sentence.observe(lambda _: self._on_sentence(), "value")
        self.source.observe(lambda _: self._on_source(), "value")
        self.observe(lambda _: self._on_judge(), "judge")
        for control in (self.target, self.method, self.delta, *self.knobs.values()):
            control.observe(lambda _: self._render_target(), "value")
        self.pad.observe(lambda _: self._render_point(), ["valence", "arousal"])
        self.save_button.on_click(lambda _: self.save())

    def _of_speaker(self) -> pd.DataFrame:
        return self._manifest[self._manifest["speaker"] == self.speaker.value]

    def _sentences(self) -> list[tuple[str, str]]:
        rows = self._of_speaker().drop_duplicates("text_id")
        texts = rows["text"].where(rows["text"].astype(bool), rows["text_id"])
        return list(zip(texts.str.slice(0, 80), rows["text_id"], strict=True))

    def _sources(self) -> list[str]:
        rows = self._of_speaker()
        return emotions.ordered(rows.loc[rows["text_id"] == self.sentence.value, "emotion"].tolist())

    def _chosen(self) -> pd.Series:
        rows = self._of_speaker()
        return rows[(rows["text_id"] == self.sentence.value) & (rows["emotion"] == self.source.value)].iloc[0]

    def _on_speaker(self) -> None:
        self.sentence.options = self._sentences()
        self._on_sentence()

    def _on_sentence(self) -> None:
        source, options = self.source.value, self._sources()
        self.source.options = options
        self.source.value = source if source in options else options[0]
        self._on_source()

    # ---------------------------------------------------------------------------------------- clips

    def _on_source(self) -> None:
        row = self._chosen()
        if row["clip"] == self.clip.name:
            return
        try:
            self._take_row(row)
        except audio.AudioError as error:
            self.say(str(error), wrong=True)

    def _take_row(self, row: pd.Series) -> None:
        self._take(Clip(row["clip"], *self._load(row), row["emotion"]))

    def _on_upload(self, name: str, content: bytes) -> None:
        try:
            self.take_upload(name, content)
        except ValueError as error:
            self.say(str(error), wrong=True)

    def take_upload(self, name: str, content: bytes) -> None:
        """Steer a recording of one's own, mono or stereo, of any rate; it is taken for the source emotion.

        Of one that is longer than a minute the first minute is taken, and its name says so.

        Raises
        ------
        ValueError
            If it can't be read or is silent.
        """
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(content)
            file.flush()
            try:
                wave, sample_rate = audio.load(file.name)
            except audio.AudioError as error:
                reason = str(error).replace(Path(file.name).name, name)
                raise ValueError(f"{reason}; expected speech as wav, flac, ogg or mp3") from None
        length_s = len(wave) / sample_rate
        if length_s > _LONGEST_S:
            wave = wave[: round(_LONGEST_S * sample_rate)]
            name = f"{name}, the first {_LONGEST_S:.0f} of {length_s:.0f} s"
        self._take(Clip(name, wave, sample_rate, self.source.value))

    def _take(self, clip: Clip) -> None:
        self.clip, self.heard = clip, clip.wave
        self.before.value = self.after.value = wav_bytes(clip.wave, clip.sample_rate)
        self._seen: tuple[dict[str, float], Point] | None = None  # of the clip as it is
        for picture in (self.mel_before, self.mel_after, self.pitch):
            picture.value = ""  # those of another clip
        self._render_target()

    # ------------------------------------------------------------------------------------ rendering

    def _on_judge(self) -> None:
        self._seen = None
        self._render_target()

    def _render_target(self) -> None:
        key = (self.method.value, self.clip.emotion, self.target.value)
        words = f"{self.method.value}, delta {self.delta.value:+.2f} toward {self.target.value}"
        self._render(self._steerer, key, self.delta.value, words)

    def _render_point(self) -> None:
        key = (self.clip.emotion, self.pad.valence, self.pad.arousal)
        words = f"toward valence {self.pad.valence:+.2f}, arousal {self.pad.arousal:+.2f}"
        self._render(self._blend, key, 1.0, words)

    def _render(self, make: "Callable[..., Steerer]", key: tuple[Any, ...], delta: float, words: str) -> None:
        """Render and play first, then draw; what steerer, judge or encoder refuses is said in the panel."""
        started = time.perf_counter()
        try:
            self.heard = self._rendered(make, key, delta)
            self.after.value = wav_bytes(self.heard, self.clip.sample_rate)
            self.latency_s = time.perf_counter() - started
            self._draw()
        except ValueError as error:
            self.verdict.value, self.pad.path = "", []  # not those of an earlier sound
            self.say(f"{self.clip.name}: {error}", wrong=True)
            return
        self.say(f"{self.clip.name}: {words}; {1000 * self.latency_s:.0f} ms to sound")

    def _rendered(self, make: "Callable[..., Steerer]", key: tuple[Any, ...], delta: float) -> Wave:
        """Return the clip moved by delta and knobs; at rest nothing needs to be learned or analysed."""
        knobs = {name: knob.value for name, knob in self.knobs.items()}
        if delta == 0 and knobs == self._at_rest:
            return self.clip.wave
        steerer, analysis = self._analysed(make, key, self.clip)
        if knobs != self._at_rest:
            if not hasattr(steerer, "turned"):
                raise ValueError(
                    f"{self.method.value} has no knobs; expected all at rest, or the method prosody"
                )
            steerer = steerer.turned(knobs)
        return steerer.render(analysis, delta)

    def _analyse(self, make: "Callable[..., Steerer]", key: tuple[Any, ...], clip: Clip) -> tuple[Any, Any]:
        self.say("learning, or looking at the clip ...")
        steerer = make(*key)
        return steerer, steerer.analyse(clip.wave, clip.sample_rate)

    def _measures(self, wave: Wave) -> tuple[dict[str, float], Point]:
        shares = self.judge.predict_proba([wave], self.clip.sample_rate)[0]
        named = {str(name): float(share) for name, share in zip(self.judge.classes_, shares, strict=True)}
        if self._locate:
            return named, self._locate(wave, self.clip.sample_rate)
        valence, arousal = shares @ np.array([self._anchors[name] for name in named])
        return named, (float(valence), float(arousal))

    def _draw(self) -> None:
        if self.judge is None:
            return
        waves = self.clip.wave, self.heard, self.clip.sample_rate
        self.mel_before.value, self.mel_after.value = sketches.mels(*waves)
        self.pitch.value = sketches.f0(*waves)
        self._seen = self._seen or self._measures(self.clip.wave)
        (before, start), (after, end) = self._seen, self._measures(self.heard)
        self.verdict.value = sketches.bars(before, after, self.target.value)
        self.pad.path = [list(start), list(end)]

    def say(self, words: str, *, wrong: bool = False) -> None:
        """Show a sentence in the status line, as an alert where something is wrong."""
        role = "alert" if wrong else "status"
        self.status.value = f'<span role="{role}">{html.escape(words)}</span>'

    def save(self) -> Path:
        """Write what is heard as a wav file, and its settings as JSON beside it; return the sound's path."""
        stem = f"{Path(self.clip.name).stem}_{self.method.value}_{self.target.value}_{self.delta.value:+.2f}"
        path = audio.write(self._folder / f"{stem}.wav", self.heard, self.clip.sample_rate)
        settings = {
            "clip": self.clip.name, "source": self.clip.emotion, "target": self.target.value,
            "method": self.method.value, "delta": self.delta.value,
            "valence": self.pad.valence, "arousal": self.pad.arousal,
            "knobs": {name: knob.value for name, knob in self.knobs.items()},
        }  # fmt: skip
        files.write_file(path.with_suffix(".json"), json.dumps(settings, indent=1).encode())
        self.say(f"saved {path.name} and {path.stem}.json in {self._folder.name}/")
        return path


# ------------------------------------------------------------------------------------------- the app


def app() -> SteeringPanel:
    """Return the panel with what is shipped: the demo's voices, and transforms and judge of human speech.

    It can be shown, and its first clip played, at once; what steers and judges is loaded behind it, which the
    panel says. A clip is synthesised when it is chosen. Nothing is trained.

    Raises
    ------
    ValueError
        If the transforms aren't where models are kept.
    """
    from emolib import prosody

    sources = ("neutral", "calm")
    clips = {clip.clip: clip for clip in demo.plan(takes=1, emotion_words=sources)}
    transforms = paths.model("prosody-ravdess").glob(f"{sources[0]}-*")
    targets = emotions.ordered([folder.name.removeprefix(f"{sources[0]}-") for folder in transforms])
    if not targets:
        raise ValueError(f"no transforms in {paths.model('prosody-ravdess')}; expected those of a checkout")

    def speak(row: Any) -> tuple[Wave, int]:
        clip = clips[row["clip"]]
        return demo.render(clip.voice, row["text"], clip.emotion, clip.valence, clip.arousal, name=clip.clip)

    def shipped() -> Any:
        return importlib.import_module("emolib.steering").shipped  # takes seconds

    @cache
    def studio() -> Any:
        return shipped().Studio()

    anchors = {**demo.ANCHORS, **emotions.ANCHORS["emodb"]}
    panel = SteeringPanel(
        pd.DataFrame([clip.row() for clip in clips.values()]),
        steerer=lambda *way: studio().steerer(*way),
        blend=lambda *point: shipped().blend(*point),
        anchors={word: anchors[word] for word in (*sources, *targets)},
        targets=targets, load=speak, knobs=prosody.KNOBS, folder=paths.runs() / "steered",
    )  # fmt: skip

    async def complete() -> None:
        wave, sample_rate = panel.clip.wave, panel.clip.sample_rate
        try:
            panel.say("loading, 1 of 3: the transforms ...")
            parts = await asyncio.to_thread(shipped)
            panel.say("loading, 2 of 3: the judge ...")
            judge = await asyncio.to_thread(parts.judge)
            await asyncio.to_thread(judge.predict_proba, [wave], sample_rate)
            panel.say("loading, 3 of 3: the first clip ...")
            await asyncio.to_thread(parts.steerer(sources[0], targets[0]).analyse, wave, sample_rate)
        except (ValueError, OSError) as error:
            panel.say(str(error), wrong=True)
            return
        panel.delta.value = panel.delta.value or 0.8  # something to compare at once
        panel.judge = judge

    try:
        panel.loading = asyncio.get_running_loop().create_task(complete())
    except RuntimeError:  # outside a kernel
        asyncio.run(complete())
    return panel
