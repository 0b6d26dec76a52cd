"""Text to speech with an emotion dial.

Text becomes speech (espeak-ng, which is embedded, or a VITS, SpeechT5 or FastSpeech2-Conformer network), and
the speech takes on an emotion by its name, or by what differs between two reference clips. The blend is made
in prosody and, with an axis, in an encoder's space; waveforms are never added.

``speak`` does all of it; ``load_voice`` gives a voice; ``AxisScore`` and ``embedded_score`` tell where the
result lies on an emotion axis.
"""

from emolib.tts.loading import DEFAULT_VOICE, FAMILIES, load_voice
from emolib.tts.speaking import AxisScore, check_alpha, embedded_score, settings_between, speak
from emolib.tts.voices import MAX_CHARACTERS, Voice

__all__ = [
    "DEFAULT_VOICE", "FAMILIES", "MAX_CHARACTERS", "AxisScore", "Voice", "check_alpha", "embedded_score",
    "load_voice", "settings_between", "speak",
]  # fmt: skip
