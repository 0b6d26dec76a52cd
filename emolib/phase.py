"""Griffin-Lim on the mel scale: a wave whose mel-spectrogram is the one that was asked for.

Plain Griffin-Lim first turns mel bands into a linear spectrogram by a pseudo-inverse, which blurs every
harmonic that shares a band with its neighbours, and then keeps that blur. Here each iteration only requires
that the bands are right: the spectrogram of the current wave is scaled, bin by bin, until its bands agree,
and the fine structure within a band stays as it is in the wave. The result therefore depends on the initial
wave: noise, or the output of a vocoder network.

References
----------
D. W. Griffin, J. S. Lim (1984), "Signal estimation from modified short-time Fourier transform", IEEE TASSP
32(2), doi:10.1109/TASSP.1984.1164317.
N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA (the momentum).
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emolib.audio import HIFIGAN_MEL, MelSpec, Wave, mel_filters

#: Of the fast Griffin-Lim algorithm.
_MOMENTUM = 0.99
_TINY = 1e-9


@torch.inference_mode()
def fit_to_mel(wave: Wave, log_mel: NDArray[np.float32], spec: MelSpec = HIFIGAN_MEL, *, n_iter: int) -> Wave:
    """Change a wave until its mel-spectrogram is the given one.

    Parameters
    ----------
    wave : float32 array, (T * hop,); where to start
    log_mel : float32 array, (T, M), natural logarithm
    spec : MelSpec; of magnitudes, not energies
    n_iter : int; 0 gives the wave back as it is

    Returns
    -------
    wave : float32 array, (T * hop,)

    Notes
    -----
    With X the spectrum of the wave, F the filter bank and y the wanted bands, one iteration takes the wave to
    the inverse transform of g |X| exp(i phase(X + momentum (X - X_before))), where the gain g of a bin is the
    mean of y / F|X| over the bands that hold it, in the logarithm and weighted as they hold it. Bins in no
    band (above ``fmax``) keep their magnitude.
    """
    if spec.power != 1:
        raise ValueError(f"a mel-spectrogram of power {spec.power}; expected magnitudes, power 1")
    if len(wave) != len(log_mel) * spec.hop_length:
        raise ValueError(
            f"a wave of {len(wave)} samples for {len(log_mel)} frames; expected {spec.hop_length} samples a "
            f"frame"
        )
    filters = torch.from_numpy(mel_filters(spec).copy())
    share = filters / filters.sum(dim=0).clamp(min=_TINY)
    wanted = torch.from_numpy(np.asarray(log_mel, np.float32).T.copy())
    window = torch.hann_window(spec.n_fft)[:, None]
    overlap = _add_up(window.square().expand(-1, len(log_mel)), spec).clamp(min=1e-3)
    now, before = torch.from_numpy(np.array(wave, np.float32)), None
    for _ in range(n_iter):
        spectrum = _analyse(now, spec)
        ahead = spectrum if before is None else spectrum + _MOMENTUM * (spectrum - before)
        magnitude = spectrum.abs()
        bands = (filters @ magnitude).clamp(min=spec.floor)
        magnitude = magnitude * torch.exp(share.T @ (wanted - bands.log()))
        pieces = torch.fft.irfft(ahead * (magnitude / (ahead.abs() + _TINY)), n=spec.n_fft, dim=0)
        now = _add_up(pieces * window, spec) / overlap
        before = spectrum
    return now.numpy()


def noise_for(log_mel: NDArray[np.float32], spec: MelSpec = HIFIGAN_MEL, *, seed: int = 0) -> Wave:
    """Return white noise up to the highest band, of the length of a log-mel-spectrogram: (T * hop,)."""
    n_samples = len(log_mel) * spec.hop_length
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n_samples))
    spectrum[np.fft.rfftfreq(n_samples, 1 / spec.sample_rate) > spec.fmax] = 0
    # bins in no band keep their initial level, which is inaudible
    return (1e-4 * np.fft.irfft(spectrum, n_samples)).astype(np.float32)


def _analyse(wave: Tensor, spec: MelSpec) -> Tensor:
    """Return the spectrum, (n_fft // 2 + 1, T), of a wave, (T * hop,), framed as in `audio.log_mel`."""
    mode = "reflect" if len(wave) > spec.margin else "constant"
    padded = F.pad(wave[None, None], (spec.margin, spec.margin), mode=mode)[0, 0]
    window = torch.hann_window(spec.n_fft)
    return torch.stft(padded, spec.n_fft, spec.hop_length, window=window, center=False, return_complex=True)


def _add_up(pieces: Tensor, spec: MelSpec) -> Tensor:
    """Add up frames, (n_fft, T), at their places, and cut the margins off: (T * hop,)."""
    n_samples = pieces.shape[1] * spec.hop_length
    length = n_samples - spec.hop_length + spec.n_fft
    wave = F.fold(pieces[None], (1, length), (1, spec.n_fft), stride=(1, spec.hop_length))[0, 0, 0]
    return wave[spec.margin : spec.margin + n_samples]
