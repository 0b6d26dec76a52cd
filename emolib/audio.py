"""The one way to load, resample, level, trim and write sound, and the two mel-spectrograms of the project.

Every wave in the package is mono float32 in [-1, 1], shape (S,), beside its sampling rate in Hz. Decoding is
libsndfile's (through soundfile), and for what that doesn't read (.m4a, .mp4, .webm) FFmpeg's, where PyAV is
installed; resampling is soxr's. A file's content tells its format, not its ending.

References
----------
HiFi-GAN's mel-spectrogram: J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN: Generative Adversarial Networks for
Efficient and High Fidelity Speech Synthesis", arXiv:2010.05646, and its repository jik876/hifi-gan.
EmoGen's: the settings of Y.-J. Kim, S.-P. Lee (2024), Electronics 13(7), 1314.
Griffin-Lim: N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA.
"""

import io
import math
import os
import re
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import librosa
import numpy as np
import pandas as pd
import soundfile as sf
import soxr
from numpy.typing import NDArray

from emolib.files import write_file

Wave = NDArray[np.float32]
Row = Mapping[Any, Any] | pd.Series
#: Samples, (S, channels), their rate, and how many the file states, if it does.
Decoded = tuple[NDArray[np.float32], int, int | None]

#: Shorter than one frame of a wav2vec 2.0 front end (400 samples at 16 kHz), a clip has no embedding.
MIN_DURATION_S = 0.025
#: Below this peak (-80 dBFS) a clip is silence.
SILENCE_PEAK = 1e-4
#: A part may end so much later than its file: tables round their times to hundredths of a second.
END_SLACK_S = 0.01
_UNSIZED = 0x7FFFFFFF  # streamed files state a length of this much or more when they mean "unknown"

_LOWEST_RATE = 1_000  # Hz; below it a damaged header would blow a clip up to gigabytes at an encoder's rate
_LARGEST = 1e10  # past what 32-bit numbers taken for floats reach, and short of overflow in a filter
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the longest page there can be


class AudioError(ValueError):
    """A sound file that can't be used; the message is one line that says why."""


def read(
    path: str | Path, start_s: float = math.nan, end_s: float = math.nan
) -> tuple[NDArray[np.float32], int]:
    """Decode a sound file, or a part of it alone, and check that it is one.

    Parameters
    ----------
    path : str or Path
        Any format and sample width that libsndfile reads (WAV, AIFF, FLAC, OGG, Opus, MP3 ...), any rate and
        channels; MPEG-4 and WebM, with or without a picture, where PyAV is installed.
    start_s, end_s : float, s
        Where the part begins and ends, each at the nearest sample; NaN for the file's own begin and end.

    Returns
    -------
    samples : float32 array, (S, channels)
    sample_rate : int, Hz

    Raises
    ------
    AudioError
        If the file is missing, not a regular file, empty, undecodable, truncated, or holds NaN or infinity,
        or if the part is empty or reaches past the file's end.
    """
    path = Path(path)
    name = path.name.encode(errors="backslashreplace").decode()  # can be printed whatever its bytes
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
        with path.open("rb") if is_file else io.BytesIO() as file:  # a FIFO would block for ever
            head = file.read(8)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: can't be opened ({reason})") from None
    if not head:
        raise AudioError(f"{name}: {'empty file (0 bytes)' if is_file else 'not a regular file'}")
    is_packed = head[4:] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3")  # MPEG-4 or Matroska (WebM)
    decode = _unpacked if is_packed else _decoded
    samples, sample_rate, promised = decode(path, name, start_s, end_s)
    if sample_rate < _LOWEST_RATE:
        raise AudioError(f"{name}: a sampling rate of {sample_rate} Hz; expected at least {_LOWEST_RATE} Hz")
    if promised is not None and len(samples) < promised:
        raise AudioError(
            f"{name}: truncated, {len(samples) / sample_rate:.2f} s of the "
            f"{promised / sample_rate:.2f} s that its header states; copy it again"
        )
    if len(samples) == 0:
        raise AudioError(f"{name}: no samples")
    if not np.abs(samples).max() < _LARGEST:  # also true of NaN
        raise AudioError(f"{name}: holds NaN, infinite samples, or some past {_LARGEST:.0e}; write it again")
    return samples, sample_rate


def _decoded(path: Path, name: str, start_s: float, end_s: float) -> Decoded:
    """Decode by libsndfile."""
    try:
        # soundfile refuses to encode names that are not UTF-8; Windows has none such
        with sf.SoundFile(os.fsencode(path) if os.name == "posix" else path) as file:
            if file.frames >= _UNSIZED:  # a streamed FLAC, which libsndfile can't read to its end
                raise AudioError(f"{name}: its header states no length; write it again with a length")
            promised, n = _promised_frames(file), -1
            if not (math.isnan(start_s) and math.isnan(end_s)):
                first, last = _part(file.frames, file.samplerate, start_s, end_s, name)
                promised = n = last - first
                file.seek(first)
            samples = file.read(n, dtype="float32", always_2d=True)
            if file.format == "OGG" and not _ogg_ends(path):
                lasts_s = len(samples) / file.samplerate
                raise AudioError(
                    f"{name}: truncated, the Ogg stream breaks off after {lasts_s:.2f} s; copy it again, or "
                    f"write it anew if that is all there is"
                )
            return samples, file.samplerate, promised
    except (RuntimeError, OSError, UnicodeError) as error:  # libsndfile's own errors are RuntimeErrors
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise AudioError(f"{name}: not readable as sound ({reason})") from None


def _unpacked(path: Path, name: str, start_s: float, end_s: float) -> Decoded:
    """Decode a packed file's first sound track by FFmpeg."""
    try:
        import av
    except ImportError:
        raise AudioError(
            f"{name}: MPEG-4 or WebM, which needs a decoder: run `pip install av`, or convert it to .wav"
        ) from None
    try:
        with path.open("rb") as raw, av.open(raw) as file:
            if not file.streams.audio:
                raise AudioError(f"{name}: holds no sound track")
            track = file.streams.audio[0]
            to_float = av.AudioResampler(format="fltp")
            frames = [part for frame in file.decode(track) for part in to_float.resample(frame)]
            stated_s = float(track.duration * track.time_base) if track.duration else 0.0
            sample_rate = track.rate
    except (av.FFmpegError, OSError) as error:
        raise AudioError(f"{name}: not readable as sound ({error.strerror})") from None
    if not frames:
        raise AudioError(f"{name}: no samples")
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T
    samples = np.ascontiguousarray(samples)
    if not (math.isnan(start_s) and math.isnan(end_s)):
        first, last = _part(len(samples), sample_rate, start_s, end_s, name)
        return samples[first:last], sample_rate, None
    # a codec's own padding makes the stated length a little longer than what is heard
    return samples, sample_rate, int(0.9 * stated_s * sample_rate) or None


def _part(n_frames: int, sample_rate: int, start_s: float, end_s: float, name: str) -> tuple[int, int]:
    """Return the first sample of a part of a file, and the one after its last."""
    duration_s = n_frames / sample_rate
    start_s = 0.0 if math.isnan(start_s) else start_s
    end_s = duration_s if math.isnan(end_s) else end_s
    if not 0 <= start_s < end_s:
        raise AudioError(f"{name}: from {start_s:g} to {end_s:g} s; expected a start from 0 and a later end")
    if end_s > duration_s + END_SLACK_S:
        raise AudioError(
            f"{name}: from {start_s:g} to {end_s:g} s, but the file lasts {duration_s:.3f} s; expected times "
            f"within it, in seconds (not milliseconds or samples)"
        )
    return round(start_s * sample_rate), min(round(end_s * sample_rate), n_frames)


def _promised_frames(file: sf.SoundFile) -> int | None:
    """Return the frame count that the file's header states, or None where it states none.

    libsndfile quietly mends the length of a cut-off WAV, RF64 or AIFF and tells so only in its log.
    """
    if sized := re.search(r"does not match value from 'ds64' chunk of (\d+)", file.extra_info):
        return max(file.frames, int(sized[1]))
    mended = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)
    if mended and int(mended[2]) < int(mended[1]) < _UNSIZED:
        stated, present = int(mended[1]), int(mended[2])
        return -(-file.frames * stated // max(present, 1)) if file.frames else stated  # rounded up
    return file.frames if file.frames < _UNSIZED else None


def _ogg_ends(path: Path) -> bool:
    """Tell whether a file's last Ogg page is whole and marked as its stream's end.

    No header of an Ogg stream states its length, so that one which was cut off between pages reads as a whole
    and shorter one.
    """
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _OGG_PAGE)
        file.seek(start)
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def check_speech(wave: Wave, sample_rate: int, name: str = "clip") -> None:
    """Raise AudioError if a wave is too short or too quiet to hold any speech."""
    if len(wave) < MIN_DURATION_S * sample_rate:
        raise AudioError(
            f"{name}: too short, {1000 * len(wave) / sample_rate:.1f} ms where at least "
            f"{1000 * MIN_DURATION_S:.0f} ms are needed"
        )
    if np.abs(wave).max() < SILENCE_PEAK:
        raise AudioError(f"{name}: silent (peak below {20 * np.log10(SILENCE_PEAK):.0f} dBFS)")


def load(
    path: str | Path, sample_rate: int | None = None, start_s: float = math.nan, end_s: float = math.nan
) -> tuple[Wave, int]:
    """Load a sound file, or a part of it, as a mono wave.

    Parameters
    ----------
    path : str or Path
    sample_rate : int, Hz, optional
        The rate to resample to; the file's own by default.
    start_s, end_s : float, s
        As in `read`.

    Returns
    -------
    wave : float32 array, (S,)
        The mean of the channels.
    sample_rate : int, Hz

    Raises
    ------
    AudioError
        As `read` does, and if the clip is shorter than 25 ms or silent.
    """
    samples, native_rate = read(path, start_s, end_s)
    wave = mono(samples)
    check_speech(wave, native_rate, Path(path).name.encode(errors="backslashreplace").decode())
    if sample_rate is None:
        return wave, native_rate
    return resample(wave, native_rate, sample_rate), sample_rate


def load_clip(row: Row, sample_rate: int | None = None) -> tuple[Wave, int]:
    """Load the clip of a manifest's row: the file at its `path`, or the part from `start_s` to `end_s`.

    Parameters
    ----------
    row : mapping or Series
        Such as one of ``manifest.to_dict("records")``. Times that it lacks, or that are NaN, are the file's.
    sample_rate : int, Hz, optional; as in `load`

    Returns
    -------
    wave, sample_rate : as `load` returns them

    Raises
    ------
    AudioError
        If the row has no path, as in the manifest of shipped embeddings, or the file can't be used.
    """
    if not row["path"]:
        raise AudioError(
            f"{row.get('clip', 'this clip')}: its audio is not on this machine, only its embeddings are; get "
            f"the corpus (`emolib corpora` says how), or point to your copy with EMOLIB_CORPORA"
        )
    return load(row["path"], sample_rate, row.get("start_s", math.nan), row.get("end_s", math.nan))


def mono(samples: NDArray[np.float32]) -> Wave:
    """Average the channels of samples, (S, channels) or (S,), into one wave, (S,)."""
    if samples.ndim == 1:
        return samples
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def resample(wave: Wave, sample_rate: int, target_rate: int) -> Wave:
    """Resample a wave with soxr at high quality; the same array comes back where the rates agree."""
    if min(sample_rate, target_rate) <= 0:
        raise ValueError(f"sampling rates {sample_rate} and {target_rate} Hz; expected positive numbers")
    return wave if sample_rate == target_rate else soxr.resample(wave, sample_rate, target_rate)


def trailing_zeros(samples: NDArray[np.float32]) -> int:
    """Return how many samples at the end of a wave, (S,) or (S, channels), are exactly zero: padding."""
    spoken = np.flatnonzero(samples.reshape(len(samples), -1).any(axis=1))
    return len(samples) - (int(spoken[-1]) + 1 if spoken.size else 0)


def rms_dbfs(wave: Wave) -> float:
    """Return a wave's root-mean-square level in dB relative to full scale."""
    return 10 * float(np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


def level(wave: Wave, dbfs: float = -26.0) -> Wave:
    """Scale a wave to a root-mean-square level, lower where its peak would pass full scale.

    Parameters
    ----------
    wave : float32 array, (S,)
    dbfs : float, dB
        The ITU-T P.56 customary speech level by default.
    """
    gain = 10 ** ((dbfs - rms_dbfs(wave)) / 20)
    return (wave * min(gain, 1 / max(float(np.abs(wave).max()), 1e-9))).astype(np.float32)


def trim(wave: Wave, top_db: float = 40.0) -> Wave:
    """Cut leading and trailing silence, `top_db` dB below the clip's loudest frame."""
    return librosa.effects.trim(wave, top_db=top_db)[0]


def write(path: str | Path, wave: Wave, sample_rate: int, comment: str = "") -> Path:
    """Write a wave as 16-bit sound, whole or not at all; the ending names the format (.wav, .flac, .ogg).

    A comment is kept in the file itself, where ``soundfile.SoundFile(path).comment`` reads it.

    Raises
    ------
    ValueError
        If the wave is empty, has more than one dimension, holds NaN, or passes full scale; if its ending is
        no format's.
    """
    path, wave = Path(path), np.asarray(wave)
    if path.suffix[1:].upper() not in sf.available_formats():
        raise ValueError(
            f"{path.name}: no format of sound ends in {path.suffix!r}; expected .wav, .flac or .ogg"
        )
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"a wave of shape {wave.shape}; expected one channel with at least one sample, (S,)")
    peak = float(np.abs(wave).max())
    if not peak <= 1.0:  # also true of NaN
        raise ValueError(f"a wave with peak {peak:.2f}; expected at most 1.0: bring it down with audio.level")
    sound = io.BytesIO()
    with sf.SoundFile(sound, "w", sample_rate, 1, format=path.suffix[1:]) as file:
        if comment:
            file.comment = comment
        file.write(wave)
    write_file(path, sound.getvalue())
    return path


@dataclass(frozen=True)
class MelSpec:
    """Everything that defines a log-mel-spectrogram.

    Attributes
    ----------
    sample_rate : int, Hz
    n_fft, hop_length : int, samples; the window is a Hann window as long as the transform
    n_mels : int
    fmin, fmax : float, Hz
    power : int; 1 for magnitudes, 2 for energies
    floor : float; the smallest band value before the natural logarithm
    duration_s : float, s, optional; the length that clips are cropped or padded to
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    fmin: float
    fmax: float
    power: int = 1
    floor: float = 1e-5
    duration_s: float | None = None

    @property
    def margin(self) -> int:
        """Samples on either side by which a wave is padded, so that frame t is centred on (t + 1/2) hop."""
        return (self.n_fft - self.hop_length) // 2

    def frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave of `n_samples` samples."""
        return n_samples // self.hop_length


#: The input of HiFi-GAN's generators, and the output of the mapper.
HIFIGAN_MEL = MelSpec(22_050, 1024, 256, 80, 0.0, 8_000.0)
#: The input and output of the generators of notebook 07.
EMOGEN_MEL = MelSpec(22_050, 2048, 512, 128, 20.0, 8_000.0, power=2, floor=1e-10, duration_s=4.0)


@lru_cache(maxsize=32)
def mel_bank(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float, *,
    norm: Literal["slaney"] | None = "slaney", dtype: type[np.floating] = np.float32,
) -> NDArray[Any]:  # fmt: skip
    """Return triangular mel filters, (M, n_fft // 2 + 1): of equal area, or of equal height if not `norm`."""
    filters = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, norm=norm, dtype=dtype
    )
    filters.flags.writeable = False
    return filters


def mel_filters(spec: MelSpec) -> NDArray[np.float32]:
    """Return the mel filter bank of a definition, (M, n_fft // 2 + 1)."""
    return mel_bank(spec.sample_rate, spec.n_fft, spec.n_mels, spec.fmin, spec.fmax)


def log_mel(wave: Wave, sample_rate: int, spec: MelSpec = HIFIGAN_MEL) -> NDArray[np.float32]:
    """Return the log-mel-spectrogram of a wave, (T, M).

    Parameters
    ----------
    wave : float32 array, (S,)
    sample_rate : int, Hz; the wave is resampled to the definition's rate
    spec : MelSpec

    Notes
    -----
    As in HiFi-GAN, the wave is padded by reflection with (n_fft - hop) / 2 samples on either side, so that T
    is S // hop and frame t is centred on sample (t + 1/2) hop.
    """
    wave = resample(np.asarray(wave, np.float32), sample_rate, spec.sample_rate)
    if len(wave) <= spec.margin:
        raise AudioError(
            f"a wave of {len(wave)} samples; a mel-spectrogram with windows of {spec.n_fft} samples "
            f"needs more than {spec.margin}"
        )
    padded = np.pad(wave, spec.margin, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=spec.n_fft, hop_length=spec.hop_length, center=False)
    energy = spectrum.real**2 + spectrum.imag**2
    bands = mel_filters(spec) @ (np.sqrt(energy + 1e-9) if spec.power == 1 else energy)
    return np.log(np.maximum(bands, spec.floor)).T.astype(np.float32)


def griffin_lim(log_mel: NDArray[np.float32], spec: MelSpec = HIFIGAN_MEL, *, n_iter: int = 60) -> Wave:
    """Turn a log-mel-spectrogram, (T, M), back into a wave, (T * hop,), by the fast Griffin-Lim algorithm."""
    bands = np.exp(np.asarray(log_mel, np.float64)).T
    linear = np.maximum(_mel_inverse(spec) @ bands, 0.0) ** (1 / spec.power)
    with warnings.catch_warnings():  # a spectrogram of a few frames is shorter than one window
        warnings.simplefilter("ignore", UserWarning)
        wave = librosa.griffinlim(
            linear, n_iter=n_iter, hop_length=spec.hop_length, n_fft=spec.n_fft, center=False,
            momentum=0.99, random_state=0,
        )  # fmt: skip
    return wave[spec.margin :][: bands.shape[1] * spec.hop_length].astype(np.float32)


@lru_cache(maxsize=8)
def _mel_inverse(spec: MelSpec) -> NDArray[np.float64]:
    """Return the pseudo-inverse of the mel filter bank, (n_fft // 2 + 1, M)."""
    return np.linalg.pinv(mel_filters(spec).astype(np.float64))
