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
from emolib.ser.judge import RECIPE
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
        makers, encoder, layers=[layer], frames=True, device=device, progress=progress
    ).store
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
    if steps:
        settings = replace(mapper.Settings(), steps=steps)
        place = mapper.default_folder(makers, store, layer, settings)
        return mapper.train(makers, store, layer, place, settings, device=device, progress=progress)

    def fit(place: Path) -> None:
        pairs = mapper.load_pairs(makers, store, layer, progress=progress)
        mapper.fit_linear(pairs, store.config, layer, context=CONTEXT).save(place)

    name = f"mapper-{paths.folder_name(store.config.encoder)}-layer{layer}"
    recipe = {"clips": ser.digest(makers), "encoder": store.config.fingerprint, "context": CONTEXT}
    return mapper.Mapper.load(_once(makers, name, recipe, fit))


def _once(clips: pd.DataFrame, name: str, recipe: dict[str, object], make: Callable[[Path], None]) -> Path:
    """Return the folder of a part, made unless it is there; its name tells recipes apart."""
    return atomic.build_folder(model_folder(clips, name, recipe), RECIPE, recipe, make)


def prosodic_steerer(
    makers: pd.DataFrame,
    source: str,
    target: str,
    *,
    allow_extrapolation: bool = False,
    progress: bool = False,
) -> ProsodySteerer:
    """Return a prosodic steerer learned from the clips of a manifest, all of them; see `prepare`."""

    def fit(place: Path) -> None:
        found = prosody.pairs(makers, source, target, progress=progress)
        prosody.ProsodyTransform(source, target).fit(found.pairs).save(place)

    clips = ser.digest(makers[makers["emotion"].isin([source, target])])
    recipe = {"clips": clips, "prosody": prosody.VERSION}
    transform = prosody.ProsodyTransform.load(_once(makers, f"prosody-{source}-{target}", recipe, fit))
    return ProsodySteerer(transform, allow_extrapolation=allow_extrapolation)


def judge(manifest: pd.DataFrame, speakers: Sequence[str] | None = None) -> ser.Judge:
    """Return the judge of a corpus, trained on those of its speakers whose role it is, and kept."""
    chosen = roles(manifest).judges if speakers is None else speakers
    rest = sorted(set(manifest["speaker"]) - set(chosen))
    clips = manifest[manifest["speaker"].isin(chosen)]
    return ser.train(manifest, model_folder(manifest, "judge", ser.digest(clips)), without=rest)


def model_folder(manifest: pd.DataFrame, name: str, *decided_by: object) -> Path:
    """Return where a part learned from a corpus is kept: ``models/steering-<corpus>/<name>-<digest>``."""
    part = paths.trained(name, *decided_by).name
    return paths.models() / f"steering-{paths.folder_name(corpus_name(manifest))}" / part
