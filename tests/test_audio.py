"""Loading, writing and mel-spectrograms: what comes back is what went in, and bad files say why."""

import os
import struct

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import speech

from emolib import audio
from emolib.audio import EMOGEN_MEL, HIFIGAN_MEL, AudioError


def tone(frequency_hz=440.0, duration_s=0.5, sample_rate=16_000, peak=0.5):
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    return (peak * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def refusal(path) -> str:
    with pytest.raises(AudioError) as caught:
        audio.load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    message.encode()  # it can be printed, whatever the file is called
    return message


@pytest.mark.parametrize("suffix, tolerance", [(".wav", 1 / 32_000), (".flac", 1 / 32_000), (".ogg", 0.05)])
def test_round_trip(tmp_path, suffix, tolerance):
    wave = speech(0.7)
    path = audio.write(tmp_path / "made" / f"clip{suffix}", wave, 16_000)
    back, sample_rate = audio.load(path)
    assert sample_rate == 16_000 and back.dtype == np.float32 and back.shape == wave.shape
    assert np.abs(back - wave).max() < tolerance


@pytest.mark.parametrize(
    "subtype, tolerance",
    [
        ("PCM_U8", 1 / 100),
        ("PCM_16", 1 / 3e4),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-7),
        ("FLOAT", 0),
        ("DOUBLE", 0),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 96_000])
def test_sample_widths_channels_and_rates(tmp_path, subtype, tolerance, channels, sample_rate):
    wave = tone(sample_rate=sample_rate)
    path = tmp_path / "clip.wav"
    samples = np.stack([wave, 0.5 * wave], axis=1) if channels == 2 else wave
    sf.write(path, samples, sample_rate, subtype=subtype)
    back, native = audio.load(path)
    assert native == sample_rate
    assert np.abs(back - (0.75 * wave if channels == 2 else wave)).max() <= tolerance + 1e-7
    resampled, rate = audio.load(path, 16_000)
    assert rate == 16_000 and resampled.shape == (8_000,) and resampled.dtype == np.float32
    frequencies = np.abs(np.fft.rfft(resampled))
    assert frequencies.argmax() == 220  # 440 Hz in half a second


def test_resampling_keeps_the_tone_and_drops_what_can_not_be_kept():
    ours = audio.resample(tone(1_000, sample_rate=48_000), 48_000, 16_000)
    assert np.abs(ours - tone(1_000))[500:-500].max() < 1e-3
    assert np.abs(audio.resample(tone(11_000, sample_rate=48_000), 48_000, 16_000)[500:-500]).max() < 1e-3
    wave = tone()
    assert audio.resample(wave, 16_000, 16_000) is wave
    for rates in ((0, 16_000), (16_000, -1)):
        with pytest.raises(ValueError, match="expected a positive number"):
            audio.resample(wave, *rates)


@settings(max_examples=60, deadline=None)
@given(
    n_samples=st.integers(1, 20_000),
    sample_rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]),
    target=st.sampled_from([8_000, 16_000, 22_050, 44_100]),
)
def test_resampling_keeps_the_duration(n_samples, sample_rate, target):
    resampled = audio.resample(np.ones(n_samples, np.float32), sample_rate, target)
    assert abs(len(resampled) - n_samples * target / sample_rate) <= 1


def test_a_truncated_wav_is_refused(tmp_path):
    path = audio.write(tmp_path / "clip.wav", speech(1.0), 16_000)
    data = path.read_bytes()
    for n_bytes in (len(data) - 2, len(data) // 2, 100):
        path.write_bytes(data[:n_bytes])
        assert "truncated" in refusal(path) and "of the 1.00 s" in refusal(path)


def test_a_truncated_flac_is_refused(tmp_path):
    path = audio.write(tmp_path / "clip.flac", speech(3.0), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refusal(path)
    assert "truncated" in message or "not readable" in message


def test_headers_cut_short_are_refused(tmp_path):
    path = audio.write(tmp_path / "clip.wav", speech(0.5), 16_000)
    data = path.read_bytes()
    for n_bytes in (1, 4, 11, 20, 43, 44):
        path.write_bytes(data[:n_bytes])
        refusal(path)


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_a_streamed_wav_of_unknown_length_is_read(tmp_path, stated):
    path = audio.write(tmp_path / "clip.wav", speech(0.5), 16_000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", stated)
    path.write_bytes(data)
    if stated:
        assert len(audio.load(path)[0]) == 8_000
    else:
        refusal(path)


def test_a_streamed_flac_of_unknown_length_is_refused(tmp_path):
    path = audio.write(tmp_path / "clip.flac", speech(0.5), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 for unknown
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert "states no length" in refusal(path)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"To be, or not to be\n" * 99, "not readable as sound"),
        (b"RIFF", "not readable"),
    ],
)
def test_what_is_no_sound_is_refused(tmp_path, content, reason):
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    assert reason in refusal(path)
    assert refusal(path).startswith("clip.wav: ")


@pytest.mark.parametrize(
    "samples, reason",
    [
        ([], "no samples"),
        ([0.5], "too short, 0.1 ms"),
        ([0.5] * 399, "too short, 24.9 ms"),
        ([0.0] * 8_000, "silent"),
        ([0.5] * 999 + [np.nan], "NaN"),
        ([0.5] * 999 + [-np.inf], "infinite"),
    ],
)
def test_unfit_sound_is_refused(tmp_path, samples, reason):
    path = tmp_path / "clip.wav"
    sf.write(path, np.array(samples, np.float32), 16_000, subtype="FLOAT")
    assert reason in refusal(path)


def test_the_shortest_and_quietest_that_pass(tmp_path):
    sf.write(tmp_path / "clip.wav", np.full(400, 2e-4, np.float32), 16_000, subtype="FLOAT")
    assert len(audio.load(tmp_path / "clip.wav")[0]) == 400


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    assert "not a regular file" in refusal(tmp_path / "pipe.wav")
    assert "not a regular file" in refusal(tmp_path / "folder.wav")
    for name in ("absent.wav", "loop.wav", "nu\0ll.wav", "x" * 300 + ".wav"):
        assert "can't be opened" in refusal(tmp_path / name)


def test_names_that_are_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    os.rename(audio.write(tmp_path / "clip.wav", speech(0.5), 16_000), path)  # noqa: PTH104
    assert len(audio.load(path)[0]) == 8_000
    path.write_bytes(b"text")
    assert "not readable as sound" in refusal(path)


def test_mono_level_and_trim():
    left, right = tone(peak=0.5), tone(880, peak=0.1)
    assert np.allclose(audio.mono(np.stack([left, right], axis=1)), (left + right) / 2)
    assert audio.mono(left) is left
    assert audio.rms_dbfs(tone(peak=1.0)) == pytest.approx(-3.01, abs=0.01)
    for dbfs in (-40.0, -26.0, -10.0):
        levelled = audio.level(left, dbfs)
        assert audio.rms_dbfs(levelled) == pytest.approx(dbfs, abs=0.01) and levelled.dtype == np.float32
    click = np.zeros(16_000, np.float32)
    click[0] = 0.5
    assert np.abs(audio.level(click, -10.0)).max() == pytest.approx(1.0)  # full scale comes before level
    assert not audio.level(np.zeros(10, np.float32)).any()
    silence = np.zeros(8_000, np.float32)
    trimmed = audio.trim(np.concatenate([silence, left, silence]))
    assert abs(len(trimmed) - len(left)) <= 2 * 2_048
    assert np.abs(left).max() == np.float32(0.5)


@pytest.mark.parametrize(
    "wave, reason",
    [
        (np.array([0.1, np.nan]), "peak nan"),
        (np.array([0.1, np.inf]), "peak inf"),
        (np.array([0.1, -1.01]), "peak 1.01"),
        (np.array([]), "shape"),
        (np.zeros((2, 9)), "shape"),
    ],
)
def test_write_refuses_and_leaves_what_was_there(tmp_path, wave, reason):
    with pytest.raises(ValueError, match=reason):
        audio.write(tmp_path / "new" / "clip.wav", wave, 16_000)
    path = audio.write(tmp_path / "clip.wav", speech(0.1), 16_000)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=reason):
        audio.write(path, wave, 16_000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["clip.wav"]  # noqa: PTH208


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sf, "write", lambda file, *_, **__: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        audio.write(tmp_path / "clip.wav", speech(0.1), 16_000)
    assert not list(tmp_path.iterdir())


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match="xyz"):
        audio.write(tmp_path / "clip.xyz", speech(0.1), 16_000)
    assert not list(tmp_path.iterdir())


def published_mel(wave):
    """HiFi-GAN's mel_spectrogram, as in jik876/hifi-gan, meldataset.py, with its v1 configuration."""
    filters = librosa.filters.mel(sr=22_050, n_fft=1024, n_mels=80, fmin=0, fmax=8_000)
    y = torch.from_numpy(wave)[None, None]
    y = torch.nn.functional.pad(y, ((1024 - 256) // 2,) * 2, mode="reflect")[0]
    spectrum = torch.stft(
        y, 1024, hop_length=256, win_length=1024, window=torch.hann_window(1024), center=False,
        pad_mode="reflect", normalized=False, onesided=True, return_complex=True,
    )  # fmt: skip
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    return torch.log(torch.clamp(torch.from_numpy(filters) @ magnitude, min=1e-5))[0].T.numpy()


@pytest.mark.parametrize("n_samples", [22_050, 20_000, 385, 256 * 40])
def test_equals_the_published_hifigan_mel(n_samples):
    wave = speech(1.0, sample_rate=22_050)[:n_samples]
    ours, theirs = audio.log_mel(wave, 22_050), published_mel(wave)
    assert ours.shape == theirs.shape == (n_samples // 256, 80) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.allclose(
        audio.log_mel(np.zeros(n_samples, np.float32), 22_050), published_mel(0 * wave), atol=1e-4
    )


def test_the_two_definitions():
    for spec, numbers in (
        (HIFIGAN_MEL, (22_050, 1024, 256, 80, 0.0, 8_000.0, 1, 1e-5, None)),
        (EMOGEN_MEL, (22_050, 2048, 512, 128, 20.0, 8_000.0, 2, 1e-10, 4.0)),
    ):
        assert tuple(vars(spec).values()) == numbers
        assert audio.mel_filters(spec).shape == (spec.n_mels, spec.n_fft // 2 + 1)
        assert not audio.mel_filters(spec).flags.writeable
    wave = tone(1_000, 4.0, 22_050)
    mel = audio.log_mel(wave, 22_050, EMOGEN_MEL)
    assert mel.shape == (172, 128)
    centres_hz = librosa.mel_frequencies(130, fmin=20, fmax=8_000)[1:-1]
    assert centres_hz[mel.mean(0).argmax()] == pytest.approx(1_000, rel=0.03)
    louder = audio.log_mel(0.5 * wave, 22_050, EMOGEN_MEL)
    peak = mel.mean(0).argmax()
    assert np.allclose((mel - louder)[:, peak], 2 * np.log(2), atol=1e-3)  # an energy
    assert audio.log_mel(0 * wave, 22_050, EMOGEN_MEL).max() == pytest.approx(np.log(1e-10))


@settings(max_examples=40, deadline=None)
@given(st.integers(769, 30_000), st.sampled_from([HIFIGAN_MEL, EMOGEN_MEL]))
def test_the_number_of_frames(n_samples, spec):
    mel = audio.log_mel(np.full(n_samples, 0.1, np.float32), spec.sample_rate, spec)
    assert len(mel) == spec.frames(n_samples) == n_samples // spec.hop_length
    assert np.isfinite(mel).all()


def test_mels_resample_and_refuse_what_is_too_short():
    wave = speech(1.0)
    assert audio.log_mel(wave, 16_000).shape == (22_050 // 256, 80)
    with pytest.raises(AudioError, match=r"384 samples.*needs more than 384"):
        audio.log_mel(wave[:384], 22_050)


@pytest.mark.parametrize("spec, tolerance", [(HIFIGAN_MEL, 0.25), (EMOGEN_MEL, 0.5)])
def test_griffin_lim_finds_a_wave_of_that_mel(spec, tolerance):
    mel = audio.log_mel(speech(1.2, sample_rate=22_050), 22_050, spec)
    wave = audio.griffin_lim(mel, spec)
    assert wave.dtype == np.float32 and wave.shape == (len(mel) * spec.hop_length,)
    again = audio.log_mel(wave, 22_050, spec)
    loud = mel > mel.max() - 8  # the 70 dB that can be heard
    errors = {
        shift: np.abs(np.roll(again, shift, axis=0) - mel)[2:-2][loud[2:-2]].mean() for shift in (-1, 0, 1)
    }
    assert errors[0] < tolerance
    assert errors[0] < min(errors[-1], errors[1])  # in time, to the frame
    assert np.array_equal(wave, audio.griffin_lim(mel, spec))
    assert not np.array_equal(wave, audio.griffin_lim(mel, spec, seed=1))


def test_griffin_lim_of_a_single_frame():
    assert audio.griffin_lim(np.zeros((1, 80), np.float32)).shape == (256,)
