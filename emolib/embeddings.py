"""Shipped embeddings: features of human speech for whoever does not have the corpora themselves.

``data/embeddings/<corpus>/`` holds a manifest without paths, a card, and a folder for each encoder: mean and
deviation of the frames of each clip at each layer, in 8 bits per value. `corpora.load` reads the manifest
where the corpus's audio is missing, and `features.extract` then returns the store that `open` gives. `make`
writes these files from the audio, and `check` compares them with a new extraction.

A value x of one feature at one layer is stored as the whole number nearest to (x - offset) / step. The step
is 1/255 of the feature's range over all clips, so that no value moves by more than half a step.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import corpora, files, paths
from emolib.store import FeatureStore, Shard, StoreConfig

__all__ = ["Embeddings", "check", "held", "lack_audio", "make", "open", "shipped"]

_KIND, _MANIFEST, _CARD = "embeddings", "manifest.csv", "README.md"
#: What is pooled, and the largest whole number that a value becomes.
_POOLED, _TOP = ("mean", "std"), 255
_CONFIG = ("encoder", "fingerprint", "layers", "width", "hop_s", "first_frame_s")


# ------------------------------------------------------------------------------------- reading


class Embeddings(FeatureStore):
    """The shipped embeddings of a corpus under one encoder: a feature store to read pooled features from.

    Parameters
    ----------
    folder : Path
        Such as ``data/embeddings/ravdess/whisper-tiny.en``; the manifest is in the folder above it.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or the manifest beside it has other clips.
    """

    def __init__(self, folder: Path) -> None:
        self._locate(folder)
        self._info, self._arrays = files.read_model(folder, _KIND)
        told = files.from_json({name: self._info[name] for name in _CONFIG})
        self.config = StoreConfig(frames=False, **told)
        self.refresh()

    def refresh(self, *, verify: bool = False) -> None:
        """Read the clips from the manifest again."""
        clips = corpora.read(Path(self.url).parent / _MANIFEST, paths=False)
        if _digest(clips) != self._info["clips"]:
            raise ValueError(f"{self.url} was made of other clips than {_MANIFEST} beside it; make it again")
        row, layers = range(len(clips)), " ".join(map(str, self._info["layers"]))
        self.index = clips[["clip", "sha256"]].assign(
            n_frames=0, shard=0, row=row, start=0, layers=layers, frames=False
        )
        self._places.clear()

    def steps(self, layer: int) -> NDArray[np.float32]:
        """Return the step of each value of mean and deviation at one layer, (2 D,); 0 for a constant."""
        k = self._info["layers"].index(layer)
        return np.concatenate([self._arrays[_names(name)[2]][k] for name in _POOLED])

    def _rows(self, layer: int, clips: list[str], *, frames: bool) -> pd.DataFrame:
        if frames or layer not in self._info["layers"]:
            raise ValueError(_refusal(self._info["corpus"], self.config.encoder, [layer], frames))
        return super()._rows(layer, clips, frames=frames)

    def _shard(self, number: int) -> Shard:
        return _Quantized(self.url, self.index["clip"].tolist(), self._info["layers"], self._arrays)

    def _write(self, name: str, data: bytes) -> None:
        raise ValueError(f"{self.url} holds embeddings, which are only read; extract into another folder")


class _Quantized(Shard):
    """The arrays of a folder of embeddings, as a shard that holds all clips."""

    def __init__(self, path: str, clips: list[str], layers: list[int], arrays: dict[str, NDArray]) -> None:
        self._path, self._rows, self.layers, self._arrays = path, {"clip": clips}, tuple(layers), arrays

    def pooled(self, name: str, layer: int) -> NDArray[np.float32]:
        """Return one layer of one pooled tensor, (N, D)."""
        k = self._position(layer)
        codes, offset, step = (self._arrays[part][k] for part in _names(name))
        return dequantize(codes, offset, step)


def open(corpus: str, encoder: str) -> Embeddings:
    """Open the embeddings of a corpus under one encoder.

    Raises
    ------
    ValueError
        If there are none; the message says what there is, and how to get the audio.
    """
    if encoder not in (found := _configs(corpus)):
        raise ValueError(_refusal(corpus, encoder))
    return Embeddings(found[encoder][0])


def held(corpus: str) -> dict[str, tuple[int, ...]]:
    """Return the encoders whose embeddings of a corpus are here, with their layers."""
    return {name: tuple(config["layers"]) for name, (_, config) in sorted(_configs(corpus).items())}


def _configs(corpus: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return the folder and the config of each encoder's embeddings: the home's own, else the shipped."""
    found = [_made(place) for place in reversed(paths.embeddings(corpus))]
    return {config["encoder"]: (at, config) for made in found for at, config in made.items()}


def _made(place: Path) -> dict[Path, dict[str, Any]]:
    """Return the config of each folder of embeddings in a corpus's."""
    return {at.parent: files.read_config(at.parent, _KIND) for at in place.glob("*/config.json")}


def lack_audio(manifest: pd.DataFrame) -> bool:
    """Tell whether clips of a manifest have no audio, as those of shipped embeddings."""
    return bool((manifest["path"] == "").any())


def shipped(
    manifest: pd.DataFrame, encoder: str, layers: Sequence[int] | None = None, *, frames: bool = False,
    fingerprint: str | None = None,
) -> Embeddings:  # fmt: skip
    """Return the embeddings that stand in for an extraction of clips without audio.

    Parameters
    ----------
    manifest : DataFrame, of one corpus
    encoder : str
    layers : sequence of int, optional
        All that are here by default.
    frames : bool
        Refused: embeddings are pooled.
    fingerprint : str, optional
        That of a loaded encoder, whose features must be these.

    Raises
    ------
    ValueError
        If the embeddings lack any of it; the message says what there is, and how to get the audio.
    """
    corpus = _only(manifest)
    if frames or not set(layers or ()) <= set(held(corpus).get(encoder, ())):
        raise ValueError(_refusal(corpus, encoder, layers, frames))
    store = open(corpus, encoder)
    if fingerprint not in (None, store.config.fingerprint):
        raise ValueError(_refusal(corpus, f"{encoder} ({fingerprint})"))
    if (absent := store.missing(manifest)).any():
        clip = manifest["clip"][absent].iloc[0]
        raise ValueError(f"{clip!r} has no audio and is not in {store.url}; {corpora.way_to_get(corpus)}")
    store.config = replace(store.config, layers=tuple(layers or store.config.layers))
    return store


def _refusal(corpus: str, encoder: str, layers: Sequence[int] | None = None, frames: bool = False) -> str:
    listed = ", ".join(f"{name} (layers {' '.join(map(str, ks))})" for name, ks in held(corpus).items())
    there = f"its shipped embeddings are pooled features of {listed}"
    wanted = f"{'frames' if frames else 'features'} of {encoder!r}"
    wanted += f" at layers {' '.join(map(str, layers))}" if layers else ""
    there = there if listed else "no embeddings of it are here"
    return f"{corpus}: no {wanted} without the audio; {there}; for more, {corpora.way_to_get(corpus)}"


# ------------------------------------------------------------------------------------- making


def quantize(X: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Quantize features, (N, D), to codes, (N, D), with an offset and a step for each feature, (D,)."""
    offset = X.min(axis=0)
    step = ((X.max(axis=0).astype(np.float64) - offset) / _TOP).astype(np.float32)
    codes = np.rint((X.astype(np.float64) - offset) / np.where(step > 0, step, 1))
    return np.clip(codes, 0, _TOP).astype(np.uint8), offset, step


def dequantize(codes: NDArray[np.uint8], offset: NDArray, step: NDArray) -> NDArray[np.float32]:
    """Return the features, (N, D), of codes."""
    return (offset.astype(np.float64) + codes * step.astype(np.float64)).astype(np.float32)


def rounded(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round features, (N, D) of a whole corpus, to the 8 bits in which they are shipped.

    For what is sensitive to the last digits, such as codebooks: it then gives the same from a corpus's audio.
    """
    return dequantize(*quantize(X))


def make(manifest: pd.DataFrame, store: FeatureStore, folder: str | Path | None = None) -> Path:
    """Write the embeddings of a corpus under one encoder, and the corpus's manifest and card.

    Parameters
    ----------
    manifest : DataFrame
        All clips of one corpus.
    store : FeatureStore
        Of these clips, as `features.extract` returns it.
    folder : str or Path, optional
        The corpus's; ``data/embeddings/<corpus>`` by default.

    Returns
    -------
    folder : Path; of this encoder

    Raises
    ------
    ValueError
        If the store lacks a clip, or the folder holds embeddings of other clips.
    """
    corpus, config = _with_audio(manifest), store.config
    if n_missing := int(store.missing(manifest).sum()):
        raise ValueError(f"{store.url} lacks {n_missing} of the clips; extract them first")
    place = Path(folder or paths.data() / "embeddings" / paths.folder_name(corpus))
    clips = manifest.drop(columns="path").sort_values("clip", ignore_index=True)
    if any(config["clips"] != _digest(clips) for config in _made(place).values()):
        raise ValueError(f"{place} holds embeddings of other clips; delete it, or name another folder")
    is_known = corpus in corpora.names()
    card = corpora.info(corpus if is_known else "folder")
    command = f"emolib embeddings make {corpus if is_known else '--manifest TABLE'} --encoder "
    command += f"{shlex.quote(config.encoder)} --layer {','.join(map(str, config.layers))}"
    told = {name: getattr(config, name) for name in _CONFIG} | config.identity()
    told |= {
        "corpus": corpus, "pooling": list(_POOLED), "clips": _digest(clips),
        "source": card.source, "licence": card.licence, "command": command,
    }  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {}
    names = clips["clip"].tolist()
    pooled = [np.split(store.pooled(k, "mean+std", names), 2, axis=1) for k in config.layers]
    for name, tables in zip(_POOLED, zip(*pooled, strict=True), strict=True):
        arrays |= zip(_names(name), map(np.stack, zip(*map(quantize, tables), strict=True)), strict=True)
    corpora.save(clips, place / _MANIFEST)
    made = files.write_model(place / paths.folder_name(config.encoder), _KIND, told, arrays)
    files.write_file(place / _CARD, _card(place, card, len(clips)).encode())
    return made


def _names(pooled: str) -> tuple[str, str, str]:
    """Return the names of the codes, offsets and steps of a pooled tensor."""
    return pooled, f"{pooled}.offset", f"{pooled}.step"


def _with_audio(manifest: pd.DataFrame) -> str:
    """Return the one corpus that clips are of, where they have their audio."""
    corpus = _only(manifest)
    if lack_audio(manifest):
        raise ValueError(f"{corpus}: this takes the clips' audio; {corpora.way_to_get(corpus)}")
    return corpus


def _only(manifest: pd.DataFrame) -> str:
    """Return the one corpus that clips are of."""
    names = sorted(set(manifest["corpus"]))
    if len(names) != 1:
        given = ", ".join(names) or "no corpus"
        raise ValueError(f"clips of {given}; expected those of one corpus at a time")
    return str(names[0])


def _digest(clips: pd.DataFrame) -> str:
    """Return the SHA-256 of the clips' names and contents, in their order."""
    return hashlib.sha256("\n".join(clips["clip"] + " " + clips["sha256"]).encode()).hexdigest()


def _card(folder: Path, info: corpora.CorpusInfo, n_clips: int) -> str:
    """Return the card of a corpus's embeddings, with the SHA-256 of each file that is there."""
    configs = dict(sorted(_made(folder).items()))
    functionals = {"egemaps", "compare"} & {config["encoder"] for config in configs.values()}
    listed = [folder / _MANIFEST, *(at / name for at in configs for name in (files.CONFIG, files.WEIGHTS))]
    digests = {at: hashlib.sha256(at.read_bytes()).hexdigest() for at in listed}
    rows = [f"| `{at.relative_to(folder).as_posix()}` | `{digest}` |" for at, digest in digests.items()]
    commands = "\n".join(config["command"] for config in configs.values())
    return _TEMPLATE.format(
        title=info.title, n_clips=n_clips, source=info.source, licence=info.licence, citation=info.citation,
        note=_FUNCTIONALS if functionals else "", commands=commands, files="\n".join(rows),
    )  # fmt: skip


_FUNCTIONALS = """
- **openSMILE**: `egemaps` was extracted with openSMILE, under audEERING's research licence: no commercial
  product may use it.
"""
_TEMPLATE = """# Embeddings: {title}

Features of {n_clips} clips, without their sound: per encoder and layer the mean and the standard deviation
of each clip's frames, in 8 bits per value. `manifest.csv` says of each clip who speaks, what is said, which
emotion it is and the SHA-256 of its file, but holds no path.

- **Source of the speech**: {source}
- **Licence**: {licence}; what is computed from the corpus is passed on under the same terms.
- **Cite**: {citation}
{note}
Made from the corpus's audio by

```bash
{commands}
```

`emolib embeddings check` compares an extraction of your own with these files.

| file | SHA-256 |
|---|---|
{files}
"""


# ------------------------------------------------------------------------------------- checking


def check(manifest: pd.DataFrame, store: FeatureStore) -> pd.DataFrame:
    """Compare the embeddings of a corpus with a new extraction.

    Parameters
    ----------
    manifest : DataFrame
        Some or all clips of one corpus.
    store : FeatureStore
        Of these clips, as `features.extract` returns it where the audio is there.

    Returns
    -------
    table : DataFrame
        One row per layer: layer; steps, the largest difference of a value in steps of the quantization, 0.5
        where nothing but the rounding differs.

    Raises
    ------
    ValueError
        If there are no embeddings of this encoder and layer, they were made by other weights, or they lack a
        clip in this content.
    """
    names, shipped = manifest["clip"].tolist(), open(_with_audio(manifest), store.config.encoder)
    if shipped.config.fingerprint != store.config.fingerprint:
        raise ValueError(
            f"{store.url} holds features of other weights ({store.config.fingerprint}) than {shipped.url} "
            f"({shipped.config.fingerprint}); compare extractions of the same encoder"
        )
    if (other := shipped.missing(manifest)).any():
        first = manifest["clip"][other].iloc[0]
        raise ValueError(f"{other.sum()} clips are not those that {shipped.url} was made of, first {first!r}")
    rows = []
    for layer in sorted(set(store.config.layers) & set(shipped.config.layers)):
        new, old = (one.pooled(layer, "mean+std", names) for one in (store, shipped))
        step, apart = shipped.steps(layer), np.abs(new.astype(np.float64) - old)
        # a feature that is constant in the embeddings has no step: it is to be equal
        steps = np.divide(apart, step, out=np.where(apart > 0, np.inf, 0), where=step > 0).max()
        rows.append({"layer": layer, "steps": float(steps)})
    return pd.DataFrame(rows)
