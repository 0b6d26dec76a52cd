"""A steerer from a corpus: learned once from some of its speakers, kept in ``models/``, loaded ever after.

Last stage of `emolib.steering`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from emolib import (
    atomic,
    axis,
    corpora,
    encoders,
    features,
    mapper,
    paths,
    prosody,
    ser,
    vocoder,
)  # fmt: skip
from emolib.steering.base import Steerer
from emolib.steering.hybrid import HybridSteerer
from emolib.steering.latent import LatentSteerer
from emolib.steering.prosodic import ProsodySteerer
from emolib.steering.speakers import check_emotions, corpus_name, roles
from emolib.store import FeatureStore

Method = Literal["latent", "prosody", "hybrid"]
METHODS: tuple[str, ...] = get_args(Method)
#: Lower layers are mapped back to sound better, higher ones hold emotion more clearly.
LAYER = 3
#: Encoder frames that a linear mapper reads for one mel frame.
CONTEXT = 5


def prepare(
    method: Method = "latent",
    source: str = "calm",
    target: str = "angry",
    *,
    corpus: str = "demo",
    manifest: pd.DataFrame | None = None,
    encoder: str = encoders.DEFAULT,
    layer: int = LAYER,
    mapper_steps: int = 0,
    device: str = "auto",
    allow_extrapolation: bool = False,
    progress: bool = False,
) -> Steerer:
    """Return a steerer learned from a corpus; what was learned before is loaded.

    Parameters
    ----------
    method : {"latent", "prosody", "hybrid"}
    source, target : str; emotions of the corpus
    corpus : str
        A name for `corpora.load`; read unless `manifest` is given.
    manifest : DataFrame, optional
        The corpus, where it has been read.
    encoder, layer
        Of latent and hybrid steering.
    mapper_steps : int
        Steps that the mapper is trained for. With 0 it is linear and takes seconds: where the mapped
        difference alone is heard, that does as well, and two voices teach the network no more.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ValueError
        If the method is unknown, an emotion isn't spoken by those who are learned from, or there are fewer
        than five speakers.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; expected one of: {', '.join(METHODS)}")
    clips = corpora.load(corpus) if manifest is None else manifest
    check_emotions(clips, source, target)
    makers = clips[clips["speaker"].isin(roles(clips).makers)].reset_index(drop=True)
    check_emotions(makers, source, target)
    if method == "prosody":
        return prosodic_steerer(
            makers, source, target, allow_extrapolation=allow_extrapolation, progress=progress
        )
    moved = latent_steerer(
        makers, source, target, encoder=encoder, layer=layer, mapper_steps=mapper_steps, device=device,
        allow_extrapolation=allow_extrapolation, progress=progress,
    )  # fmt: skip
    if method == "latent":
        return moved
    spoken = prosodic_steerer(
        makers, source, target, allow_extrapolation=allow_extrapolation, progress=progress
    )
    return HybridSteerer(spoken, moved, allow_extrapolation=allow_extrapolation)


def latent_steerer(
    makers: pd.DataFrame,
    source: str,
    target: str,
    *,
    encoder: str = encoders.DEFAULT,
    layer: int = LAYER,
    mapper_steps: int = 0,
    device: str = "auto",
    allow_extrapolation: bool = False,
    progress: bool = False,
) -> LatentSteerer:
    """Return a latent steerer learned from the clips of a manifest, all of them; see `prepare`.

    Notes
    -----
    The axis is the mean difference: the logistic direction tells the emotions apart better, but says little
    about what else of a voice moves with them.
    """
    store = features.extract(
        makers, encoder, layers=[layer], frames=True, device=device, progress=progress,
        url=paths.feature_store(corpus_name(makers), f"{encoder}-layer{layer}-frames"),
    ).store  # fmt: skip
    direction = axis.fit_axis(makers, store, layer, source=source, target=target, method="mean-difference")
    trained = _mapper(makers, store, layer, mapper_steps, device, progress)
    network = encoders.load(encoder, layers=[layer], device=device)
    return LatentSteerer(
        network, direction, trained, vocoder.load(device=device), allow_extrapolation=allow_extrapolation
    )


def _mapper(
    makers: pd.DataFrame, store: FeatureStore, layer: int, steps: int, device: str, progress: bool
) -> mapper.Mapper:
    """Return the mapper of a layer, trained on all of the clips: linear, or of so many steps."""
    name = f"mapper-{paths.folder_name(store.config.encoder)}-layer{layer}"
    if steps:
        settings = replace(mapper.Settings(), steps=steps)
        place = model_folder(makers, f"{name}-{steps}-steps")
        return mapper.train(
            makers, store, layer, place, settings, device=device, replace=True, progress=progress
        )

    def fit(place: Path) -> None:
        pairs = mapper.load_pairs(makers, store, layer, progress=progress)
        mapper.fit_linear(pairs, store.config, layer, context=CONTEXT).save(place)

    place = model_folder(makers, name)
    _once(place, f"{ser.digest(makers)} {store.config.fingerprint} {CONTEXT}", fit)
    return mapper.Mapper.load(place)


def _once(place: Path, recipe: str, make: Callable[[Path], None]) -> None:
    """Make what belongs into a folder unless it was made by the same recipe, which stands beside it."""
    stamp = place.with_name(f"{place.name}.recipe")
    if not (place.is_dir() and stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe):
        stamp.unlink(missing_ok=True)  # nothing vouches for what a kill leaves half made
        make(place)
        atomic.write_file(stamp, recipe.encode())


def prosodic_steerer(
    makers: pd.DataFrame,
    source: str,
    target: str,
    *,
    allow_extrapolation: bool = False,
    progress: bool = False,
) -> ProsodySteerer:
    """Return a prosodic steerer learned from the clips of a manifest, all of them; see `prepare`."""
    place = model_folder(makers, f"prosody-{source}-{target}")

    def fit(place: Path) -> None:
        found = prosody.pairs(makers, source, target, progress=progress)
        prosody.ProsodyTransform(source, target).fit(found.pairs).save(place)

    clips = ser.digest(makers[makers["emotion"].isin([source, target])])
    _once(place, f"{clips} {prosody.VERSION}", fit)
    transform = prosody.ProsodyTransform.load(place)
    return ProsodySteerer(transform, allow_extrapolation=allow_extrapolation)


def judge(manifest: pd.DataFrame, speakers: Sequence[str] | None = None) -> ser.Judge:
    """Return the judge of a corpus, trained on those of its speakers whose role it is, and kept."""
    chosen = roles(manifest).judges if speakers is None else speakers
    rest = sorted(set(manifest["speaker"]) - set(chosen))
    return ser.train(manifest, model_folder(manifest, "judge"), without=rest)


def model_folder(manifest: pd.DataFrame, name: str) -> Path:
    """Return where a part that was learned from a corpus is kept: ``models/steering-<corpus>/<name>``."""
    return paths.models() / f"steering-{paths.folder_name(corpus_name(manifest))}" / name
