"""Where data, models, figures and runs live; the only module that knows folders.

Environment variables override the defaults: ``EMOLIB_HOME`` (the folder that holds ``data``, ``models``,
``figures`` and ``runs``), ``EMOLIB_CORPORA`` (the folder that holds one folder a corpus) and
``EMOLIB_FIGURES`` (the folder of a run's figures).
"""

import hashlib
import json
import os
import re
from pathlib import Path

#: The encoder of features, probes, axes and the plane, unless another is named.
DEFAULT_ENCODER = "whisper-tiny.en"
#: The encoder that is shipped in models/: of the committed pages, and of all that is learned from frames.
SHIPPED_ENCODER = "wav2vec2-nano"
_PACKAGE = Path(__file__).resolve().parent
#: The checkout that the package runs from, or what an installed package has of it: what is shipped there
#: serves a home that has none of its own.
CHECKOUT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent


def home() -> Path:
    """Return the folder that holds data, models, figures and runs.

    It is ``EMOLIB_HOME`` where set, else the checkout that the package runs from, else the working folder.
    """
    return _override("EMOLIB_HOME") or (CHECKOUT if (CHECKOUT / "notebooks").is_dir() else Path.cwd())


def data() -> Path:
    """Return the folder of corpora and cached features."""
    return home() / "data"


def corpora() -> Path:
    """Return the folder that holds one folder a corpus: ``EMOLIB_CORPORA``, else ``data/corpora``."""
    return _override("EMOLIB_CORPORA") or data() / "corpora"


def corpus(name: str) -> Path:
    """Return the default folder of one corpus."""
    return corpora() / name


def models() -> Path:
    """Return the folder of trained models, and in a checkout of the shipped ones."""
    return home() / "models"


def model(name: str) -> Path:
    """Return the folder of a model by name: the one in `models`, else the one shipped with the checkout."""
    return _own_or_shipped("models", name)


def trained(name: str, *decided_by: object) -> Path:
    """Return where a model belongs that a run trains: ``models/<name>-<digest of all that decides it>``.

    Trainings that differ in anything given here, such as clips, settings or seed, never share a folder.

    Parameters
    ----------
    name : str
    *decided_by : of what json holds
    """
    digest = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()
    return models() / f"{folder_name(name)}-{digest[:10]}"


def embeddings(corpus: str) -> list[Path]:
    """Return the folders that hold embeddings of a corpus: in ``data/embeddings``, then the shipped one."""
    places = (root / "data" / "embeddings" / folder_name(corpus) for root in (home(), CHECKOUT))
    return [place for place in dict.fromkeys(places) if (place / "manifest.csv").is_file()]


def figures() -> Path:
    """Return the folder that figures are saved to."""
    return home() / "figures"


def gallery(corpus: str = "", encoder: str = "") -> Path:
    """Return the folder of the figures of one corpus and encoder, or of neither: ``figures/`` itself.

    ``EMOLIB_FIGURES`` overrides it: the default run draws into ``figures/``, a cell of a sweep into its own.
    """
    return _override("EMOLIB_FIGURES") or figures() / _both(corpus, encoder)


def measured(corpus: str, encoder: str) -> Path:
    """Return the folder of numbers that a run on a corpus's audio gave, for whoever lacks the audio."""
    return _own_or_shipped("data", "results", _both(corpus, encoder))


def notebooks() -> Path:
    """Return the folder of the numbered notebooks: the home's own, else the checkout's."""
    return _own_or_shipped("notebooks")


def benchmarks() -> Path:
    """Return the folder of the comparisons: the home's own, else the checkout's."""
    return _own_or_shipped("benchmarks")


def runs() -> Path:
    """Return the folder of executed notebooks and their results."""
    return home() / "runs"


def feature_store(corpus: str, encoder: str) -> Path:
    """Return the folder of one corpus's features under one encoder.

    Examples
    --------
    >>> feature_store("ravdess", "facebook/wav2vec2-base").relative_to(data()).as_posix()
    'features/ravdess/facebook--wav2vec2-base'
    """
    return data() / "features" / folder_name(corpus) / folder_name(encoder)


def _override(variable: str) -> Path | None:
    given = os.environ.get(variable)
    return Path(given).expanduser().resolve() if given else None


def _both(corpus: str, encoder: str) -> str:
    return "-".join(folder_name(name) for name in (corpus, encoder) if name)


def _own_or_shipped(*parts: str) -> Path:
    own, shipped = home().joinpath(*parts), CHECKOUT.joinpath(*parts)
    return shipped if not own.exists() and shipped.is_dir() else own


def folder_name(name: str) -> str:
    """Turn a corpus's or encoder's name into one safe folder name.

    Examples
    --------
    >>> folder_name("random:facebook/wav2vec2-base")
    'random-facebook--wav2vec2-base'
    """
    flat = name.strip("/").replace("/", "--").replace(":", "-")
    return re.sub(r"[^\w.+-]", "_", flat).lstrip(".") or "_"
