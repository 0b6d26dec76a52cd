"""A quantizer on disk: a folder with its settings and its tensors, checked against its fingerprint."""

from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from emolib import folders
from emolib.codebook.coding import StageCoding
from emolib.codebook.entropy import EntropyModel

_KIND = "codebook"


class SavedQuantizer(StageCoding, TransformerMixin, BaseEstimator):
    """The part of `ResidualQuantizer` that is written and read; it describes the attributes."""

    n_features_in_: int
    provenance_: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``."""
        check_is_fitted(self)
        settings = self.get_params() | {
            "rates": list(self.rates), "n_codes_": self.n_codes_, "scale_": self.scale_,
            "n_features": int(self.n_features_in_), "fingerprint": self.fingerprint.hex(),
            "provenance": self.provenance_,
        }  # fmt: skip
        return folders.replace(Path(folder), _KIND, settings, self._tensors())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a saved quantizer.

        Raises
        ------
        FileNotFoundError
            If there is none in the folder.
        ValueError
            If the folder holds something else, or its weights are not those that were saved.
        """
        settings, tensors = folders.read(Path(folder), _KIND)
        if "mean" not in tensors:
            raise ValueError(f"{folder} is damaged: its weights are no quantizer's; fit the codebook again")
        known = cls().get_params()
        quantizer = cls(**{name: settings[name] for name in known})
        quantizer.n_features_in_, quantizer.n_codes_ = settings["n_features"], settings["n_codes_"]
        quantizer.provenance_ = settings["provenance"]
        quantizer.scale_, quantizer.mean_ = settings["scale_"], tensors["mean"]
        quantizer.codes_ = [tensors[f"codes.{g}"] for g in range(quantizer.groups)]
        quantizer.models_ = [
            [
                EntropyModel(
                    tensors[f"{r}.{g}.stages"], tensors.get(f"{r}.{g}.rows"), tensors.get(f"{r}.{g}.weights")
                )
                for g in range(quantizer.groups)
            ]
            for r in range(len(quantizer.rates))
        ]
        quantizer._set_fingerprint()
        if quantizer.fingerprint.hex() != settings["fingerprint"]:
            raise ValueError(
                f"{folder} was altered: its weights are not those that config.json names; fit again"
            )
        return quantizer
