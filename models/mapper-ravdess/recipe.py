"""Make this mapper of a run of notebook 03 on the audio of RAVDESS.

    emolib run 03 --corpus ravdess --encoder whisper-tiny.en
    python models/mapper-ravdess/recipe.py models/mapper-ravdess-whisper-tiny.en-layer0-*

Weights are kept in half precision, which the card says.
"""

import sys
from pathlib import Path

import numpy as np

from emolib import files, mapper

HERE = Path(__file__).parent


def keep(trained: mapper.Mapper, folder: Path) -> Path:
    """Save a mapper with its weights in half precision; biases, norms and moments stay as they are."""
    config, arrays = trained._saved()
    small = {
        name: values.astype(np.float16) if values.ndim > 1 else values for name, values in arrays.items()
    }
    return files.write_model(folder, trained.KIND, config, small)


if __name__ == "__main__":
    keep(mapper.Mapper.load(sys.argv[1]), HERE)
