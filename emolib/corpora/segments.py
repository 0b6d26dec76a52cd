"""Which part of its file a table's row is: the columns that say so, under the names in use.

Times are in seconds. What looks like a time and isn't understood is refused: a row without its times would
mean its whole file.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_STARTS = ("start", "start_s", "start_time", "begin", "begin_s", "begin_time", "onset", "onset_s", "tmin")
_ENDS = ("end", "end_s", "end_time", "stop", "stop_s", "stop_time", "tmax")
_LENGTHS = ("duration", "duration_s", "dur")
_OFFSETS = ("offset", "offset_s")
_OTHER_UNIT = re.compile(
    r"(?:start|begin|onset|end|stop|offset)s?_(?:ms|msec|millis|milliseconds|samples?|frames?|idx|index)"
    r"|(?:sample|frame)_(?:start|begin|onset|end|stop|offset)"
)
_SLACK_S = 0.02  # by which times that were rounded may disagree


@dataclass(frozen=True)
class Times:
    """The columns of a table that say where clips start, where they end and how long they last."""

    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that say nothing beside the clip's start and end."""
        return (*self.starts, *self.ends, *(self.lengths if self.starts else ()))

    def of(self, row: Mapping[str, str]) -> tuple[float, float]:
        """Return start and end of a row's clip in s, both NaN where its cells are empty.

        Raises
        ------
        ValueError
            If they say too little, or contradict each other.
        """
        start_s, end_s = _agreed(row, self.starts), _agreed(row, self.ends)
        if math.isnan(start_s) and math.isnan(end_s):
            return start_s, end_s
        length_s = _agreed(row, self.lengths)
        if math.isnan(end_s):
            end_s = start_s + length_s
        if math.isnan(start_s) or math.isnan(end_s):
            raise ValueError("its row has one of start and end; expected both, or neither for the whole file")
        if abs(end_s - start_s - length_s) > _SLACK_S:
            raise ValueError(
                f"from {start_s:g} to {end_s:g} s, but its row says that it lasts {length_s:g} s"
            )
        return start_s, end_s


def columns(table: str | Path, names: Iterable[str]) -> Times:
    """Find the columns of times.

    Raises
    ------
    ValueError
        If there is a start without an end or a duration, an end without a start, or times in another unit.
    """
    plain = {name: re.sub(r"[^a-z]+", "_", name.lower()).strip("_") for name in names}
    if other := [name for name, key in plain.items() if _OTHER_UNIT.fullmatch(key)]:
        raise ValueError(
            f"{table}: the column {other[0]!r} isn't in seconds; expected start and end in seconds: convert, "
            f"or rename it if it is no time"
        )
    starts, ends, lengths, offsets = (
        tuple(name for name, key in plain.items() if key in keys)
        for keys in (_STARTS, _ENDS, _LENGTHS, _OFFSETS)
    )
    if offsets and starts:  # onset and offset
        ends += offsets
    elif offsets:  # offset and duration, as in NeMo's manifests
        starts = offsets
    if (starts and not ends and not lengths) or (ends and not starts):
        raise ValueError(
            f"{table}: the column {(starts or ends)[0]!r} has no counterpart; expected start and end, or "
            f"start and duration, in seconds: add what is missing, or rename the column if it is no time"
        )
    return Times(starts, ends, lengths)


def _agreed(row: Mapping[str, str], names: tuple[str, ...]) -> float:
    """Return the number that all filled cells of some columns hold, NaN if they are empty."""
    cells = {name: row[name].strip() for name in names if row[name].strip().lower() not in ("", "nan")}
    values = []
    for name, cell in cells.items():
        try:
            values.append(float(cell))
        except ValueError:
            raise ValueError(f"its {name} {cell!r} isn't a number of seconds") from None
    if values and max(values) - min(values) > _SLACK_S:
        raise ValueError(f"its columns {' and '.join(cells)} disagree: {' and '.join(cells.values())}")
    return values[0] if values else math.nan
