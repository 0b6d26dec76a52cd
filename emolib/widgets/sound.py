"""Waves as what a browser plays."""

import io

import numpy as np
import soundfile as sf

from emolib.audio import Wave


def wav_bytes(wave: Wave, sample_rate: int) -> bytes:
    """Return a wave, (S,), as a wav file of 16 bits; what passes full scale is clipped."""
    file = io.BytesIO()
    sf.write(file, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
