"""The interactive parts of the notebooks: a steering panel, an upload, a pad and a scatter on the plane."""

import base64
import html
import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import soundfile as sf
import traitlets
from IPython import display
from numpy.typing import ArrayLike

from emolib import audio, embeddings, emotions, files
from emolib.audio import Wave
from emolib.widgets import sketches

#: Six minutes of stereo at 48 kHz and 32 bits; 16 bits take half.
MOST_BYTES = 150_000_000


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
    """A plane with the emotions' anchors on it and one point that a person moves.

    Parameters
    ----------
    anchors : mapping of emotion to (valence, arousal), each in [-1, 1]

    Attributes
    ----------
    valence, arousal : float, in [-1, 1]; where the point is, set when it is let go
    """

    _esm = Path(__file__).parent / "pad.js"
    valence = traitlets.Float(0.0).tag(sync=True)
    arousal = traitlets.Float(0.0).tag(sync=True)
    #: What is drawn: name, valence, arousal and colour of each anchor.
    anchors: Any = traitlets.List().tag(sync=True)

    def __init__(self, anchors: Mapping[str, tuple[float, float]]) -> None:
        rows: list[Any] = [
            {"name": name, "valence": v, "arousal": a, "colour": emotions.COLOURS[emotions.check(name)]}
            for name, (v, a) in anchors.items()
        ]
        super().__init__(anchors=rows)

    @traitlets.validate("valence", "arousal")
    def _inside(self, proposal: Any) -> float:
        return min(1.0, max(-1.0, float(proposal["value"])))


class Upload(anywidget.AnyWidget):
    """A button that sends a file in pieces.

    Jupyter's servers close the connection without a message where one has more than 10 MB, so a file that is
    sent as one message would be lost. A file over the limit is refused in the page.

    Parameters
    ----------
    take : callable (name, content)
        What is done with a file that has arrived.
    most_bytes : int
    """

    _esm = Path(__file__).parent / "upload.js"
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)

    def __init__(self, take: Callable[[str, bytes], None], *, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(most_bytes=most_bytes)
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

_LONGEST_S = 60.0
_CACHED = 8
_NARROW = widgets.Layout(width="210px")


class Clip(NamedTuple):
    """A clip that is being steered."""

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
    judge : Judge
    locate : callable (wave, sample_rate) -> (valence, arousal)
    anchors : mapping of emotion to (valence, arousal)
    targets, methods : sequence of str
    folder : Path; where `save` puts the sound and its settings

    Attributes
    ----------
    heard : float32 array, (S,); what is playing now, at ``clip.sample_rate``
    clip : Clip
    latency_s : float, s; from the last change to its sound
    """

    def __init__(
        self, manifest: pd.DataFrame, *, steerer: "Callable[[str, str, str], Steerer]",
        blend: "Callable[[str, float, float], Steerer]", judge: "Judge",
        locate: Callable[[Wave, int], Point], anchors: Mapping[str, Point], targets: Sequence[str],
        methods: Sequence[str] = ("prosody", "latent", "hybrid"), folder: Path,
    ) -> None:  # fmt: skip
        if manifest.empty:
            raise ValueError("an empty manifest; expected at least one clip to steer")
        self._manifest, self._steerer, self._blend = manifest, steerer, blend
        self._judge, self._locate, self._anchors, self._folder = judge, locate, dict(anchors), folder
        self._analyses: dict[tuple[object, ...], tuple[Steerer, Any]] = {}
        self.latency_s = float("nan")
        self._build(targets, methods)
        super().__init__(children=self._arranged())
        self._choose_clip()
        self._listen()

    def __repr__(self) -> str:
        return f"SteeringPanel(clip={self.clip.name!r})"

    # ------------------------------------------------------------------------------------- controls

    def _build(self, targets: Sequence[str], methods: Sequence[str]) -> None:
        def dropdown(name: str, options: Sequence[Any]) -> widgets.Dropdown:
            return widgets.Dropdown(options=options, description=name, layout=_NARROW)

        first = self._manifest.iloc[0]
        self.speaker = dropdown("speaker", sorted(self._manifest["speaker"].unique()))
        self.speaker.value = first["speaker"]
        self.sentence = dropdown("sentence", self._sentences())
        self.source = dropdown("source", self._sources())
        self.target = dropdown("target", list(targets))
        self.method = dropdown("method", list(methods))
        self.delta = widgets.FloatSlider(
            value=0.0, min=-1.0, max=1.0, step=0.05, description="delta", readout_format=".2f",
            continuous_update=False, layout=widgets.Layout(width="430px"),
        )  # fmt: skip
        self.upload = Upload(self._on_upload)
        self.save_button = widgets.Button(description="save", tooltip="the sound, and its settings beside it")
        self.pad = PlanePad(self._anchors)
        self.before, self.after = (
            widgets.Audio(value=b"", format="wav", autoplay=False, loop=False) for _ in range(2)
        )
        self.picture, self.verdict, self.status = (widgets.HTML() for _ in range(3))

    def _arranged(self) -> list[widgets.Widget]:
        def named(text: str, player: widgets.Audio) -> widgets.HBox:
            return widgets.HBox([widgets.Label(text, layout=widgets.Layout(width="60px")), player])

        return [
            widgets.HBox([self.speaker, self.sentence, self.source], layout=widgets.Layout(flex_flow="wrap")),
            widgets.HBox([self.target, self.method, self.upload, self.save_button],
                         layout=widgets.Layout(flex_flow="wrap")),
            self.delta,
            named("before", self.before),
            named("after", self.after),
            self.status,
            # the pad first: pictures change their size, and must not move it from under the pointer
            widgets.HBox([self.pad, self.picture, self.verdict], layout=widgets.Layout(flex_flow="wrap")),
        ]  # fmt: skip

    def _listen(self) -> None:
        self.speaker.observe(self._on_speaker, "value")
        self.sentence.observe(self._on_sentence, "value")
        self.source.observe(lambda _: self._choose_clip(), "value")
        for control in (self.target, self.method, self.delta):
            control.observe(lambda _: self._render_target(), "value")
        self.pad.observe(lambda _: self._render_point(), ["valence", "arousal"])
        self.save_button.on_click(lambda _: self.save())

    def _of_speaker(self) -> pd.DataFrame:
        return self._manifest[self._manifest["speaker"] == self.speaker.value]

    def _sentences(self) -> list[tuple[str, str]]:
        rows = self._of_speaker().drop_duplicates("text_id")
        texts = rows["text"].where(rows["text"].astype(bool), rows["text_id"])
        return list(zip(texts.str.slice(0, 40), rows["text_id"], strict=True))

    def _sources(self) -> list[str]:
        rows = self._of_speaker()
        return sorted(rows.loc[rows["text_id"] == self.sentence.value, "emotion"].unique(),
                      key=lambda name: (name != "neutral", name))  # fmt: skip

    def _on_speaker(self, _: Any) -> None:
        with self.hold_trait_notifications():
            self.sentence.options = self._sentences()
        self._on_sentence(None)

    def _on_sentence(self, _: Any) -> None:
        source = self.source.value
        options = self._sources()
        self.source.options = options
        self.source.value = source if source in options else options[0]
        self._choose_clip()

    # ---------------------------------------------------------------------------------------- clips

    def _choose_clip(self) -> None:
        rows = self._of_speaker()
        rows = rows[(rows["text_id"] == self.sentence.value) & (rows["emotion"] == self.source.value)]
        if rows.empty or (hasattr(self, "clip") and self.clip.name == rows.iloc[0]["clip"]):
            return
        row = rows.iloc[0]
        try:
            wave, sample_rate = audio.load_clip(row)
        except audio.AudioError as error:
            if not hasattr(self, "clip"):
                raise
            self._say(str(error), wrong=True)
            return
        self._take(Clip(row["clip"], wave, sample_rate, row["emotion"]))

    def _on_upload(self, name: str, content: bytes) -> None:
        try:
            self.take_upload(name, content)
        except ValueError as error:
            self._say(str(error), wrong=True)

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
                raise ValueError(f"{name}: {str(error).replace(file.name, 'the upload')}") from None
        length_s = len(wave) / sample_rate
        if length_s > _LONGEST_S:
            wave = wave[: round(_LONGEST_S * sample_rate)]
            name = f"{name}, the first {_LONGEST_S:.0f} of {length_s:.0f} s"
        self._take(Clip(name, wave, sample_rate, self.source.value))

    def _take(self, clip: Clip) -> None:
        self.clip, self.heard = clip, clip.wave
        self.before.value = self.after.value = wav_bytes(clip.wave, clip.sample_rate)
        self._seen: tuple[dict[str, float], Point] | None = None
        self._render_target()

    # ------------------------------------------------------------------------------------ rendering

    def _render_target(self) -> None:
        key = (self.method.value, self.clip.emotion, self.target.value)
        words = f"{self.method.value}, delta {self.delta.value:+.2f} toward {self.target.value}"
        self._render(key, lambda: self._steerer(*key), self.delta.value, words)

    def _render_point(self) -> None:
        key = (self.clip.emotion, self.pad.valence, self.pad.arousal)
        words = f"toward valence {self.pad.valence:+.2f}, arousal {self.pad.arousal:+.2f}"
        self._render(("plane", *key), lambda: self._blend(*key), 1.0, words)

    def _render(
        self, key: tuple[object, ...], make: "Callable[[], Steerer]", delta: float, words: str
    ) -> None:
        """Render and play first, then draw; what steerer, judge or encoder refuses is said in the panel."""
        started = time.perf_counter()
        if (*key, self.clip.name) not in self._analyses and delta != 0:
            self._say("learning, or looking at the clip ...")
        try:
            self.heard = self._rendered((*key, self.clip.name), make, delta)
            self.after.value = wav_bytes(self.heard, self.clip.sample_rate)
            self.latency_s = time.perf_counter() - started
            self._draw()
        except ValueError as error:
            self._say(str(error), wrong=True)
            return
        self._say(f"{self.clip.name}: {words}; {1000 * self.latency_s:.0f} ms to sound")

    def _rendered(self, key: tuple[object, ...], make: "Callable[[], Steerer]", delta: float) -> Wave:
        """Return the clip moved by delta; at 0 nothing needs to be learned or analysed."""
        if delta == 0:
            return self.clip.wave
        if key not in self._analyses:
            steerer = make()
            analysis = steerer.analyse(self.clip.wave, self.clip.sample_rate)
            self._analyses = dict(list(self._analyses.items())[1 - _CACHED :])
            self._analyses[key] = steerer, analysis
        made, analysis = self._analyses[key]
        return made.render(analysis, delta)

    def _measures(self, wave: Wave) -> tuple[dict[str, float], Point]:
        shares = self._judge.predict_proba([wave], self.clip.sample_rate)[0]
        named = {str(name): float(share) for name, share in zip(self._judge.classes_, shares, strict=True)}
        return named, self._locate(wave, self.clip.sample_rate)

    def _draw(self) -> None:
        waves = self.clip.wave, self.heard, self.clip.sample_rate
        self.picture.value = sketches.mels(*waves) + sketches.f0(*waves)
        self.verdict.value = ""  # not that of an earlier sound, where this one is refused
        self._seen = self._seen or self._measures(self.clip.wave)
        shares, point = self._measures(self.heard)
        bars = sketches.bars(self._seen[0], shares, self.target.value)
        self.verdict.value = f"{bars}<br>{sketches.plane(self._anchors, self._seen[1], point)}"

    def _say(self, words: str, *, wrong: bool = False) -> None:
        colour, role = ("#B00020", "alert") if wrong else ("#444444", "status")
        self.status.value = f'<span role="{role}" style="color: {colour}">{html.escape(words)}</span>'

    def save(self) -> Path:
        """Write what is heard as a wav file, and its settings as JSON beside it; return the sound's path."""
        stem = f"{Path(self.clip.name).stem}_{self.method.value}_{self.target.value}_{self.delta.value:+.2f}"
        path = audio.write(self._folder / f"{stem}.wav", self.heard, self.clip.sample_rate)
        settings = {
            "clip": self.clip.name, "source": self.clip.emotion, "target": self.target.value,
            "method": self.method.value, "delta": self.delta.value,
            "valence": self.pad.valence, "arousal": self.pad.arousal,
        }  # fmt: skip
        files.write_file(path.with_suffix(".json"), json.dumps(settings, indent=1).encode())
        self._say(f"saved {path.name} and {path.stem}.json in {self._folder.name}/")
        return path
