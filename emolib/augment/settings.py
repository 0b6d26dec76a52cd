"""Everything that a study of augmentation depends on but the speech.

Fourth stage of `emolib.augment`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from emolib.augment.protocol import BOTH, CLASSICAL, EQUAL, FLATTERING, REAL, Condition, conditions
from emolib.generate import Settings as GeneratorSettings
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
                (REAL, CLASSICAL, BOTH, EQUAL), flattering=FLATTERING[:1], shares=(1.0,),
                generated_shares=(1.0,), folds=(0,), seeds=(seed,), recogniser=ResNetSettings(steps=150),
                generator=replace(GeneratorSettings.quick(), seed=seed),
            )  # fmt: skip
        raise ValueError(f"unknown profile {profile!r}; expected 'quick' or 'full'")

    def part(
        self,
        conditions: Collection[str] | None = None,
        shares: Collection[float] | None = None,
        n_seeds: int | None = None,
    ) -> "Settings":
        """Return the settings of some of the cells; those that both have are the same files.

        Parameters
        ----------
        conditions : collection of str, optional
            Names of conditions of the speaker-disjoint protocol; the flattering one is then left out.
        shares : collection of float, optional; of the real training clips
        n_seeds : int, optional; the first so many

        Raises
        ------
        ValueError
            If a name or a share is none of these settings', or there is no such number of seeds.
        """
        known = [condition.name for condition in self.conditions]
        if strange := sorted(set(conditions or ()) - set(known)):
            raise ValueError(f"no condition {', '.join(strange)}; expected some of: {', '.join(known)}")
        if other := sorted(set(shares or ()) - set(self.shares)):
            raise ValueError(f"no share {other[0]:g}; expected some of: {', '.join(map(str, self.shares))}")
        if n_seeds is not None and not 1 <= n_seeds <= len(self.seeds):
            raise ValueError(f"{n_seeds} seeds; expected 1 to {len(self.seeds)}")
        return replace(
            self,
            conditions=tuple(c for c in self.conditions if conditions is None or c.name in conditions),
            flattering=self.flattering if conditions is None else (),
            shares=tuple(share for share in self.shares if shares is None or share in shares),
            seeds=self.seeds[:n_seeds],
        )
