"""All that a steering panel asks for, from one corpus: steerers by name, points of the plane, places on it.

Last stage of `emolib.steering`. What is learned, is learned when it is first asked for, and kept.
"""

from collections.abc import Mapping
from functools import cache, cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import av, emotions, encoders, features
from emolib.audio import Wave
from emolib.prosody import ProsodyTransform
from emolib.steering.base import Steerer
from emolib.steering.preparation import LAYER, Method, prepare, prosodic_steerer
from emolib.steering.prosodic import ProsodySteerer
from emolib.steering.speakers import roles

#: How near an emotion must lie to a point of the plane to have a share in it.
REACH = 0.35

Point = tuple[float, float]


def shares_at(point: Point, anchors: Mapping[str, Point], reach: float = REACH) -> dict[str, float]:
    """Return the share of each emotion in a point of the arousal-valence plane; they sum to 1.

    Parameters
    ----------
    point : (valence, arousal)
    anchors : mapping of emotion to (valence, arousal)
    reach : float
        Shares fall off with the distance to an anchor as a Gaussian of this deviation.
    """
    places = np.array(list(anchors.values()), dtype=np.float64)
    nearness: NDArray[np.float64] = -np.square(places - point).sum(axis=1) / (2 * reach**2)
    weights = np.exp(nearness - nearness.max())
    return dict(zip(anchors, (weights / weights.sum()).tolist(), strict=True))


class Studio:
    """Steerers and a plane, learned from the makers of one corpus.

    Parameters
    ----------
    manifest : DataFrame; the corpus
    encoder, layer : of latent steering and of the plane
    device : str

    Attributes
    ----------
    makers : DataFrame; the clips that are learned from, as `roles` deals the speakers
    anchors : dict of emotion to (valence, arousal); the corpus's emotions
    """

    def __init__(
        self, manifest: pd.DataFrame, *, encoder: str = encoders.DEFAULT, layer: int = LAYER,
        device: str = "auto",
    ) -> None:  # fmt: skip
        self.manifest, self.encoder, self.layer, self.device = manifest, encoder, layer, device
        self.makers = manifest[manifest["speaker"].isin(roles(manifest).makers)].reset_index(drop=True)
        words = emotions.ordered(set(manifest["emotion"]))
        places = av.resolve(np.array(words))
        self.anchors: dict[str, Point] = {
            word: (float(v), float(a)) for word, (v, a) in zip(words, places, strict=True)
        }
        self.steerer = cache(self._steerer)

    def _steerer(self, method: Method, source: str, target: str) -> Steerer:
        """Return the steerer of a method from one emotion to another."""
        return prepare(
            method, source, target, manifest=self.manifest, encoder=self.encoder, layer=self.layer,
            device=self.device,
        )  # fmt: skip

    def blend(self, source: str, valence: float, arousal: float) -> ProsodySteerer:
        """Return a steerer whose delta 1 is a point of the plane: its neighbours, by their shares.

        Parameters
        ----------
        source : str; the emotion that clips are spoken in, whose own share is left unchanged
        valence, arousal : float, in [-1, 1]
        """
        shares = shares_at((valence, arousal), self.anchors)
        others = [word for word in shares if word != source]
        moved = [self._transform(source, word) for word in others]
        return ProsodySteerer(ProsodyTransform.blend(moved, [shares[word] for word in others]))

    def locate(self, wave: Wave, sample_rate: int) -> Point:
        """Return a clip's (valence, arousal) on the plane of the makers' clips, from this clip alone."""
        network, learner = self._plane
        [states] = network.encode([wave], sample_rate)
        pooled = np.concatenate([states[0].mean(axis=0), states[0].std(axis=0)])
        valence, arousal = learner.transform(pooled[None])[0]
        return float(valence), float(arousal)

    def _transform(self, source: str, target: str) -> ProsodyTransform:
        return prosodic_steerer(self.makers, source, target).transform

    @cached_property
    def _plane(self) -> tuple[encoders.Encoder, av.AVLearner]:
        store = features.extract(self.makers, self.encoder, layers=[self.layer], device=self.device).store
        X = store.pooled(self.layer, "mean+std", self.makers["clip"].tolist())
        learner = av.AVLearner().fit(X, self.makers["emotion"], groups=self.makers["speaker"])
        return encoders.load(self.encoder, layers=[self.layer], device=self.device), learner
