"""A page of clips that can be heard beside each other: one HTML file, with its sounds inside it.

Sounds are MP3; nothing else is loaded, from this machine or from the network. Every clip is a button that the
keyboard reaches as well, with the emotions below that a judge gave it.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf

from emolib import audio, emotions
from emolib.atomic import write_file
from emolib.audio import Wave

#: Of the sounds in a page.
SAMPLE_RATE = 16_000
#: Of libsndfile's 0 to 1; 0.96 is some 24 kbit/s.
COMPRESSION = 0.96


@dataclass(frozen=True)
class Clip:
    """A cell of a table.

    Attributes
    ----------
    wave : float32 array, (S,)
    heard : mapping of emotion to probability; the two largest are shown
    notes : sequence of str; one short line each
    """

    wave: Wave
    heard: Mapping[str, float]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """Clips laid out.

    Attributes
    ----------
    title, text : str
    columns : sequence of str
    rows : mapping of a row's name to its cells, as many as columns; None leaves a gap
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Clip | None]]


def write_page(
    path: str | Path,
    title: str,
    text: str,
    tables: Sequence[Table],
    sample_rate: int,
    *,
    most_mb: float = 1.5,
) -> Path:
    """Write a page.

    Parameters
    ----------
    path : str or Path; ends in .html
    title, text : str
    tables : sequence of Table
    sample_rate : int, Hz; of all waves
    most_mb : float, MB; what the page may weigh

    Raises
    ------
    ValueError
        If a row has not as many cells as there are columns, or the page would weigh more.
    """
    clips = [clip for table in tables for row in table.rows.values() for clip in row if clip]
    with ThreadPoolExecutor() as pool:
        coded = list(pool.map(lambda clip: mp3(clip.wave, sample_rate), clips))
    sounds = list(dict.fromkeys(coded))
    number_of = {id(clip): sounds.index(sound) for clip, sound in zip(clips, coded, strict=True)}
    body = "\n".join(_table(table, sample_rate, number_of) for table in tables)
    texts = [f'"{base64.b64encode(sound).decode()}"' for sound in sounds]
    present = emotions.ordered({word for clip in clips for word in _top(clip.heard)})
    legend = "".join(f'<li style="--c:{emotions.COLOURS[word]}">{word}</li>' for word in present)
    style, script = (Path(__file__).with_suffix(ending).read_text("utf-8") for ending in (".css", ".js"))
    page = _PAGE.format(
        title=html.escape(title), text=html.escape(text), legend=legend, body=body, clips=",\n".join(texts),
        style=style, script=script,
    ).encode()  # fmt: skip
    if len(page) > most_mb * 1e6:
        raise ValueError(
            f"a page of {len(page) / 1e6:.2f} MB with {len(sounds)} sounds; expected at most {most_mb} MB: "
            f"show fewer or shorter clips"
        )
    write_file(Path(path), page)
    return Path(path)


def mp3(wave: Wave, sample_rate: int) -> bytes:
    """Encode a wave as MP3 at 16 kHz, mono; equal waves give equal bytes."""
    file = io.BytesIO()
    samples = audio.resample(wave, sample_rate, SAMPLE_RATE)
    sf.write(
        file, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=COMPRESSION
    )
    return file.getvalue()


def _table(table: Table, sample_rate: int, number_of: Mapping[int, int]) -> str:
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = []
    for name, clips in table.rows.items():
        if len(clips) != len(table.columns):
            raise ValueError(f"row {name!r} of {len(clips)} cells; expected {len(table.columns)}")
        cells = "".join(
            _cell(clip, f"{name}, {column}", sample_rate, number_of)
            for column, clip in zip(table.columns, clips, strict=True)
        )
        colour = emotions.COLOURS.get(name.split()[0])
        mark = f' class="named" style="--c:{colour}"' if colour else ""
        rows.append(f'<tr><th scope="row"{mark}>{html.escape(name)}</th>{cells}</tr>')
    return (
        f"<section>\n<h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.text)}</p>\n"
        f'<div class="scroll"><table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>\n</section>"
    )


def _cell(clip: Clip | None, name: str, sample_rate: int, number_of: Mapping[int, int]) -> str:
    if clip is None:
        return "<td></td>"
    top = _top(clip.heard)
    bars = "".join(
        f'<i style="--c:{emotions.COLOURS[word]};--p:{share:.2f}"></i><b>{word}</b><s>{share:.0%}</s>'
        for word, share in top.items()
    )
    heard = ", ".join(f"{word} {share:.0%}" for word, share in top.items())
    duration_s = len(clip.wave) / sample_rate
    notes = "".join(f"<small>{html.escape(note)}</small>" for note in clip.notes)
    label = html.escape(f"{name}: play {duration_s:.1f} seconds; heard as {heard}", quote=True)
    first = emotions.COLOURS[next(iter(top))]
    return (
        f'<td><button style="--c:{first}" data-clip="{number_of[id(clip)]}" aria-label="{label}"></button>'
        f'<div class="heard" aria-hidden="true">{bars}</div>{notes}</td>'
    )


def _top(heard: Mapping[str, float]) -> dict[str, float]:
    """Return the two most probable emotions."""
    return dict(sorted(heard.items(), key=lambda entry: -entry[1])[:2])


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{text}</p>
<ul class="legend" aria-label="Colours of the emotions">{legend}</ul>
<p class="keys">Click to hear, click again to stop. Keyboard: <kbd>Tab</kbd> or the arrows move,
<kbd>Enter</kbd> plays, <kbd>Esc</kbd> stops.</p>
<noscript><p>The sounds are played by a script, which this browser does not run.</p></noscript>
</header>
<main>
{body}
</main>
<script type="application/json" id="clips">[{clips}]</script>
<script>
{script}</script>
</body>
</html>
"""
