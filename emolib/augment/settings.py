"""Everything that a study of augmentation depends on but the speech.

Fourth stage of `emolib.augment`.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from emolib.augment.protocol import ALONE, BOTH, CLASSICAL, FLATTERING, REAL, Condition, conditions
from emolib.generate.settings import Settings as GeneratorSettings
from emolib.ser import ResNetSettings

Profile = Literal["quick", "full"]


@dataclass(frozen=True)
class Settings:
    """Which cells a study has, and how its networks are trained.

    Attributes
    ----------
    conditions : tuple of Condition; of the speaker-disjoint protocol
    flattering : tuple of Condition; of the flattering one
    shares : tuple of float; of the real training clips, those that matter most first
    generated_shares : tuple of float; the shares of which a generator is trained. It sees no other clips
    folds : tuple of int; which halves are tested
    seeds : tuple of int; of the recognisers
    recogniser : ResNetSettings; mixup : float; its alpha where clips are mixed
    generator : GeneratorSettings
    sampler : str; steps : int; guidance : float; of the samples
    """

    conditions: tuple[Condition, ...]
    flattering: tuple[Condition, ...] = FLATTERING
    shares: tuple[float, ...] = (1.0, 0.25, 0.5, 0.1)
    generated_shares: tuple[float, ...] = (1.0, 0.25)
    folds: tuple[int, ...] = (0, 1)
    seeds: tuple[int, ...] = (0, 1, 2)
    recogniser: ResNetSettings = field(default_factory=ResNetSettings)
    mixup: float = 0.1
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    sampler: str = "dpm++"
    steps: int = 20
    guidance: float = 2.0

    @classmethod
    def of(cls, profile: Profile, *, seed: int = 0) -> "Settings":
        """Return the settings of a profile.

        Parameters
        ----------
        profile : {"quick", "full"}
            Quick tests one half of the speakers with one seed, and takes some 80 s on two cores.
        seed : int; of the first recogniser and of the generators

        Raises
        ------
        ValueError
            If the profile is neither.
        """
        if profile == "full":
            return cls(
                tuple(conditions((0.25, 0.5, 1.0, 2.0, 4.0))), seeds=(seed, seed + 1, seed + 2),
                generator=replace(GeneratorSettings.full(), seed=seed),
            )  # fmt: skip
        if profile == "quick":
            return cls(
                (REAL, CLASSICAL, BOTH, ALONE), flattering=FLATTERING[:1], shares=(1.0,),
                generated_shares=(1.0,), folds=(0,), seeds=(seed,), recogniser=ResNetSettings(steps=150),
                generator=replace(GeneratorSettings.quick(), seed=seed),
            )  # fmt: skip
        raise ValueError(f"unknown profile {profile!r}; expected 'quick' or 'full'")
