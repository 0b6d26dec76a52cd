"""Make this generator, and the recogniser beside it, of a run of notebook 07 on the audio of RAVDESS.

    emolib run 07 --corpus ravdess --encoder whisper-tiny.en --profile full --device cuda
    python models/generator-ravdess/recipe.py models/augment-ravdess-full

The generator is that of the first half of the actors. Weights are kept in half precision, as the card says.
"""

import sys
from pathlib import Path

import numpy as np

from emolib import files, generate, ser

HERE = Path(__file__).parent


def keep(model: files.Saved, folder: Path) -> Path:
    """Save a model with its weights in half precision; normalisers stay as they are."""
    config, arrays = model._saved()
    small = {
        name: values.astype(np.float16) if values.dtype == np.float32 and values.ndim > 1 else values
        for name, values in arrays.items()
    }
    return files.write_model(folder, model.KIND, config, small)


if __name__ == "__main__":
    study = Path(sys.argv[1])
    [trained] = study.glob("generators/disjoint-fold0-real100-*")
    keep(generate.Generator.load(trained), HERE)
    keep(ser.ResNetRecogniser.load(study / "judge"), HERE.parent / "recogniser-ravdess")
