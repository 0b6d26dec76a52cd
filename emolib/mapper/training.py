"""The training of a mapper from a manifest and a store, and what decides that one is done already.

Last stage of `emolib.mapper`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib import atomic, audio, folders, paths
from emolib.encoders import torch_device
from emolib.mapper.network import Mapper
from emolib.mapper.pairs import Mel, load_pairs
from emolib.mapper.settings import Settings
from emolib.mapper.trainer import CHECKPOINT, Trainer, Vocode, ended
from emolib.store import FeatureStore

#: Settings that may change where a training is taken up: how long to go on, and how often to look.
_FREE = ("steps", "patience", "validate_every", "checkpoint_every", "sample_every")


def train(
    manifest: pd.DataFrame,
    store: FeatureStore,
    layer: int,
    out: str | Path,
    settings: Settings | None = None,
    *,
    mels: Mapping[str, Mel] | None = None,
    vocode: Vocode | None = None,
    device: str = "auto",
    resume: bool = True,
    replace: bool = False,
    progress: bool = False,
) -> Mapper:
    """Train the mapper of one layer on the clips of a manifest; some speakers are held out.

    Parameters
    ----------
    manifest : DataFrame
        clip, path, speaker and sha256 are used, and corpus where it is there. Leave out whoever the mapper is
        to be judged on.
    store : FeatureStore, extracted with frames
    layer : int
    out : str or Path
        Folder of the mapper. A checkpoint in it is taken up; a training that has ended is returned at once.
    settings : Settings, optional
    mels : mapping of clip to target, optional
        What `target_mels` returned, to share it among layers.
    vocode : function of a log-mel-spectrogram, optional
        Makes the audible checkpoints in ``<out>/samples``; Griffin-Lim by default.
    device : str
        ``auto`` takes CUDA where there is one.
    resume : bool
        False starts again, whatever lies in `out`.
    replace : bool
        Start again where `out` holds the mapper of other clips, settings or weights, instead of refusing.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    mapper : Mapper
        With the weights that did best on the held-out speakers. Its provenance adds validation_speakers,
        steps, mel_l1 and linear_l1, the latter two on clips of those speakers, before and after training.

    Raises
    ------
    ValueError
        If the manifest is empty or has one speaker, frames and targets don't fit (`load_pairs` says how),
        `out` holds another training, or the loss isn't finite; the last good checkpoint then stays.

    Notes
    -----
    One process at a time trains in a folder. A second one waits, and then finds the first one's training.
    `default_folder` gives every training a folder of its own.
    """
    out, settings = Path(out), settings or Settings()
    chosen = torch_device(device)
    training, held_out = hold_out(manifest, settings)
    identity = _identity(manifest, store, layer, settings)
    provenance = {
        "encoder": store.config.encoder, "fingerprint": store.config.fingerprint, "layer": layer,
        "corpus": " ".join(sorted(set(manifest["corpus"]))) if "corpus" in manifest else "",
        "speakers": training, "validation_speakers": held_out, "n": len(manifest),
    }  # fmt: skip
    with atomic.locked(out):
        found = _checkpoint_state(out / CHECKPOINT) if resume else None
        if found is not None and found["identity"] != identity:
            if not replace:
                raise ValueError(
                    f"{out} holds a mapper of other clips, settings or encoder weights; give another folder, "
                    f"or start again with replace=True (`--replace`)"
                )
            found = None
        if found is not None and ended(found, settings) and (out / folders.CONFIG).is_file():
            return Mapper.load(out, device=str(chosen))
        if found is None:
            for name in (CHECKPOINT, folders.CONFIG):  # of another training; this one writes its own
                (out / name).unlink(missing_ok=True)
        pairs = load_pairs(manifest, store, layer, mels=mels, progress=progress)
        trainer = Trainer(pairs, training, held_out, settings, chosen, identity, provenance)
        trainer.run(out, vocode or audio.griffin_lim, progress=progress)
    return trainer.mapper()


def default_folder(manifest: pd.DataFrame, store: FeatureStore, layer: int, settings: Settings) -> Path:
    """Return where a mapper belongs: ``models/mapper-<corpus>-<encoder>-layer<k>-<digest>``.

    The digest is of all that decides the mapper: clips, the encoder's weights, and settings with their seed
    and number of steps. Trainings that differ in any of them never share a folder.
    """
    corpus, encoder = "+".join(sorted(set(manifest["corpus"]))), paths.folder_name(store.config.encoder)
    ends = (settings.steps, settings.patience, settings.validate_every)
    return paths.trained(
        f"mapper-{corpus}-{encoder}-layer{layer}", _identity(manifest, store, layer, settings), ends
    )


def hold_out(manifest: pd.DataFrame, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the speakers to train on and those held out to decide when to stop, drawn by the seed.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    speakers = sorted(set(manifest["speaker"]))
    if len(speakers) < 2:
        raise ValueError(
            f"{len(manifest)} clips of {len(speakers)} speakers; a mapper needs at least two speakers, one "
            f"to train on and one held out"
        )
    order = np.random.default_rng(settings.seed).permutation(len(speakers))
    n_held_out = min(len(speakers) - 1, max(1, round(settings.validation_share * len(speakers))))
    held_out = {speakers[i] for i in order[:n_held_out]}
    return [s for s in speakers if s not in held_out], sorted(held_out)


def leave_out(manifest: pd.DataFrame, speakers: Sequence[str]) -> pd.DataFrame:
    """Return a manifest without the clips of some speakers.

    Raises
    ------
    ValueError
        If a speaker isn't in the manifest.
    """
    known = set(manifest["speaker"])
    if unknown := [name for name in speakers if name not in known]:
        raise ValueError(f"no speaker {', '.join(unknown)}; expected some of: {', '.join(sorted(known))}")
    return manifest[~manifest["speaker"].isin(list(speakers))]


def _identity(manifest: pd.DataFrame, store: FeatureStore, layer: int, settings: Settings) -> str:
    """Return a hash of the clips, the encoder's weights, the layer and the settings that have to stay."""
    fixed = {name: value for name, value in asdict(settings).items() if name not in _FREE}
    clips = sorted(zip(manifest["clip"], manifest["speaker"], manifest["sha256"], strict=True))
    recipe = [fixed, store.config.encoder, store.config.fingerprint, layer, clips]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def _checkpoint_state(path: Path) -> dict[str, Any] | None:
    """Return the state in a checkpoint, or None where there is none; raise ValueError if it is damaged."""
    if not path.exists():
        return None
    with atomic.open_tensors(path) as file:
        return json.loads(file.metadata()["state"])
