"""Pictures that follow a slider: SVG and PNG as text, each in a few milliseconds.

Figures for print are `emolib.plots`; these are drawn anew at each move, for which matplotlib takes too long.
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

_INK, _FAINT, _LINE = "#222222", "#666666", "#DDDDDD"
_BEFORE, _AFTER = "#9A9A9A", "#D55E00"
_PX_PER_S, _MEL_PX, _F0_PX = 130, 110, 110
_FLOOR_DB = 80.0
_HOP_MS = 10.0


def mels(before: Wave, after: Wave, sample_rate: int) -> str:
    """Draw both mel-spectrograms, one above the other, on one scale of time and of level."""
    levels = [audio.log_mel(wave, sample_rate) * (20 / np.log(10)) for wave in (before, after)]
    top = max(level_db.max() for level_db in levels)
    rows = []
    for name, level_db, wave in zip(("before", "after"), levels, (before, after), strict=True):
        width = round(_PX_PER_S * len(wave) / sample_rate)
        rows.append(
            f'<div>{name}</div><img alt="mel-spectrogram {name}" data-emolib="mel-{name}" width="{width}" '
            f'height="{_MEL_PX}" src="{_png(level_db, top)}">'
        )
    return f'<div style="font: 11px sans-serif; color: {_FAINT}">{"".join(rows)}</div>'


def f0(before: Wave, after: Wave, sample_rate: int) -> str:
    """Draw both pitch contours on one logarithmic axis; unvoiced stretches are gaps."""
    curves = [f0_contour(wave, sample_rate) for wave in (before, after)]
    voiced = np.concatenate([curve[curve > 0] for curve in curves])
    # single frames an octave off would squeeze the rest together
    low, high = np.percentile(voiced, (3, 97)) * (0.85, 1.15) if len(voiced) else (80.0, 400.0)
    width = round(_PX_PER_S * max(len(before), len(after)) / sample_rate)
    marks = []
    for hz in (50, 100, 200, 400):
        if low < hz < high:
            y = _height(hz, low, high)
            marks += [_line(0, y, width, y, _LINE), _text(width, y - 2, f"{hz} Hz", "end")]
    for curve, colour in zip(curves, (_BEFORE, _AFTER), strict=True):
        for run in _runs(curve):
            points = " ".join(
                f"{frame * _HOP_MS / 1000 * _PX_PER_S:.1f},{_height(curve[frame], low, high):.1f}"
                for frame in run
            )
            marks.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _svg("f0", "pitch before, in grey, and after", width, _F0_PX, marks)


def bars(before: Mapping[str, float], after: Mapping[str, float], target: str) -> str:
    """Draw the judge's probabilities: bars after, a tick where each was before, the target in bold."""
    marks = []
    for row, (name, share) in enumerate(after.items()):
        y, weight = 18 * row, "bold" if name == target else "normal"
        length, tick = 150 * share, 90 + 150 * before[name]
        marks += [
            _text(84, y + 12, name, "end", weight),
            f'<rect x="90" y="{y + 2}" width="{length:.1f}" height="13" fill="{emotions.COLOURS[name]}"/>',
            _line(tick, y, tick, y + 17, _INK),
            _text(94 + length, y + 12, f"{share:.2f}"),
        ]
    return _svg("judge", "the judge's probabilities", 280, 18 * len(after) + 4, marks)


def plane(
    anchors: Mapping[str, tuple[float, float]], before: tuple[float, float], after: tuple[float, float]
) -> str:
    """Draw how the clip moved on the arousal-valence plane, from a hollow point to a full one."""
    size = 200

    def at(point: tuple[float, float]) -> tuple[float, float]:
        valence, arousal = np.clip(point, -1, 1)
        return 10 + (valence + 1) / 2 * (size - 20), 10 + (1 - arousal) / 2 * (size - 20)

    marks = [
        f'<rect x="10" y="10" width="{size - 20}" height="{size - 20}" fill="none" stroke="{_LINE}"/>',
        f'<path d="M10 {size / 2}H{size - 10}M{size / 2} 10V{size - 10}" stroke="{_LINE}"/>',
    ]
    for name, anchor in anchors.items():
        x, y = at(anchor)
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{emotions.COLOURS[name]}"/>')
        side, shift = ("end", -6) if anchor[0] > 0.4 else ("start", 6)
        marks.append(_text(x + shift, y + 4, name, side))
    (x0, y0), (x1, y1) = at(before), at(after)
    marks += [
        _line(x0, y0, x1, y1, _INK),
        f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="6" fill="white" stroke="{_INK}"/>',
        f'<circle cx="{x1:.1f}" cy="{y1:.1f}" r="6" fill="{_INK}"/>',
    ]
    label = f"valence {after[0]:.2f}, arousal {after[1]:.2f}"
    return _svg("plane", label, size, size, marks)


def f0_contour(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Return the pitch of each 10 ms, (T,), Hz; 0 where unvoiced."""
    return world.pitch(wave, sample_rate, high_hz=600.0, hop_ms=_HOP_MS)


def _svg(kind: str, label: str, width: float, height: float, marks: list[str]) -> str:
    return (
        f'<svg data-emolib="{kind}" role="img" aria-label="{html.escape(label)}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11" fill="{_FAINT}">{"".join(marks)}</svg>'
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


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {place}>{html.escape(words)}</text>"


def _runs(curve: NDArray) -> list[NDArray]:
    """Return the frames of each voiced stretch."""
    voiced = np.flatnonzero(curve > 0)
    return [run for run in np.split(voiced, np.flatnonzero(np.diff(voiced) > 1) + 1) if len(run)]
