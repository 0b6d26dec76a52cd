"""A recording sent from the browser to the kernel, of any size up to a limit that the page states."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

#: Six minutes of stereo at 48 kHz and 32 bits; 16 bits take half.
MOST_BYTES = 150_000_000


class Upload(anywidget.AnyWidget):
    """A button that sends a file in pieces.

    Jupyter's servers close the connection without a word where a message has more than 10 MB, so a file that
    is sent as one message is lost there. A file over the limit is refused in the page.

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
