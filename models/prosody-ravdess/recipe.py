"""Make these parts of the audio of RAVDESS: ``python models/prosody-ravdess/recipe.py``."""

from pathlib import Path

import pandas as pd

from emolib import corpora, features, paths, prosody, ser
from emolib.steering import preparation, shipped

HERE = Path(__file__).parent


def make(manifest: pd.DataFrame, folder: Path) -> None:
    """Learn all parts from a corpus and write them: one transform a folder, the mapper, and the judge."""
    [first, *_] = preparation.rotations(manifest, 3)
    taught = manifest[manifest["speaker"].isin([*first.makers, *first.heard])].reset_index(drop=True)
    parts = {
        source: preparation.at_full_strength(taught, source, shipped.TARGETS) for source in shipped.SOURCES
    }
    analysed = prosody.renditions(pd.concat(parts.values()).drop_duplicates("clip"), progress=True)
    for source, acted in parts.items():
        for target in shipped.TARGETS:
            found = prosody.pairs(acted, source, target, analysed=analysed).pairs
            prosody.ProsodyTransform(source, target).fit(found).save(folder / f"{source}-{target}")
    layer = preparation.LAYER
    store = features.extract(taught, paths.SHIPPED_ENCODER, layers=[layer], frames=True).store
    preparation.linear_mapper(taught, store, layer, progress=True).save(folder / "mapper")
    ser.train(manifest, folder / "judge", without=sorted(set(taught["speaker"])))


if __name__ == "__main__":
    make(corpora.load(shipped.CORPUS), HERE)
