"""What is known of each corpus beforehand: its licence, its size, whom to cite and where it comes from."""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus's card.

    Attributes
    ----------
    name, title : str
    licence, citation : str
    language : str; ISO 639-1 codes
    clips, speakers : int or None; as published, None where that depends on the copy
    source : str; the publisher's page, or how to obtain the corpus
    twins : frozenset of str; clips that the publisher issued a second time under another name; both stay
    """

    name: str
    title: str = ""
    licence: str = ""
    citation: str = ""
    language: str = ""
    clips: int | None = None
    speakers: int | None = None
    source: str = ""
    twins: frozenset[str] = frozenset()


_CARDS = (
    CorpusInfo(
        "demo",
        "emolib's synthesised demo corpus (not human speech)",
        "MIT, as the package",
        "emolib",
        "en",
        None,
        None,
        "rendered on first use; nothing is downloaded",
    ),
    CorpusInfo(
        "ravdess",
        "Ryerson Audio-Visual Database of Emotional Speech and Song, speech, audio only",
        "CC BY-NC-SA 4.0",
        "S. R. Livingstone, F. A. Russo (2018), PLoS ONE 13(5): e0196391, doi:10.1371/journal.pone.0196391",
        "en",
        1440,
        24,
        "https://zenodo.org/records/1188976",
        # Byte for byte 03-01-03-01-02-01-07; the 1440 clips of the literature count both.
        twins=frozenset({"03-01-03-01-02-02-07"}),
    ),
    CorpusInfo(
        "emodb",
        "Berlin Database of Emotional Speech (Emo-DB)",
        "free for research",
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss (2005), A database of German "
        "emotional speech, Interspeech; ratings: Das et al. (2022), NLDL 3",
        "de",
        535,
        10,
        "https://emodb.bilderbar.info",
    ),
    CorpusInfo(
        "nemo",
        "nEMO: dataset of emotional speech in Polish",
        "CC BY-NC-SA 4.0",
        "I. Christop (2024), nEMO: Dataset of Emotional Speech in Polish, arXiv:2404.06292",
        "pl",
        4481,
        9,
        "https://github.com/amu-cai/nEMO",
    ),
    CorpusInfo(
        "crema-d",
        "Crowd-sourced Emotional Multimodal Actors Dataset",
        "ODbL 1.0, contents DbCL 1.0",
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma (2014), IEEE Transactions on "
        "Affective Computing 5(4), 377-390, doi:10.1109/TAFFC.2014.2336244",
        "en",
        7442,
        91,
        "https://github.com/CheyneyComputerScience/CREMA-D",
    ),
    CorpusInfo(
        "esd",
        "Emotional Speech Dataset, English and Mandarin",
        "for research only, on the publisher's terms",
        "K. Zhou, B. Sisman, R. Liu, H. Li (2021), Seen and unseen emotional style transfer for voice "
        "conversion with a new emotional speech dataset, ICASSP",
        "en zh",
        35_000,
        20,
        "by hand from the Google Drive that https://github.com/HLTSingapore/Emotional-Speech-Data links to",
    ),
    CorpusInfo(
        "iemocap",
        "Interactive Emotional Dyadic Motion Capture database",
        "by signed agreement with the University of Southern California",
        "C. Busso et al. (2008), IEMOCAP: interactive emotional dyadic motion capture database, "
        "Language Resources and Evaluation 42, 335-359",
        "en",
        # Of 10,039 turns, those whose raters agreed on one category: not xxx (2,507), not oth (3).
        7529,
        10,
        "by signed request at https://sail.usc.edu/iemocap/iemocap_release.htm",
    ),
    CorpusInfo(
        "mead",
        "Multi-view Emotional Audio-visual Dataset, audio",
        "for research only, on the publisher's terms",
        "K. Wang et al. (2020), MEAD: a large-scale audio-visual dataset for emotional talking-face "
        "generation, ECCV",
        "en",
        None,  # the paper has 60 speakers, of whom not all were released
        None,
        "by hand from the links at https://wywu.github.io/projects/MEAD/MEAD.html",
    ),
    CorpusInfo(
        "folder",
        "any audio with a table of at least path, speaker and emotion",
        "your own",
        "your own",
        "",
        None,
        None,
        "your own files and a CSV",
    ),
)

#: Every corpus's card by name, in the order in which they're listed.
CATALOGUE = MappingProxyType({card.name: card for card in _CARDS})
