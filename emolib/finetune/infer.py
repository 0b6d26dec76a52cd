"""Features of a fine-tuned encoder in a feature store, and its answers beside them.

Last stage of `emolib.finetune`.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import features, paths
from emolib.atomic import write_file
from emolib.corpora.manifest import Skipped
from emolib.corpora.scan import measure, sound_files
from emolib.finetune.model import FineTuned
from emolib.store import FeatureStore

ANSWERS = "answers.csv"


@dataclass(frozen=True)
class Inference:
    """What was written.

    Attributes
    ----------
    store : FeatureStore; layer 0
    answers : DataFrame; clip, the predicted class (where classes were learned) and a column a class or axis
    path : Path; where the answers lie, as CSV
    skipped : list of dict, clip and reason
    """

    store: FeatureStore
    answers: pd.DataFrame
    path: Path
    skipped: list[dict[str, str]] = field(default_factory=list)


def infer(
    folder: str | Path, manifest: pd.DataFrame, *, url: str | Path | None = None, device: str = "auto"
) -> Inference:
    """Write a fine-tuned encoder's features of the clips of a manifest, and its answers.

    Parameters
    ----------
    folder : str or Path; as `finetune` wrote it
    manifest : DataFrame, as `corpora.load` or `files_manifest` returns it
    url : str or Path, optional
        The store's folder; ``data/features/<corpus>/finetuned-<folder>`` by default. ``answers.csv`` is put
        there.
    device : str

    Raises
    ------
    ValueError
        If the folder holds no fine-tuned encoder, or as `features.extract` does.
    """
    encoder = FineTuned(folder, device=device)
    target = Path(url) if url else paths.feature_store(str(manifest["corpus"].iloc[0]), encoder.name)
    done = features.extract(manifest, encoder, url=target, device=device)
    clips = manifest["clip"][~done.store.missing(manifest)].tolist()
    read = encoder.answers(done.store.pooled(0, "mean", clips))
    table = pd.DataFrame(read, columns=encoder.classes)
    if encoder.settings.target == "emotion":
        table.insert(0, "predicted", np.array(encoder.classes)[read.argmax(axis=1)])
    table.insert(0, "clip", clips)
    write_file(target / ANSWERS, table.to_csv(index=False, float_format="%.6f").encode())
    return Inference(done.store, table, target / ANSWERS, done.skipped)


def files_manifest(folder: str | Path) -> pd.DataFrame:
    """Return a manifest of every sound file under a folder, without labels, for `infer`.

    Returns
    -------
    manifest : DataFrame
        clip, corpus, path, start_s, end_s, sha256 and duration_s; ``manifest.attrs["skipped"]`` lists
        what can't be used.

    Raises
    ------
    ValueError
        If there is no usable sound in it.
    """
    root, rows, skipped = Path(folder), [], []
    for path in sound_files(root):
        sound = measure(path)
        if isinstance(sound, Skipped):
            skipped.append({"path": str(path), "reason": sound.reason})
            continue
        clip = path.relative_to(root).as_posix()
        rows.append(
            {
                "clip": clip,
                "corpus": paths.folder_name(root.resolve().name),
                "path": str(path),
                "start_s": math.nan,
                "end_s": math.nan,
                "sha256": sound.sha256,
                "duration_s": sound.duration_s,
            }
        )
    if not rows:
        raise ValueError(f"no usable sound in {folder} ({len(skipped)} files were unfit)")
    manifest = pd.DataFrame(rows)
    manifest.attrs["skipped"] = skipped
    return manifest
