"""Voices that are networks: tiny VITS, SpeechT5 and FastSpeech2-Conformer models that the tests make."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from samples import speech

from emolib import audio, tts
from emolib.tts import dial, networks, phonemes
from emolib.world import Settings

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
ARPABET = {*(vowel + stress for vowel in _VOWELS.split() for stress in "012"), *_CONSONANTS.split()}


# ------------------------------------------------------------------------------------- phonemes


def test_phonemes_of_known_words():
    assert phonemes.ipa("Hello, world!") == "həlˈoʊ, wˈɜːld!"
    assert phonemes.arpabet("Hello, world!") == ["HH", "AH0", "L", "OW1", ",", "W", "ER1", "L", "D", "!"]
    assert phonemes.arpabet("button")[-2:] == ["AH0", "N"]


def test_every_english_sound_has_its_arpabet():
    text = (
        "The beige judge chose a thick, sharp vision; yes, how boys heard the young singer who could fly up, "
        "caught by far zebras; a man was big."
    )
    found = set(phonemes.arpabet(text))
    assert found <= ARPABET | {";", ",", "."}
    assert {token.rstrip("012") for token in ARPABET} <= {token.rstrip("012") for token in found}


# ------------------------------------------------------------------------------------- networks


def tiny(settings: dict) -> dict:
    """Return settings of a HiFi-GAN of a few channels."""
    return settings | {
        "upsample_initial_channel": 16, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]],
    }  # fmt: skip


def save(model_class, config, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vits(tmp_path_factory) -> Path:
    letters = [*"_abcdefghijklmnopqrstuvwxyz '", "<unk>"]
    folder = tmp_path_factory.mktemp("vits")
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    transformers.VitsTokenizer(folder / "vocab.json", pad_token="_", phonemize=False).save_pretrained(folder)
    config = transformers.VitsConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
        flow_size=16, spectrogram_bins=33, upsample_initial_channel=32, upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=2, prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=2, depth_separable_num_layers=1, num_speakers=3,
        speaker_embedding_size=4,
    )  # fmt: skip
    return save(transformers.VitsModel, config, folder)


@pytest.fixture(scope="module")
def fastspeech(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fastspeech")
    tokens = ["<blank>", "<unk>", *sorted(ARPABET), *".,?!", "<sos/eos>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    model = transformers.FastSpeech2ConformerConfig(
        vocab_size=len(tokens), hidden_size=16, encoder_layers=1, decoder_layers=1, encoder_linear_units=16,
        decoder_linear_units=16, duration_predictor_channels=8, energy_predictor_channels=8,
        pitch_predictor_channels=8, speech_decoder_postnet_units=8, speech_decoder_postnet_layers=2,
        num_mel_bins=20,
    )  # fmt: skip
    vocoder = transformers.FastSpeech2ConformerHifiGanConfig(**tiny({"model_in_dim": 20}))
    config = transformers.FastSpeech2ConformerWithHifiGanConfig(
        model_config=model.to_dict(), vocoder_config=vocoder.to_dict()
    )
    return save(transformers.FastSpeech2ConformerWithHifiGan, config, folder)


def test_vits_says_what_its_network_says(vits):
    said, sample_rate = tts.load_voice(str(vits)).say("hello there")
    model = transformers.VitsModel.from_pretrained(vits).eval()
    tokens = transformers.VitsTokenizer.from_pretrained(vits)("hello there", return_tensors="pt")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wave = audio.trim(model(tokens["input_ids"], speaker_id=0).waveform[0].numpy(), 45)
    inner = said[np.flatnonzero(said)[0] :][: len(wave)]
    wave = wave[np.flatnonzero(wave)[0] :]
    assert sample_rate == model.config.sampling_rate
    assert np.corrcoef(inner[: len(wave)], wave)[0, 1] > 0.9999


def test_what_a_network_says_is_reshaped_as_any_voice_is(vits):
    class Vowel(networks.NetworkVoice):
        def _generate(self, tokens):
            return torch.from_numpy(speech(0.1 * tokens.shape[1]))

    letters = tts.load_voice(str(vits))
    voice = Vowel("vowel", letters._model, letters._tokenise, 16_000)
    slow, plain, fast = (len(voice.say("hello", Settings(rate_log=rate))[0]) for rate in (-0.4, 0.0, 0.4))
    assert slow > 1.2 * plain > 1.4 * fast


def test_speakers_of_a_network_differ(vits):
    first, third = (tts.load_voice(str(vits), speaker=number).say("hello")[0] for number in (0, "2"))
    assert not np.array_equal(first, third)
    for wrong in (3, "-1", "Anna", -1):
        with pytest.raises(ValueError, match=r"unknown speaker .*; expected a number from 0 to 2"):
            tts.load_voice(str(vits), speaker=wrong)


def test_text_that_a_network_can_not_read_is_refused(vits):
    with pytest.raises(ValueError, match="nothing in '北京' that the voice knows"):
        tts.load_voice(str(vits)).say("北京")


def predictions(voice: networks.FastSpeech2Voice, settings: Settings | None) -> dict[str, torch.Tensor]:
    tokens = voice._tokenise("good morning to you")
    with torch.inference_mode():
        if settings is None:
            found = voice._model(tokens)
        else:
            with networks.steered(voice._model, settings):
                found = voice._model(tokens)
    return {name: found[f"{name}_outputs"].flatten() for name in ("pitch", "energy", "duration")}


def test_fastspeech_s_own_predictors_are_steered(fastspeech):
    voice = tts.load_voice(str(fastspeech))
    plain = predictions(voice, None)
    steered = predictions(
        voice, Settings(pitch_st=networks.PITCH_SD_ST, level_db=3.0, rate_log=float(-np.log(3)))
    )
    assert torch.allclose(steered["pitch"], plain["pitch"] + 1, atol=1e-5)
    assert torch.allclose(steered["energy"], plain["energy"] + 3 / networks.ENERGY_SD_DB, atol=1e-5)
    assert ((steered["duration"] - 3 * plain["duration"]).abs() <= 2).all()  # rounded once, after the stretch
    assert steered["duration"].sum() > 2 * plain["duration"].sum()
    wide = predictions(voice, Settings(range_log=float(np.log(2))))
    assert torch.allclose(wide["pitch"].std(), 2 * plain["pitch"].std())
    assert torch.allclose(wide["pitch"].mean(), plain["pitch"].mean(), atol=1e-5)


def test_fastspeech_is_left_as_it_was(fastspeech):
    voice = tts.load_voice(str(fastspeech))
    before = voice.say("good morning")[0]
    longer = voice.say("good morning", Settings(rate_log=-0.7))[0]
    with pytest.raises(RuntimeError, match="stop"), networks.steered(voice._model, dial.toward("angry")):
        raise RuntimeError("stop")
    assert np.array_equal(voice.say("good morning")[0], before) and len(longer) > 1.2 * len(before)
    assert np.array_equal(tts.speak("good morning", voice=voice, target="happy", alpha=0)[0], before)
    assert not np.array_equal(tts.speak("good morning", voice=voice, target="happy", alpha=0.3)[0], before)


def test_a_bare_fastspeech_needs_a_vocoder(fastspeech, tmp_path):
    both = transformers.FastSpeech2ConformerWithHifiGan.from_pretrained(fastspeech)
    both.model.save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "vocab.json").write_text((fastspeech / "vocab.json").read_text())
    with pytest.raises(ValueError, match="its vocoder 'espnet/fastspeech2_conformer_hifigan' can't"):
        tts.load_voice(str(tmp_path / "bare"))
    both.vocoder.save_pretrained(tmp_path / "vocoder")
    named = tts.load_voice(str(tmp_path / "bare"), vocoder=str(tmp_path / "vocoder")).say("good day")[0]
    both.vocoder.save_pretrained(tmp_path / "bare" / "vocoder")
    beside = tts.load_voice(str(tmp_path / "bare")).say("good day")[0]
    whole = tts.load_voice(str(fastspeech)).say("good day")[0]
    assert np.array_equal(named, beside) and np.allclose(named, whole, atol=1e-5)


def test_speecht5_speaks(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason="SpeechT5's tokenizer needs sentencepiece")
    (tmp_path / "words.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"), model_prefix=str(tmp_path / "spm_char"), model_type="char",
        vocab_size=32, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    tokenizer = transformers.SpeechT5Tokenizer(str(tmp_path / "spm_char.model"))
    tokenizer.save_pretrained(tmp_path)
    config = transformers.SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        speech_decoder_prenet_units=16, speech_decoder_postnet_units=16, speech_decoder_postnet_layers=2,
        num_mel_bins=20, speaker_embedding_dim=8, max_text_positions=60,
    )  # fmt: skip
    save(transformers.SpeechT5ForTextToSpeech, config, tmp_path)
    vocoder = transformers.SpeechT5HifiGanConfig(**tiny({"model_in_dim": 20}))
    save(transformers.SpeechT5HifiGan, vocoder, tmp_path / "vocoder")
    voice = tts.load_voice(str(tmp_path))
    wave, sample_rate = voice.say("the lazy dog")
    assert sample_rate == 16_000 and wave.any() and np.array_equal(wave, voice.say("the lazy dog")[0])
    np.save(tmp_path / "x.npy", np.ones(8, np.float32))
    assert not np.array_equal(
        tts.load_voice(str(tmp_path), speaker=str(tmp_path / "x.npy")).say("dog")[0], wave
    )
    np.save(tmp_path / "x.npy", np.ones(9, np.float32))
    with pytest.raises(ValueError, match="expected 8 finite numbers"):
        tts.load_voice(str(tmp_path), speaker=str(tmp_path / "x.npy"))
    with pytest.raises(ValueError, match="takes 60: speak it in parts"):
        voice.say("the lazy dog " * 10)


def test_folders_without_a_voice_are_refused(model_folder, vits, tmp_path):
    with pytest.raises(ValueError, match="a 'wav2vec2' model; expected vits, speecht5"):
        tts.load_voice(str(model_folder()))
    with pytest.raises(ValueError, match="holds no usable voice"):
        tts.load_voice(str(tmp_path))
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    for name in ("config.json", "vocab.json", "tokenizer_config.json"):
        (lacking / name).write_text((vits / name).read_text())
    weights = transformers.VitsModel.from_pretrained(vits).state_dict()
    save_file({k: v for k, v in weights.items() if "text_encoder" not in k}, lacking / "model.safetensors")
    with pytest.raises(ValueError, match=r"its weights lack \d+ of the model's tensors"):
        tts.load_voice(str(lacking))


def test_vits_with_phonemes_needs_no_other_package(vits, tmp_path):
    sounds = ["_", *sorted({*phonemes.ipa("hello there you")}), "<unk>"]
    (tmp_path / "vocab.json").write_text(json.dumps({sound: i for i, sound in enumerate(sounds)}))
    transformers.VitsTokenizer(tmp_path / "vocab.json", pad_token="_", phonemize=True).save_pretrained(
        tmp_path
    )
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((vits / name).read_bytes())
    voice = tts.load_voice(str(tmp_path))
    tokens = voice._tokenise("hello there you")[0].tolist()
    assert [sounds[i] for i in tokens[1::2]] == [*phonemes.ipa("hello there you")]
    assert voice.say("hello there you")[0].any()
