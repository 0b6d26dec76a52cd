"""An embedding made audible: a probe reads shares of emotions off it, and the shares blend prosody.

Whatever changes an embedding (fewer bits, a codebook of one emotion, a mixture of two references) changes its
shares, and with them the speech that they condition: a recording, or what text to speech said.

Examples
--------
>>> wanted = shares(quantizer.decode(codes), probe).iloc[0]  # doctest: +SKIP
>>> steerer = steering.ProsodySteerer(blend(wanted, transforms))  # doctest: +SKIP
>>> wave, sample_rate = tts.speak("The bus leaves at nine.", target=steerer)  # doctest: +SKIP
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from emolib import emotions
from emolib.prosody import ProsodyTransform


def shares(X: ArrayLike, probe: Any, known: Collection[str] | None = None) -> pd.DataFrame:
    """Read shares of emotions off embeddings.

    Parameters
    ----------
    X : array-like, (N, D); embeddings as the probe knows them: quantized, mixed, or as they were
    probe : fitted classifier with ``classes_`` and ``predict_proba``
        Best one of unquantized embeddings of speakers who aren't in X.
    known : collection of str, optional
        Emotions that can be rendered, all by default; the shares of others are dealt to these in proportion.

    Returns
    -------
    table : DataFrame, (N, C), columns in the order of `emotions.ordered`; each row adds up to 1

    Raises
    ------
    ValueError
        If the probe tells none of the known emotions.
    """
    rows = np.asarray(X, dtype=np.float64)
    with threadpool_limits(1):
        table = pd.DataFrame(probe.predict_proba(rows), columns=[str(name) for name in probe.classes_])
    names = emotions.ordered([name for name in table.columns if known is None or name in known])
    if not names:
        raise ValueError(
            f"the probe tells {', '.join(table.columns)} and {', '.join(known or ())} can be rendered; "
            f"expected at least one emotion in both"
        )
    kept = table[names] + 1e-12  # a row that has nothing of any known emotion has the same of each
    return kept.div(kept.sum(axis=1), axis=0)


def blend(
    wanted: Mapping[str, float] | pd.Series, transforms: Mapping[str, ProsodyTransform]
) -> ProsodyTransform:
    """Return the prosody that shares of emotions ask for.

    Parameters
    ----------
    wanted : mapping of emotion to its share, such as a row of `shares`
        The share of the emotion that the transforms start from changes nothing.
    transforms : mapping of emotion to a fitted ProsodyTransform, all from one source

    Returns
    -------
    transform : ProsodyTransform; for `steering.ProsodySteerer`, and through it for `tts.speak`

    Raises
    ------
    ValueError
        If an emotion with a share has no transform, or as `ProsodyTransform.blend` does.
    """
    given = {str(name): float(share) for name, share in dict(wanted).items()}
    sources = {transform.source for transform in transforms.values()}
    lacking = [name for name, share in given.items() if share > 0 and name not in {*transforms, *sources}]
    if lacking:
        raise ValueError(
            f"shares of {', '.join(lacking)}, and transforms to {', '.join(transforms)}; give `shares` the "
            f"emotions that there are transforms to"
        )
    return ProsodyTransform.blend(list(transforms.values()), [given.get(name, 0.0) for name in transforms])
