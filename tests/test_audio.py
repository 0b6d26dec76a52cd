"""Sound: files come back as they were written, bad ones say why; mels, WORLD, channels and voices."""

import itertools
import os
import re
import struct
import sys

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch
from samples import refused, speech
from scipy import signal

from emolib import audio, channels, world
from emolib.audio import EMOGEN_MEL, HIFIGAN_MEL, AudioError
from emolib.demo import espeak


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


def test_files_come_back_as_they_were_written(tmp_path):
    wave = speech(0.7)
    for suffix, tolerance in ((".wav", 1 / 32_000), (".flac", 1 / 32_000), (".ogg", 0.05)):
        back, sample_rate = audio.load(audio.write(tmp_path / "made" / f"clip{suffix}", wave, 16_000))
        assert sample_rate == 16_000 and back.dtype == np.float32 and back.shape == wave.shape
        assert np.abs(back - wave).max() < tolerance


def test_sample_widths_channels_and_rates(tmp_path):
    widths = {"PCM_U8": 1 / 100, "PCM_16": 1 / 3e4, "PCM_24": 1e-6, "PCM_32": 1e-7, "FLOAT": 0, "DOUBLE": 0}
    files = itertools.product(widths.items(), ((1, 8_000), (2, 44_100), (1, 96_000)))
    for (subtype, tolerance), (n_channels, sample_rate) in files:
        wave = tone(sample_rate=sample_rate)
        samples = np.stack([wave, 0.5 * wave][:n_channels], axis=1)
        sf.write(tmp_path / "clip.wav", samples, sample_rate, subtype=subtype)
        back, native = audio.load(tmp_path / "clip.wav")
        assert native == sample_rate and np.abs(back - samples.mean(axis=1)).max() <= tolerance + 1e-7
        resampled, rate = audio.load(tmp_path / "clip.wav", 16_000)
        assert rate == 16_000 and resampled.shape == (8_000,) and resampled.dtype == np.float32
        assert np.abs(np.fft.rfft(resampled)).argmax() == 220  # 440 Hz in half a second


def test_the_content_tells_the_format_not_the_ending(tmp_path):
    for name, kind, subtype in (
        ("aiff-inside.wav", "AIFF", "PCM_16"), ("flac-inside.wav", "FLAC", "PCM_16"),
        ("wav-inside.flac", "WAV", "PCM_16"), ("a.opus", "OGG", "OPUS"), ("opus-inside.wav", "OGG", "OPUS"),
    ):  # fmt: skip
        sf.write(tmp_path / name, tone(sample_rate=48_000), 48_000, format=kind, subtype=subtype)
        back, sample_rate = audio.load(tmp_path / name)
        assert sample_rate == 48_000 and len(back) == 24_000
        assert abs(np.argmax(np.abs(np.fft.rfft(back))) * 2 - 440) <= 2, name


def write_packed(path, wave, sample_rate, codec, *, picture=False):
    """Pack a wave by FFmpeg, as a phone or a browser does."""
    av = pytest.importorskip("av", reason="PyAV is not installed: no packed sound can be made")
    with av.open(str(path), "w") as file:
        sound = file.add_stream(codec, rate=sample_rate, layout="mono") if wave is not None else None
        film = file.add_stream("mpeg4", rate=10) if picture else None
        if film:
            film.width = film.height = 32
            film.pix_fmt = "yuv420p"
            for _ in range(5):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                file.mux(film.encode(image))
            file.mux(film.encode())
        if sound:
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = sample_rate
            fifo = av.AudioFifo()
            fifo.write(frame)
            while part := fifo.read(sound.codec_context.frame_size or 960, partial=True):
                file.mux(sound.encode(part))
            file.mux(sound.encode())
    return path


def test_packed_sound_is_read_with_and_without_a_picture(tmp_path):
    wave = tone(duration_s=1.0, sample_rate=48_000)
    for name, codec in (("a.m4a", "aac"), ("b.mp4", "aac"), ("c.webm", "libopus"), ("d.wav.mp4", "aac")):
        made = write_packed(tmp_path / name, wave, 48_000, codec, picture=name == "b.mp4")
        path = made.rename(tmp_path / name.replace(".wav.mp4", ".wav"))
        back, sample_rate = audio.load(path)
        assert sample_rate == 48_000 and abs(len(back) / 48_000 - 1) < 0.1, name
        spectrum = np.abs(np.fft.rfft(back[4_800:43_200]))
        assert abs(np.argmax(spectrum) * 48_000 / 38_400 - 440) < 3, name
        part, _ = audio.load(path, start_s=0.25, end_s=0.5)
        assert len(part) == 12_000 and np.array_equal(part, back[12_000:24_000])
    film = write_packed(tmp_path / "silent-film.mp4", None, 0, "", picture=True)
    assert "holds no sound track" in refusal(film)
    cut = tmp_path / "cut.m4a"
    cut.write_bytes((tmp_path / "a.m4a").read_bytes()[:4_000])
    assert "not readable as sound" in refusal(cut) or "truncated" in refusal(cut)


def test_without_a_decoder_packed_sound_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for name, head in [("a.m4a", b"\0\0\0\x20ftypM4A "), ("b.webm", b"\x1aE\xdf\xa3")]:
        (tmp_path / name).write_bytes(head + bytes(64))
        assert "needs a decoder: run `pip install av`, or convert it to .wav" in refusal(tmp_path / name)


def test_resampling_keeps_the_tone_and_drops_what_can_not_be_kept():
    ours = audio.resample(tone(1_000, sample_rate=48_000), 48_000, 16_000)
    assert np.abs(ours - tone(1_000))[500:-500].max() < 1e-3
    assert np.abs(audio.resample(tone(11_000, sample_rate=48_000), 48_000, 16_000)[500:-500]).max() < 1e-3
    wave = tone()
    assert audio.resample(wave, 16_000, 16_000) is wave
    for rates in ((0, 16_000), (16_000, -1)):
        refused("expected positive numbers", audio.resample, wave, *rates)


def test_what_is_cut_short_is_refused(tmp_path):
    wav = audio.write(tmp_path / "clip.wav", speech(1.0), 16_000)
    data = wav.read_bytes()
    for n_bytes in (len(data) - 2, len(data) // 2, 100):
        wav.write_bytes(data[:n_bytes])
        assert re.search("truncated.*of the 1.00 s", refusal(wav))
    for n_bytes in (1, 4, 11, 20, 43, 44):
        wav.write_bytes(data[:n_bytes])
        refusal(wav)
    flac = audio.write(tmp_path / "clip.flac", speech(3.0), 16_000)
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    assert re.search("truncated|not readable", refusal(flac))


def test_a_streamed_wav_of_unknown_length_is_read_and_a_flac_refused(tmp_path):
    path = audio.write(tmp_path / "clip.wav", speech(0.5), 16_000)
    data = bytearray(path.read_bytes())
    for stated in (0xFFFFFFFF, 0x7FFFFFFF, 0):
        data[4:8] = data[40:44] = struct.pack("<I", stated)
        path.write_bytes(data)
        if stated:
            assert len(audio.load(path)[0]) == 8_000
    refusal(path)
    path = audio.write(tmp_path / "clip.flac", speech(0.5), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 for unknown
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert "states no length" in refusal(path)


def test_what_is_no_sound_or_unfit_is_refused(tmp_path):
    path = tmp_path / "clip.wav"
    for content, reason in (
        (b"", "empty file"), (b"To be, or not\n" * 99, "not readable as sound"), (b"RIFF", "not readable"),
    ):  # fmt: skip
        path.write_bytes(content)
        assert refusal(path).startswith("clip.wav: ") and reason in refusal(path)
    for samples, reason in (
        ([], "no samples"), ([0.5], "too short, 0.1 ms"), ([0.5] * 399, "too short, 24.9 ms"),
        ([0.0] * 8_000, "silent"), ([0.5] * 999 + [np.nan], "NaN"), ([0.5] * 999 + [-np.inf], "infinite"),
    ):  # fmt: skip
        sf.write(path, np.array(samples, np.float32), 16_000, subtype="FLOAT")
        assert reason in refusal(path)
    sf.write(path, np.full(400, 2e-4, np.float32), 16_000, subtype="FLOAT")
    assert len(audio.load(path)[0]) == 400, "the shortest and quietest that pass"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    for names, reason in (
        (("pipe.wav", "folder.wav"), "not a regular file"),
        (("absent.wav", "loop.wav", "nu\0ll.wav", "x" * 300 + ".wav"), "can't be opened"),
    ):
        assert all(reason in refusal(tmp_path / name) for name in names)


def test_names_that_are_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    os.rename(audio.write(tmp_path / "clip.wav", speech(0.5), 16_000), path)  # noqa: PTH104
    assert len(audio.load(path)[0]) == 8_000
    path.write_bytes(b"text")
    assert "not readable as sound" in refusal(path)


def test_mono_level_trim_and_zeros_at_the_end():
    left, right, silence = tone(peak=0.5), tone(880, peak=0.1), np.zeros(8_000, np.float32)
    assert np.allclose(audio.mono(np.stack([left, right], axis=1)), (left + right) / 2)
    assert audio.mono(left) is left
    assert audio.rms_dbfs(tone(peak=1.0)) == pytest.approx(-3.01, abs=0.01)
    for dbfs in (-40.0, -26.0, -10.0):
        levelled = audio.level(left, dbfs)
        assert audio.rms_dbfs(levelled) == pytest.approx(dbfs, abs=0.01) and levelled.dtype == np.float32
    click = np.where(np.arange(16_000) == 0, np.float32(0.5), 0)
    assert np.abs(audio.level(click, -10.0)).max() == pytest.approx(1.0)  # full scale comes before level
    assert not audio.level(silence).any() and audio.trailing_zeros(silence) == len(silence)
    trimmed = audio.trim(np.concatenate([silence, left, silence]))
    assert abs(len(trimmed) - len(left)) <= 2 * 2_048
    assert np.abs(left).max() == np.float32(0.5)
    for zeros in (0, 1, 800):
        padded = np.concatenate([left, [0.1], silence[:zeros]]).astype(np.float32)
        assert audio.trailing_zeros(padded) == zeros
        assert audio.trailing_zeros(np.stack([padded, 0 * padded], axis=1)) == zeros


def test_write_refuses_or_fails_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = audio.write(tmp_path / "clip.wav", speech(0.1), 16_000)
    before = path.read_bytes()
    for wave, reason in (
        (np.array([0.1, np.nan]), "peak nan"), (np.array([0.1, np.inf]), "peak inf"),
        (np.array([0.1, -1.01]), "peak 1.01"), (np.array([]), "shape"), (np.zeros((2, 9)), "shape"),
    ):  # fmt: skip
        for target in (path, tmp_path / "new" / "clip.wav"):
            refused(reason, audio.write, target, wave, 16_000)
    refused("xyz", audio.write, tmp_path / "clip.xyz", speech(0.1), 16_000)
    monkeypatch.setattr(sf.SoundFile, "write", lambda *_: 1 / 0)
    for target in (path, tmp_path / "other.wav"):
        with pytest.raises(ZeroDivisionError):
            audio.write(target, speech(0.1), 16_000)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["clip.wav"]


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


def test_equals_the_published_hifigan_mel():
    wave = speech(1.9, sample_rate=22_050)
    for part in (wave[:22_050], wave[:20_000], wave[:385], wave[: 256 * 160], 0 * wave):
        ours, theirs = audio.log_mel(part, 22_050), published_mel(part)
        assert ours.shape == theirs.shape == (len(part) // 256, 80) and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4
    assert audio.log_mel(wave[:16_000], 16_000).shape == (22_050 // 256, 80)
    with pytest.raises(AudioError, match=r"384 samples.*needs more than 384"):
        audio.log_mel(wave[:384], 22_050)


def test_the_two_definitions():
    for spec, numbers in (
        (HIFIGAN_MEL, (22_050, 1024, 256, 80, 0.0, 8_000.0, 1, 1e-5, None)),
        (EMOGEN_MEL, (22_050, 2048, 512, 128, 20.0, 8_000.0, 2, 1e-10, 4.0)),
    ):
        assert tuple(vars(spec).values()) == numbers
        assert audio.mel_filters(spec).shape == (spec.n_mels, spec.n_fft // 2 + 1)
        assert not audio.mel_filters(spec).flags.writeable
        for n_samples in (769, 770, 1023, 1024, 30_000):
            mel = audio.log_mel(np.full(n_samples, 0.1, np.float32), spec.sample_rate, spec)
            assert len(mel) == spec.frames(n_samples) == n_samples // spec.hop_length
            assert np.isfinite(mel).all()
    mel, quieter, silent = (
        audio.log_mel(g * tone(1_000, 4.0, 22_050), 22_050, EMOGEN_MEL) for g in (1, 0.5, 0)
    )
    peak, centres_hz = mel.mean(0).argmax(), librosa.mel_frequencies(130, fmin=20, fmax=8_000)[1:-1]
    assert mel.shape == (172, 128) and centres_hz[peak] == pytest.approx(1_000, rel=0.03)
    assert np.allclose((mel - quieter)[:, peak], 2 * np.log(2), atol=1e-3)  # an energy
    assert silent.max() == pytest.approx(np.log(1e-10))


def test_griffin_lim_finds_a_wave_of_that_mel():
    for spec, tolerance in ((HIFIGAN_MEL, 0.25), (EMOGEN_MEL, 0.5)):
        mel = audio.log_mel(speech(1.2, sample_rate=22_050), 22_050, spec)
        wave = audio.griffin_lim(mel, spec)
        assert wave.dtype == np.float32 and wave.shape == (len(mel) * spec.hop_length,)
        again, loud = audio.log_mel(wave, 22_050, spec), mel > mel.max() - 8  # the 70 dB that can be heard
        apart = [np.abs(np.roll(again, shift, axis=0) - mel) for shift in (-1, 0, 1)]
        late, errors, early = (frames[2:-2][loud[2:-2]].mean() for frames in apart)
        assert errors < tolerance and errors < min(late, early)  # in time, to the frame
        assert np.array_equal(wave, audio.griffin_lim(mel, spec))


# ------------------------------------------------------------------------------------- WORLD


@pytest.fixture(scope="module")
def plain() -> world.Speech:
    return world.analyse(*espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2"))


def reshape(speech: world.Speech, **changes: float) -> world.Speech:
    return world.reshape(speech, world.Settings(**changes), np.random.default_rng(0))


def pitch_st(speech: world.Speech) -> np.ndarray:
    return 12 * np.log2(speech.f0_hz[speech.f0_hz > 0])


def test_pitch_is_tracked_within_its_range():
    wave = tone(220, 1.0) + 0.5 * tone(440, 1.0)
    f0_hz = world.pitch(wave, 16_000, high_hz=500, hop_ms=10.0)
    assert len(f0_hz) == 101 and np.median(f0_hz[f0_hz > 0]) == pytest.approx(220, rel=0.01)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(22_050).astype(np.float32)
    refused("no voiced frame", world.analyse, noise, 22_050)


def test_zero_settings_are_the_identity_and_resynthesis_keeps_the_level(plain):
    for same, before in zip(reshape(plain)[:3], plain[:3], strict=True):
        np.testing.assert_allclose(same, before, rtol=1e-9)
    again = world.synthesise(plain)
    wave = espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2")[0]
    assert again.dtype == np.float32 and len(again) == pytest.approx(len(wave), rel=0.1)
    assert 20 * np.log10(again.std() / wave.std()) == pytest.approx(0, abs=2)


def test_each_setting_of_the_contour_changes_what_it_names(plain):
    before, frames, voiced = pitch_st(plain), len(plain.f0_hz), plain.f0_hz > 0
    np.testing.assert_allclose(pitch_st(reshape(plain, pitch_st=3.0)) - before, 3.0, atol=1e-9)
    wider = pitch_st(reshape(plain, range_log=np.log(1.5)))
    assert wider.std() / before.std() == pytest.approx(1.5, rel=1e-6)
    assert wider.mean() == pytest.approx(before.mean())
    tail = pitch_st(reshape(plain, final_st=3.0)) - before
    slope = pitch_st(reshape(plain, slope_st=2.0)) - before
    assert [tail[0], tail[-1], slope[0], slope[-1]] == pytest.approx([0, 3, 1, -1])
    loud = plain.energy_db[voiced] > np.median(plain.energy_db[voiced])
    for shape in ("abrupt_st", "wave_st"):
        change = pitch_st(reshape(plain, **{shape: 2.0})) - before
        assert change[loud].mean() > change[~loud].mean() + 0.3, shape
        assert change.mean() == pytest.approx(0, abs=1e-6)
    slow = reshape(plain, rate_log=np.log(0.8))
    assert 1.15 * frames < len(slow.f0_hz) < 1.3 * frames
    assert (slow.f0_hz > 0).mean() > voiced.mean()  # vowels are stretched more
    assert len(reshape(plain, pause_s=0.1).f0_hz) == pytest.approx(frames + 20, abs=1)
    shaken = pitch_st(reshape(plain, jitter=1.0)) - before
    assert shaken.std() == pytest.approx(12 * np.log2(1.01), rel=0.1)


def test_each_setting_of_voice_quality_changes_what_it_names(plain):
    bright = (reshape(plain, tilt_db=2.0).log_envelope - plain.log_envelope)[plain.f0_hz > 0]
    hertz = np.linspace(0, plain.sample_rate / 2, bright.shape[1])
    at_1k, at_4k = np.abs(hertz - 1000).argmin(), np.abs(hertz - 4000).argmin()
    assert (bright[:, at_4k] - bright[:, at_1k]).mean() * 10 / np.log(10) == pytest.approx(4.0, abs=0.1)
    breathy, tense = reshape(plain, breath=0.3).aperiodicity, reshape(plain, breath=-0.3).aperiodicity
    assert (breathy >= plain.aperiodicity).all() and (tense <= plain.aperiodicity).all()
    assert breathy.max() <= 1 and breathy.mean() > plain.aperiodicity.mean() > tense.mean()
    assert reshape(plain, shimmer_db=1.0).energy_db.std() != plain.energy_db.std()
    peak = np.zeros((3, 513))
    peak[:, 100] = 1.0
    assert (world.warp_formants(peak, 1.1).argmax(axis=1) == 110).all()
    np.testing.assert_array_equal(world.warp_formants(peak, 1.0), peak)


def test_a_single_frame_is_reshaped_like_any_other(plain):
    voiced = int(np.flatnonzero(plain.f0_hz)[10])
    one = plain.between(voiced, voiced + 1)
    np.testing.assert_allclose(reshape(one).log_envelope, one.log_envelope)
    moved = reshape(one, pitch_st=12.0, formants=5.0, tilt_db=3.0, breath=0.2)
    assert moved.f0_hz == pytest.approx(2 * one.f0_hz) and np.isfinite(moved.log_envelope).all()


# ------------------------------------------------------------------------------------- channels

NOISE = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1


def test_a_clip_always_gets_the_same_channel_and_another_clip_another():
    for channel in channels.CHANNELS:
        once, again, other = (channels.through(NOISE, 16_000, channel, name) for name in ("a", "a", "b"))
        assert once.dtype == np.float32 and once.shape == NOISE.shape and np.isfinite(once).all()
        assert np.array_equal(once, again) and not np.allclose(once, NOISE, atol=1e-4)
        assert np.array_equal(once, other) == (channel == "telephone")  # the only one that draws nothing
    refused("'radio'; expected one of telephone", channels.through, NOISE, 16_000, "radio", "a")


def test_each_channel_changes_what_it_names():
    def gain_db(channel: channels.Channel) -> np.ndarray:
        waves = channels.through(NOISE, 16_000, channel, "a"), NOISE
        after, before = (signal.welch(wave, 16_000, nperseg=1024)[1] for wave in waves)
        return 10 * np.log10(after / before)

    hz, gain = np.arange(513) * 16_000 / 1024, gain_db("telephone")
    assert np.abs(gain[(hz > 450) & (hz < 2600)]).max() < 1.5
    assert gain[(hz > 20) & (hz < 120)].max() < -20 and gain[(hz > 5500) & (hz < 7900)].max() < -20
    coloured = channels.through(NOISE, 16_000, "colour", "a")
    assert audio.rms_dbfs(coloured) == pytest.approx(audio.rms_dbfs(NOISE), abs=1e-3)
    assert 3 < np.ptp(signal.savgol_filter(gain_db("colour"), 31, 2)) < 40
    click = np.zeros(16_000, np.float32)
    click[100] = 1
    room = channels.through(click, 16_000, "room", "a")
    early, late = (np.sum(room[start : start + 800] ** 2) for start in (101, 101 + 2400))
    assert room[100] == pytest.approx(1, abs=1e-5) and not room[:100].round(6).any() and 1 >= early > 3 * late
    louder = channels.through(NOISE, 16_000, "level", "a")
    factor = louder[0] / NOISE[0]
    assert np.allclose(louder, factor * NOISE, rtol=1e-4) and -20 <= 20 * np.log10(factor) <= 6
