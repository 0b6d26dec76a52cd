"""Hand-made features behind the interface of an encoder: the baselines that every network is compared with.

References
----------
F0: the DIO and StoneMask estimators of WORLD, M. Morise, F. Yokomori, K. Ozawa (2016),
doi:10.1587/transinf.2015EDP7457.
Functionals: F. Eyben, M. Wöllmer, B. Schuller (2010), "openSMILE", doi:10.1145/1873951.1874246; eGeMAPS,
F. Eyben et al. (2016), doi:10.1109/TAFFC.2015.2457417; ComParE 2016, B. Schuller et al. (2016),
doi:10.21437/Interspeech.2016-129.
"""

from collections.abc import Sequence

import librosa
import numpy as np
from numpy.typing import NDArray

from emolib import audio, threads, world
from emolib.encoders.transformer import fit_wave
from emolib.files import optional

#: openSMILE's feature set of each baseline of functionals.
FEATURE_SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}


class LogMel:
    """Log-mel-spectrogram frames as an encoder's only layer."""

    name = "logmel"
    fingerprint = "hifigan-mel-1"
    layers: tuple[int, ...] = (0,)
    sample_rate = audio.HIFIGAN_MEL.sample_rate
    width = audio.HIFIGAN_MEL.n_mels
    hop_s = audio.HIFIGAN_MEL.hop_length / audio.HIFIGAN_MEL.sample_rate
    first_frame_s = hop_s / 2

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to log-mel frames, each float32 (1, T, 80)."""
        return [audio.log_mel(wave, sample_rate, audio.HIFIGAN_MEL)[None] for wave in waves]


class Prosody:
    """Eight prosodic measures a frame as an encoder's only layer.

    The columns: log F0 (Hz, interpolated over unvoiced frames), its slope per second, voicing (0 or 1), level
    (dB), its slope per second, spectral tilt (dB per octave), spectral centroid (log Hz) and spectral
    flatness (log).
    """

    name = "prosody"
    fingerprint = "prosody-1"
    layers: tuple[int, ...] = (0,)
    sample_rate = 16_000
    width = 8
    hop_s, first_frame_s = 0.01, 0.0

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to prosodic frames, each float32 (1, T, 8)."""
        resampled = (audio.resample(wave, sample_rate, self.sample_rate) for wave in waves)
        return [_prosodic_frames(wave)[None] for wave in resampled]


class Functionals:
    """openSMILE's functionals as an encoder's only layer, one frame per clip, however long the clip is.

    Their mean over frames is the functionals themselves. Their deviation, which ``mean+std`` puts beside
    them, is 0 throughout and changes no probe.

    The package opensmile computes them. It is an extra, `functionals`, under audEERING's research licence:
    no commercial product may use it, nor features that it extracted.

    Parameters
    ----------
    name : {"egemaps", "compare"}
        eGeMAPSv02, 88 functionals, or ComParE_2016, 6,373.

    Raises
    ------
    ValueError
        If opensmile is not installed.
    """

    layers: tuple[int, ...] = (0,)
    sample_rate = 16_000
    hop_s, first_frame_s = float("inf"), 0.0
    min_samples = 960  # 60 ms, openSMILE's longest window

    def __init__(self, name: str) -> None:
        opensmile = optional(
            "opensmile", f"encoder {name!r}",
            "`pip install 'emolib[functionals]'`, if its licence suits you: audEERING's openSMILE research "
            "licence, no commercial products",
        )  # fmt: skip
        self.name = name
        self.fingerprint = f"opensmile-{opensmile.__version__}-{FEATURE_SETS[name]}-1"
        feature_set = opensmile.FeatureSet[FEATURE_SETS[name]]
        self._smile = opensmile.Smile(feature_set, opensmile.FeatureLevel.Functionals)
        self.width: int = self._smile.num_features

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to functionals, each float32 (1, 1, D).

        Raises
        ------
        AudioError
            If a wave is shorter than 60 ms, has several channels, or holds NaN or infinite samples.
        """
        ready = [fit_wave(wave, sample_rate, i, self, self.min_samples) for i, wave in enumerate(waves)]
        full_scale = 32_767 / 32_768  # openSMILE's 16-bit samples would wrap around at 1
        ready = [np.clip(wave, -1, full_scale) for wave in ready]
        return threads.each(lambda wave: self._smile(wave, self.sample_rate).reshape(1, 1, -1), ready)


def _prosodic_frames(wave: audio.Wave) -> NDArray[np.float32]:
    sample_rate, hop_s = Prosody.sample_rate, Prosody.hop_s
    f0_hz = world.pitch(wave, sample_rate, high_hz=700, hop_ms=1000 * hop_s)
    padded = np.pad(wave, (0, max(0, 512 - len(wave))))  # one whole window at least
    spectrum = librosa.stft(padded, n_fft=512, hop_length=round(hop_s * sample_rate), pad_mode="constant")
    n_frames = min(len(f0_hz), spectrum.shape[1])
    f0_hz, power = f0_hz[:n_frames], np.abs(spectrum).T[:n_frames].astype(np.float64) ** 2 + 1e-10
    voiced = f0_hz > 0
    log_f0 = np.full(n_frames, np.log(120.0))  # a constant where nothing is voiced
    if voiced.any():
        log_f0 = np.interp(np.arange(n_frames), np.flatnonzero(voiced), np.log(f0_hz[voiced]))
    level_db = 10 * np.log10(power.sum(1))
    frequencies = librosa.fft_frequencies(sr=sample_rate, n_fft=512)
    octaves = np.log2(frequencies[2:] / 1000)
    octaves -= octaves.mean()
    tilt = 10 * np.log10(power[:, 2:]) @ octaves / (octaves @ octaves)
    centroid = np.log((power @ frequencies) / power.sum(1))
    flatness = np.log(power).mean(1) - np.log(power.mean(1))
    slopes = [np.gradient(curve, hop_s) if n_frames > 1 else np.zeros(1) for curve in (log_f0, level_db)]
    columns = [log_f0, slopes[0], voiced, level_db, slopes[1], tilt, centroid, flatness]
    return np.stack(columns, axis=1).astype(np.float32)
