"""Voices that are networks: VITS, SpeechT5 and FastSpeech2-Conformer of the transformers library.

What VITS and SpeechT5 say is reshaped by WORLD, as every voice's speech is. FastSpeech2 predicts a pitch, an
energy and a duration for each phoneme, and is steered there instead.

References
----------
J. Kim, J. Kong, J. Son (2021), "Conditional variational autoencoder with adversarial learning for end-to-end
text-to-speech" (VITS), arXiv:2106.06103.
J. Ao et al. (2022), "SpeechT5: Unified-modal encoder-decoder pre-training for spoken language processing",
arXiv:2110.07205.
Y. Ren et al. (2021), "FastSpeech 2: Fast and high-quality end-to-end text to speech", arXiv:2006.04558, with
the conformer blocks of P. Guo et al. (2021), arXiv:2010.13956.
"""

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch

from emolib.audio import Wave
from emolib.tts.voices import Voice
from emolib.world import Settings

#: FastSpeech2 predicts pitch and energy in standard deviations over its training speech, which no published
#: configuration states. These are assumed: one reader's log F0 spreads by about 0.23, the level by 6 dB.
PITCH_SD_ST, ENERGY_SD_DB = 4.0, 6.0
_SEED = 0

#: Turns a text into token numbers, (1, N).
Tokenise = Callable[[str], torch.Tensor]


class NetworkVoice(Voice):
    """What the three families share: a text becomes tokens, and a seeded pass makes a wave of them."""

    def __init__(self, name: str, model: Any, tokenise: Tokenise, sample_rate: int) -> None:
        self.name, self.sample_rate = name, sample_rate
        self._model, self._tokenise = model, tokenise

    @abstractmethod
    def _generate(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the wave, (S,), of some tokens, (1, N)."""

    def _plain(self, text: str) -> Wave:
        tokens = self._tokenise(text)
        limit = getattr(self._model.config, "max_text_positions", None)
        if limit and tokens.shape[1] > limit:
            raise ValueError(
                f"a text of {tokens.shape[1]} tokens; voice {self.name!r} takes {limit}: speak it in parts"
            )
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return self._generate(tokens).float().numpy()


class VitsVoice(NetworkVoice):
    """A VITS network; `speaker` is the number of one of its speakers, None where it has a single one."""

    def __init__(self, name: str, model: Any, tokenise: Tokenise, speaker: int | None) -> None:
        super().__init__(name, model, tokenise, int(model.config.sampling_rate))
        self._speaker = speaker

    def _generate(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._model(tokens, speaker_id=self._speaker).waveform[0]


class SpeechT5Voice(NetworkVoice):
    """A SpeechT5 network with its vocoder; `speaker` is an x-vector, (1, E)."""

    def __init__(
        self, name: str, model: Any, vocoder: Any, tokenise: Tokenise, speaker: torch.Tensor
    ) -> None:
        super().__init__(name, model, tokenise, int(vocoder.config.sampling_rate))
        self._vocoder, self._speaker = vocoder, speaker

    def _generate(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._model.generate_speech(tokens, self._speaker, vocoder=self._vocoder)


class FastSpeech2Voice(NetworkVoice):
    """A FastSpeech2-Conformer with its vocoder; `speaker` is a number or None.

    Settings reach its predictors (`steered`): shift and range of pitch, rate, and level. The others, of voice
    quality and of the contour's shape, have no counterpart in it and are left out.
    """

    def __init__(self, name: str, model: Any, vocoder: Any, tokenise: Tokenise, speaker: int | None) -> None:
        super().__init__(name, model, tokenise, 22_050)  # its vocoder's configuration states no rate
        self._vocoder = vocoder
        self._speaker = None if speaker is None else torch.tensor([speaker])

    def _generate(self, tokens: torch.Tensor) -> torch.Tensor:
        spectrogram = self._model(tokens, speaker_ids=self._speaker).spectrogram
        return self._vocoder(spectrogram)[0]

    def _shaped(self, text: str, settings: Settings) -> Wave:
        with steered(self._model, settings):
            return self._plain(text)


@contextlib.contextmanager
def steered(model: Any, settings: Settings) -> Iterator[None]:
    """Steer the pitch, energy and duration predictors of a FastSpeech2-Conformer while the context is open.

    Parameters
    ----------
    model : FastSpeech2ConformerModel
    settings : Settings
        Of which ``pitch_st``, ``range_log``, ``level_db`` and ``rate_log`` are used.

    Notes
    -----
    With m the mean over the phonemes, a pitch p becomes m + exp(range_log) (p - m) + pitch_st / PITCH_SD_ST,
    an energy gains level_db / ENERGY_SD_DB, and a duration d, before it is rounded to frames, becomes
    exp(-rate_log) d. Hooks do so; the network itself is left as it was.
    """
    stretch = math.exp(-settings.rate_log)

    def pitch(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        mean = predicted.mean(dim=1, keepdim=True)
        return mean + math.exp(settings.range_log) * (predicted - mean) + settings.pitch_st / PITCH_SD_ST

    def energy(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        return predicted + settings.level_db / ENERGY_SD_DB

    def duration(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.expm1(predicted).clamp(min=0) * stretch)  # it predicts log(frames + 1)

    handles = [
        model.pitch_predictor.register_forward_hook(pitch),
        model.energy_predictor.register_forward_hook(energy),
        model.duration_predictor.linear.register_forward_hook(duration),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
