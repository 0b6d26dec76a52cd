"""An encoder fine-tuned on categories, or on ratings where a corpus has them, and the features it then gives.

The network weights all hidden states, pools them over time, reduces them to 100 numbers and predicts from
those. `finetune` trains it and resumes after a kill; `FineTuned` is the result, an encoder like any other;
`infer` writes its features to a store with its answers beside them.
"""

from emolib.finetune.network import TOP_BLOCKS, FineTuned, Settings
from emolib.finetune.train import FineTuning, Inference, files_manifest, finetune, infer
