"""Pictures that follow a slider: SVG and PNG as text, each in a few milliseconds.

Figures for print are `emolib.plots`; these are drawn anew at each move, for which matplotlib takes too long.
They take the width that they are given, and the colours of JupyterLab's theme, light or dark.
"""

import base64
import html
import io
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emolib import audio, emotions, world
from emolib.audio import Wave

_INK, _FAINT, _LINE = (
    f"var(--jp-{name}, {without})"
    for name, without in (
        ("content-font-color1", "#222222"), ("content-font-color2", "#666666"), ("border-color2", "#DDDDDD")
    )
)  # fmt: skip
_WIDTH, _F0_PX = 460, 120
_FLOOR_DB = 80.0


def mels(before: Wave, after: Wave, sample_rate: int) -> tuple[str, str]:
    """Draw the mel-spectrograms of both, each as wide as it is long, on one scale of level."""
    waves = {"before": before, "after": after}
    levels = {name: audio.log_mel(wave, sample_rate) * (20 / np.log(10)) for name, wave in waves.items()}
    top, longest = max(level_db.max() for level_db in levels.values()), max(map(len, waves.values()))
    first, second = (
        f'<img alt="mel-spectrogram {name}, {len(wave) / sample_rate:.1f} s" data-emolib="mel-{name}" '
        f'style="width: {100 * len(wave) / longest:.1f}%" src="{_png(levels[name], top)}">'
        for name, wave in waves.items()
    )
    return first, second


def f0(before: Wave, after: Wave, sample_rate: int) -> str:
    """Draw both pitch contours on one logarithmic axis; unvoiced stretches are gaps."""
    curves = [world.pitch(wave, sample_rate, high_hz=600.0, hop_ms=10.0) for wave in (before, after)]
    voiced = np.concatenate([curve[curve > 0] for curve in curves])
    # single frames an octave off would squeeze the rest together
    low, high = np.percentile(voiced, (3, 97)) * (0.85, 1.15) if len(voiced) else (80.0, 400.0)
    px_per_frame = (_WIDTH - 50) / max(map(len, curves))
    marks = []
    for hz in (50, 70, 100, 140, 200, 280, 400, 560):
        if low < hz < high:
            y = _height(hz, low, high)
            marks += [_line(0, y, _WIDTH - 50, y, _LINE), _text(_WIDTH, y + 4, f"{hz} Hz", "end")]
    for curve, colour, width in zip(curves, (_FAINT, _INK), (1.5, 3), strict=True):
        for run in _runs(curve):
            points = " ".join(
                f"{frame * px_per_frame:.1f},{_height(curve[frame], low, high):.1f}" for frame in run
            )
            marks.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            )
    return _svg("f0", "pitch before, as a thin line, and after", _F0_PX, marks)


def bars(before: Mapping[str, float], after: Mapping[str, float], target: str) -> str:
    """Draw the judge's probabilities: bars after, a tick where each was before, the target in bold."""
    marks = []
    for row, (name, share) in enumerate(after.items()):
        y, weight = 20 * row, "bold" if name == target else "normal"
        length, tick = 300 * share, 90 + 300 * before[name]
        marks += [
            _text(84, y + 15, name, "end", weight),
            f'<rect x="90" y="{y + 3}" width="{length:.1f}" height="14" fill="{emotions.COLOURS[name]}" '
            f'stroke="{_FAINT}" stroke-width="0.5"/>',
            _line(tick, y + 1, tick, y + 19, _INK),
            _text(96 + max(length, tick - 90), y + 15, f"{share:.2f}", "start", weight),
        ]
    return _svg("judge", "the judge's probabilities", 20 * len(after) + 2, marks)


def _svg(kind: str, label: str, height: float, marks: list[str]) -> str:
    return (
        f'<svg data-emolib="{kind}" role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-size="13" fill="{_FAINT}">{"".join(marks)}</svg>'
    )


def _png(level_db: NDArray, top_db: float) -> str:
    shade = np.clip(1 + (level_db.T[::-1] - top_db) / _FLOOR_DB, 0, 1)
    pixels = (mpl.colormaps["magma"](shade)[..., :3] * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _height(hz: float, low: float, high: float) -> float:
    return float(_F0_PX * np.clip(1 - np.log(hz / low) / np.log(high / low), 0, 1))


def _line(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str, weight: str = "normal") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {place}>{html.escape(words)}</text>"


def _runs(curve: NDArray) -> list[NDArray]:
    """Return the frames of each voiced stretch."""
    voiced = np.flatnonzero(curve > 0)
    return [run for run in np.split(voiced, np.flatnonzero(np.diff(voiced) > 1) + 1) if len(run)]
