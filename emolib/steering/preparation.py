"""A steerer from a corpus: learned once from some of its speakers, kept in ``models/``, and loaded later.

Every speaker of a corpus has one role: those who taught a steerer neither train the judge nor are steered in
its evaluation. `Studio` has all that a panel of sliders asks for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import av, corpora, emotions, encoders, features, files, mapper, paths, prosody, ser, vocoder
from emolib.audio import Wave
from emolib.axis import fit_axis
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


def check_emotions(manifest: pd.DataFrame, *wanted: str) -> None:
    """Raise ValueError if an emotion is named twice, or not in a manifest."""
    present = set(manifest["emotion"])
    for word in wanted:
        if word not in present:
            raise ValueError(
                f"no clip of {word!r} in these of {_corpus_name(manifest)}; they have: "
                f"{', '.join(emotions.ordered(present))}"
            )
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"source and target are both {wanted[0]!r}; expected two emotions")


def by_method(
    method: str, prosodic: Callable[[], ProsodySteerer], latent: Callable[[], LatentSteerer]
) -> Steerer:
    """Return the steerer of a method, made of those of the two steerers that it needs."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; expected one of: {', '.join(METHODS)}")
    if method == "prosody":
        return prosodic()
    moved = latent()
    if method == "latent":
        return moved
    return HybridSteerer(prosodic(), moved, allow_extrapolation=moved.allow_extrapolation)


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
    clips = corpora.load(corpus) if manifest is None else manifest
    check_emotions(clips, source, target)
    makers = _makers(clips)
    check_emotions(makers, source, target)
    options = {"allow_extrapolation": allow_extrapolation, "progress": progress}
    latent = partial(
        latent_steerer, makers, source, target, encoder=encoder, layer=layer, device=device, **options
    )
    return by_method(method, partial(prosodic_steerer, makers, source, target, **options), latent)


def latent_steerer(
    makers: pd.DataFrame, source: str, target: str, *,
    encoder: str | encoders.Encoder = paths.SHIPPED_ENCODER, layer: int = LAYER, device: str = "auto",
    allow_extrapolation: bool = False, progress: bool = False,
) -> LatentSteerer:  # fmt: skip
    """Return a latent steerer learned from the clips of a manifest, all of them; see `prepare`.

    Notes
    -----
    The axis is the mean difference: the logistic direction separates the emotions better, but says little
    about what else of a voice moves with them. The mapper is linear, which takes seconds: where only the
    mapped difference is added to a clip, that does as well as a network.
    """
    if isinstance(encoder, str):
        encoder = encoders.load(encoder, layers=[layer], device=device)
    store = features.extract(makers, encoder, frames=True, progress=progress).store
    direction = fit_axis(makers, store, layer, source=source, target=target, method="mean-difference")
    name = f"mapper-{paths.folder_name(store.config.encoder)}-layer{layer}"
    recipe = {"clips": ser.digest(makers), "encoder": store.config.fingerprint, "context": CONTEXT}
    recipe |= {"first_frame_s": store.config.first_frame_s}

    def fit(place: Path) -> None:
        linear_mapper(makers, store, layer, progress=progress).save(place)

    learned, voice = mapper.Mapper.load(_once(makers, name, recipe, fit)), vocoder.load(device=device)
    return LatentSteerer(encoder, direction, learned, voice, allow_extrapolation=allow_extrapolation)


def linear_mapper(
    makers: pd.DataFrame, store: FeatureStore, layer: int, *, progress: bool = False
) -> mapper.Mapper:
    """Return the linear mapper of a layer, fitted to the frames of all clips of a manifest."""
    pairs = mapper.load_pairs(makers, store, layer, progress=progress)
    return mapper.fit_linear(pairs, store.config, layer, context=CONTEXT)


def prosodic_steerer(
    makers: pd.DataFrame, source: str, target: str, *, allow_extrapolation: bool = False,
    progress: bool = False,
) -> ProsodySteerer:  # fmt: skip
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
    return ser.train(manifest, _model_folder(manifest, "judge", ser.digest(clips)), without=rest)


def _makers(manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest[manifest["speaker"].isin(roles(manifest).makers)].reset_index(drop=True)


def _corpus_name(manifest: pd.DataFrame) -> str:
    return "+".join(sorted(set(manifest["corpus"].astype(str))))


def _once(clips: pd.DataFrame, name: str, recipe: dict[str, object], make: Callable[[Path], None]) -> Path:
    """Return the folder of a part, made unless it is there; its name differs from recipe to recipe."""
    return files.build_folder(_model_folder(clips, name, recipe), RECIPE, recipe, make)


def _model_folder(manifest: pd.DataFrame, name: str, *decided_by: object) -> Path:
    """Return where a part learned from a corpus is kept: ``models/steering-<corpus>/<name>-<digest>``."""
    part = paths.trained(name, *decided_by).name
    return paths.models() / f"steering-{paths.folder_name(_corpus_name(manifest))}" / part


def shares_at(point: Point, anchors: Mapping[str, Point], reach: float = 0.35) -> dict[str, float]:
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
        words = emotions.ordered(set(manifest["emotion"]))
        self.anchors: dict[str, Point] = {
            word: (float(v), float(a)) for word, (v, a) in zip(words, av.resolve(words), strict=True)
        }
        self.targets = tuple(words)
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
        [states] = self._network.encode([wave], sample_rate)
        pooled = np.concatenate([states[0].mean(axis=0), states[0].std(axis=0)])
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
