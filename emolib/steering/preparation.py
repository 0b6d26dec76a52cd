"""A steerer from a corpus: learned once from some of its speakers, kept in ``models/``, and loaded later.

Every speaker of a corpus has one role: those who taught a steerer neither train the judge nor are steered in
its evaluation. `Studio` has all that a panel of sliders asks for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import av, corpora, emotions, encoders, features, files, mapper, paths, prosody, ser, vocoder
from emolib.audio import Wave
from emolib.axis import fit_axis
from emolib.embeddings import lack_audio
from emolib.prosody import ProsodyTransform
from emolib.prosody.pairs import check_emotions, corpus_name
from emolib.ser.judge import RECIPE
from emolib.steering.base import Steerer
from emolib.steering.latent import LatentSteerer
from emolib.steering.prosodic import HybridSteerer, ProsodySteerer, blend
from emolib.store import FeatureStore

Method = Literal["latent", "prosody", "hybrid"]
METHODS: tuple[str, ...] = get_args(Method)
#: Lower layers are mapped back to sound better, higher ones hold emotion more clearly.
LAYER = 3
#: Encoder frames that a linear mapper reads for one mel frame.
CONTEXT = 5
_REACH = 0.35

Part = TypeVar("Part", bound=files.Saved)
Point = tuple[float, float]


class Roles(NamedTuple):
    """Speakers of a corpus, each in one role.

    Attributes
    ----------
    makers : tuple of str; axis, mapper and transforms are learned from them
    judges : tuple of str; the judge is trained on them
    heard : tuple of str; their clips are steered and judged
    """

    makers: tuple[str, ...]
    judges: tuple[str, ...]
    heard: tuple[str, ...]


def roles(manifest: pd.DataFrame) -> Roles:
    """Assign the speakers of a corpus: a quarter are makers, half judges, and a quarter are steered.

    Raises
    ------
    ValueError
        If there are fewer than five speakers: two makers, two judges, and one who is steered.
    """
    speakers = by_gender(manifest)
    makers, heard = speakers[::4], speakers[3::4]
    return Roles(tuple(makers), tuple(sorted({*speakers} - {*makers, *heard})), tuple(heard))


def rotations(manifest: pd.DataFrame, n_groups: int = 6) -> list[Roles]:
    """Assign roles several times, so that each speaker is steered once.

    Parameters
    ----------
    manifest : DataFrame; gender and speaker are used: groups are alike in gender where that can be
    n_groups : int; fewer where there are fewer speakers

    Raises
    ------
    ValueError
        If there are fewer than five speakers.
    """
    names = by_gender(manifest)
    n_groups = min(n_groups, len(names))
    groups = [names[k::n_groups] for k in range(n_groups)]
    assigned = []
    for k in range(n_groups):
        rest = [groups[(k + i) % n_groups] for i in range(1, n_groups)]
        n_judges = max(1, round(0.4 * len(rest)))
        while sum(map(len, rest[:n_judges])) < 2:  # a judge holds some of its speakers out
            n_judges += 1
        parts = chain(*rest[n_judges:]), chain(*rest[:n_judges]), groups[k]
        assigned.append(Roles(*(tuple(sorted(part)) for part in parts)))
    return assigned


def by_gender(manifest: pd.DataFrame) -> list[str]:
    """Return the speakers, ordered by gender and name; there must be five."""
    table = manifest[["gender", "speaker"]].astype(str).drop_duplicates("speaker")
    if len(table) < 5:
        raise ValueError(
            f"{len(table)} speakers; steering needs at least five: two to learn from, two to judge, one to "
            f"be steered"
        )
    return table.sort_values(["gender", "speaker"])["speaker"].tolist()


def at_full_strength(manifest: pd.DataFrame, source: str, targets: Sequence[str]) -> pd.DataFrame:
    """Return the clips in the source emotion, and of each target the strong ones, where it has any.

    Clips that are said to be of low or medium intensity are left out of the targets in any case.
    """
    is_target = manifest["emotion"].isin(list(targets)) & ~manifest["intensity"].isin(["low", "medium"])
    strong = manifest["intensity"] == "strong"
    has_strong = manifest["emotion"].isin(manifest.loc[strong, "emotion"])
    return manifest[(manifest["emotion"] == source) | (is_target & (strong | ~has_strong))]


def by_method(
    method: str, prosodic: Callable[[], ProsodySteerer], latent: Callable[[], LatentSteerer], *,
    allow_extrapolation: bool,
) -> Steerer:  # fmt: skip
    """Return the steerer of a method, made of those of the two steerers that it needs."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; expected one of: {', '.join(METHODS)}")
    makers: dict[str, Callable[[], Any]] = {"prosody": prosodic, "latent": latent}
    made = [make() for name, make in makers.items() if method in (name, "hybrid")]
    for steerer in made:
        steerer.allow_extrapolation = allow_extrapolation
    return HybridSteerer(*made) if method == "hybrid" else made[0]


def prepare(
    method: Method = "latent", source: str = "calm", target: str = "angry", *, corpus: str = "demo",
    manifest: pd.DataFrame | None = None, encoder: str | encoders.Encoder = paths.SHIPPED_ENCODER,
    layer: int = LAYER, device: str = "auto", allow_extrapolation: bool = False, progress: bool = False,
) -> Steerer:  # fmt: skip
    """Return a steerer learned from a corpus; what was learned before is loaded.

    Parameters
    ----------
    method : {"latent", "prosody", "hybrid"}
    source, target : str; emotions of the corpus
    corpus : str
        A name for `corpora.load`; read unless `manifest` is given.
    manifest : DataFrame, optional
        The corpus, where it has been read.
    encoder : str or Encoder
        Of latent and hybrid steering, as is `layer`; an encoder must return that layer.
    layer : int
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ValueError
        If the method is unknown, an emotion isn't spoken by the makers, or there are fewer than five
        speakers.
    """
    makers = _makers(corpora.load(corpus) if manifest is None else manifest)
    check_emotions(makers, source, target)
    ends = makers, source, target
    prosodic = partial(prosodic_steerer, *ends, progress=progress)
    latent = partial(latent_steerer, *ends, encoder=encoder, layer=layer, device=device, progress=progress)
    return by_method(method, prosodic, latent, allow_extrapolation=allow_extrapolation)


def latent_steerer(
    makers: pd.DataFrame, source: str, target: str, *, encoder: str | encoders.Encoder, layer: int,
    learned: mapper.Mapper | None = None, device: str = "auto", progress: bool = False,
) -> LatentSteerer:  # fmt: skip
    """Return a latent steerer learned from the clips of a manifest, all of them; see `prepare`.

    `learned` is the mapper, where there is one already; with it the clips need no audio, but embeddings.

    Notes
    -----
    The axis is the mean difference: the logistic direction separates the emotions better, but says little
    about what else of a voice moves with them. The mapper is linear, which takes seconds: where only the
    mapped difference is added to a clip, that does as well as a network.
    """
    if isinstance(encoder, str):
        encoder = encoders.load(encoder, layers=[layer], device=device)
    store = features.extract(makers, encoder, frames=not lack_audio(makers), progress=progress).store
    axis = fit_axis(makers, store, layer, source=source, target=target, method="mean-difference")
    if learned is None:
        name = f"mapper-{paths.folder_name(store.config.encoder)}-layer{layer}"
        recipe = {"clips": ser.digest(makers), "encoder": store.config.fingerprint, "context": CONTEXT}
        recipe |= {"first_frame_s": store.config.first_frame_s}
        fit = partial(linear_mapper, makers, store, layer, progress=progress)
        learned = _once(mapper.Mapper, makers, name, recipe, fit)
    return LatentSteerer(encoder, axis, learned, vocoder.load(device=device))


def linear_mapper(
    makers: pd.DataFrame, store: FeatureStore, layer: int, *, progress: bool = False
) -> mapper.Mapper:
    """Return the linear mapper of a layer, fitted to the frames of all clips of a manifest."""
    pairs = mapper.load_pairs(makers, store, layer, progress=progress)
    return mapper.fit_linear(pairs, store.config, layer, context=CONTEXT)


def prosodic_steerer(
    makers: pd.DataFrame, source: str, target: str, *, progress: bool = False
) -> ProsodySteerer:
    """Return a prosodic steerer learned from the clips of a manifest, all of them; see `prepare`."""

    def fit() -> ProsodyTransform:
        found = prosody.pairs(makers, source, target, progress=progress)
        return ProsodyTransform(source, target).fit(found.pairs)

    clips = ser.digest(makers[makers["emotion"].isin([source, target])])
    recipe = {"clips": clips, "prosody": prosody.VERSION}
    return ProsodySteerer(_once(ProsodyTransform, makers, f"prosody-{source}-{target}", recipe, fit))


def judge(manifest: pd.DataFrame, speakers: Sequence[str] | None = None) -> ser.Judge:
    """Return the judge of a corpus, trained on those of its speakers whose role it is, and kept."""
    chosen = roles(manifest).judges if speakers is None else speakers
    rest = sorted(set(manifest["speaker"]) - set(chosen))
    clips = manifest[manifest["speaker"].isin(chosen)]
    return ser.train(manifest, _model_folder(manifest, "judge", ser.digest(clips)), without=rest)


def _makers(manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest[manifest["speaker"].isin(roles(manifest).makers)].reset_index(drop=True)


def _once(
    kind: type[Part], clips: pd.DataFrame, name: str, recipe: dict[str, object], fit: Callable[[], Part]
) -> Part:
    """Return a part, fitted and saved unless it is there; its folder differs from recipe to recipe."""

    def fill(place: Path) -> None:
        fit().save(place)

    return kind.load(files.build_folder(_model_folder(clips, name, recipe), RECIPE, recipe, fill))


def _model_folder(manifest: pd.DataFrame, name: str, *decided_by: object) -> Path:
    """Return where a part learned from a corpus is kept: ``models/steering-<corpus>/<name>-<digest>``."""
    part = paths.trained(name, *decided_by).name
    return paths.models() / f"steering-{paths.folder_name(corpus_name(manifest))}" / part


def anchors_of(words: Sequence[str]) -> dict[str, Point]:
    """Return where emotions lie on the plane: (valence, arousal)."""
    return {word: (v, a) for word, (v, a) in zip(words, av.resolve(words).tolist(), strict=True)}


def shares_at(point: Point, anchors: Mapping[str, Point]) -> dict[str, float]:
    """Return the share of each emotion in a point of the arousal-valence plane; they sum to 1.

    Shares fall off with the distance to an anchor as a Gaussian of the deviation `_REACH`.
    """
    places = np.array(list(anchors.values()), dtype=np.float64)
    nearness: NDArray[np.float64] = -np.square(places - point).sum(axis=1) / (2 * _REACH**2)
    weights = np.exp(nearness - nearness.max())
    return dict(zip(anchors, (weights / weights.sum()).tolist(), strict=True))


def blended(
    source: str, point: Point, anchors: Mapping[str, Point], targets: Iterable[str],
    steerer: Callable[[str], Steerer],
) -> ProsodySteerer:  # fmt: skip
    """Return a steerer whose delta 1 is a point of the plane: its neighbours, by their shares.

    Parameters
    ----------
    source : str; the emotion that clips are spoken in, whose own share is left unchanged
    point : (valence, arousal), each in [-1, 1]
    anchors : mapping of emotion to (valence, arousal)
    targets : iterable of str; the emotions with a steerer; the others' shares are left unchanged
    steerer : function of the target, from the source
    """
    shares = shares_at(point, anchors)
    others = [word for word in targets if word != source]
    return blend([steerer(word) for word in others], [shares[word] for word in others])


class Studio:
    """Steerers and a plane learned from the makers of one corpus, each when it is first asked for.

    Parameters
    ----------
    manifest : DataFrame; the corpus
    encoder, layer : of latent steering and of the plane
    device : str

    Attributes
    ----------
    makers : DataFrame; the clips that are learned from, by `roles`
    anchors : dict of emotion to (valence, arousal); the corpus's emotions
    targets : tuple of str; the emotions that prosody leads to
    steerer : function (method, source, target) -> Steerer
    """

    def __init__(
        self, manifest: pd.DataFrame, *, encoder: str = paths.SHIPPED_ENCODER, layer: int = LAYER,
        device: str = "auto",
    ) -> None:  # fmt: skip
        self.manifest, self.encoder, self.layer, self.device = manifest, encoder, layer, device
        self.makers = _makers(manifest)
        self.targets = tuple(emotions.ordered(set(manifest["emotion"])))
        self.anchors = anchors_of(self.targets)
        self.steerer = cache(self._steerer)

    def _steerer(self, method: Method, source: str, target: str) -> Steerer:
        encoder = self.encoder if method == "prosody" else self._network
        return prepare(
            method, source, target, manifest=self.manifest, encoder=encoder, layer=self.layer,
            device=self.device,
        )  # fmt: skip

    def blend(self, source: str, valence: float, arousal: float) -> ProsodySteerer:
        """Return a steerer whose delta 1 is a point of the plane: its neighbours, by their shares.

        Parameters
        ----------
        source : str; the emotion that clips are spoken in, whose own share is left unchanged
        valence, arousal : float, in [-1, 1]
        """
        steerer = partial(self.steerer, "prosody", source)
        return blended(source, (valence, arousal), self.anchors, self.targets, steerer)

    def locate(self, wave: Wave, sample_rate: int) -> Point:
        """Return a clip's (valence, arousal) on the plane of the makers' clips, from this clip alone."""
        pooled = encoders.embed(self._network, wave, sample_rate, self.layer, "mean+std")
        valence, arousal = self._plane.transform(pooled[None])[0]
        return float(valence), float(arousal)

    @cached_property
    def _network(self) -> encoders.Encoder:
        return encoders.load(self.encoder, layers=[self.layer], device=self.device)

    @cached_property
    def _plane(self) -> av.AVLearner:
        store = features.extract(self.makers, self._network).store
        X = store.pooled(self.layer, "mean+std", self.makers["clip"].tolist())
        return av.AVLearner().fit(X, self.makers["emotion"], groups=self.makers["speaker"])
