"""Steering for human voices with no corpus at hand: transforms, a mapper and a judge learned from RAVDESS.

The transforms move speech from neutral and calm to each strong emotion. They and the mapper of latent
steering were learned from two thirds of the actors, and the judge from the rest. The axes of latent steering
are computed from the shipped embeddings of the same two thirds. ``models/prosody-ravdess/recipe.py`` made
what is shipped.
"""

import re
from functools import cache, partial
from pathlib import Path

import pandas as pd

from emolib import corpora, encoders, files, mapper, paths, prosody, ser
from emolib.steering import preparation
from emolib.steering.base import Steerer
from emolib.steering.latent import LatentSteerer
from emolib.steering.preparation import Method, anchors_of, blended
from emolib.steering.prosodic import ProsodySteerer

#: The name of the folder in ``models/``.
FOLDER = "prosody-ravdess"
CORPUS = "ravdess"
SOURCES = ("neutral", "calm")
TARGETS = ("angry", "happy", "sad", "fearful", "disgust", "surprised")
_JUDGE, _MAPPER = "judge", "mapper"


def available() -> bool:
    """Return whether the parts are where models are kept."""
    return (paths.model(FOLDER) / _JUDGE / files.CONFIG).is_file()


def steerer(source: str, target: str) -> ProsodySteerer:
    """Return the shipped steerer from one emotion to another.

    Raises
    ------
    ValueError
        If none is shipped for them.
    """
    for word, known in ((source, SOURCES), (target, TARGETS)):
        if word not in known:
            raise ValueError(
                f"nothing shipped leads from {source} to {target}; it leads from {' and '.join(SOURCES)} to "
                f"{', '.join(TARGETS)}: name a corpus to learn from (`--corpus`)"
            )
    return ProsodySteerer(prosody.ProsodyTransform.load(paths.model(FOLDER) / f"{source}-{target}"))


def blend(source: str, valence: float, arousal: float) -> ProsodySteerer:
    """Return a shipped steerer whose delta 1 is a point of the plane; see `blended`."""
    anchors = anchors_of((*SOURCES, *TARGETS))
    return blended(source, (valence, arousal), anchors, TARGETS, partial(steerer, source))


def judge() -> ser.Judge:
    """Return the shipped judge of eight emotions, trained on actors who taught no shipped transform."""
    return ser.Judge.load(paths.model(FOLDER) / _JUDGE)


def makers() -> pd.DataFrame:
    """Return the clips, without paths, of the actors who taught the transforms, the mapper and the axes."""
    clips = corpora.described(CORPUS)
    return clips[clips["speaker"].isin(_mapper().provenance["speakers"])].reset_index(drop=True)


def prepare(
    method: Method, source: str, target: str, encoder: encoders.Encoder | None = None, *,
    allow_extrapolation: bool = False,
) -> Steerer:  # fmt: skip
    """Return a shipped steerer by any method.

    Latent steering moves along the mean difference of the shipped embeddings, which hold each clip's mean
    frame, in the layer of `encoder`, which is loaded where it is not given.
    """

    def latent() -> LatentSteerer:
        learned, clips = _mapper(), makers()
        return preparation.latent_steerer(
            clips, source, target, encoder=encoder or learned.encoder, layer=learned.layer, learned=learned
        )

    prosodic = partial(steerer, source, target)
    return preparation.by_method(method, prosodic, latent, allow_extrapolation=allow_extrapolation)


@cache
def _mapper() -> mapper.Mapper:
    return mapper.Mapper.load(paths.model(FOLDER) / _MAPPER)


class Studio(preparation.Studio):
    """Steerers and a plane from what is shipped; see `preparation.Studio`."""

    def __init__(self) -> None:
        clips = makers()
        super().__init__(clips, encoder=_mapper().encoder, layer=_mapper().layer)
        self.makers, self.targets = clips, TARGETS

    def _steerer(self, method: Method, source: str, target: str) -> Steerer:
        return prepare(method, source, target, None if method == "prosody" else self._network)


def speaker(path: Path) -> str | None:
    """Return the actor of a file with a name of RAVDESS, as the judge calls them; None for any other file."""
    match = re.fullmatch(r"(?:[0-9]{2}-){6}([0-9]{2})", path.stem)
    return f"{CORPUS}-{match[1]}" if match else None
