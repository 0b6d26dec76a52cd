"""An encoder fine-tuned on categories, or on ratings where a corpus has them, and the features it then gives.

The network weighs all hidden states, pools them over time, squeezes them into 100 numbers and reads an
answer off those. `finetune` trains it and resumes after a kill; `FineTuned` is the result, an encoder like
any other; `infer` writes its features to a store with its answers beside them.
"""

from emolib.finetune.infer import Inference, files_manifest, infer
from emolib.finetune.model import FineTuned
from emolib.finetune.settings import TOP_BLOCKS, Settings
from emolib.finetune.train import Training, finetune

__all__ = [
    "TOP_BLOCKS",
    "FineTuned",
    "Inference",
    "Settings",
    "Training",
    "files_manifest",
    "finetune",
    "infer",
]
