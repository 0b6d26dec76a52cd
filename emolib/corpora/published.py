"""Corpora whose file names say what each clip is: a grammar of the names, the meaning of its codes, a card.

Where a publisher's tables say more (ratings, votes, transcripts), a function of `emolib.corpora.labelled`
joins them. A file whose name doesn't fit is skipped with its reason. Where a publisher's word is none of our
twelve emotions and no synonym of one, the word stays.

Names, layouts and counts were checked against the publishers' pages and against the lists of files in
emo-box/EmoBox (arXiv:2406.07162, commit 08280f27) and felixbur/nkululeko. Cards name each corpus's paper.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from emolib.corpora import labelled
from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped
from emolib.corpora.scan import CONTAINERS, sound_files

Said = dict[str, str]
_FIELDS = frozenset({"speaker", "gender", "emotion", "intensity", "text", "text_id", "words", "language"})
_GENDERS = {"m": "male", "f": "female", "w": "female", "male": "male", "female": "female"}


def _codes(text: str) -> dict[str, str]:
    """Return a code book from text such as "a=angry h=happy"."""
    return dict(part.split("=") for part in text.split())


def _numbered(last: int, width: int = 2) -> dict[str, str]:
    """Return genders by speaker's number from 1 on, odd ones being men."""
    return {f"{n:0{width}d}": "male" if n % 2 else "female" for n in range(1, last + 1)}


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus whose files' paths say what each clip is.

    Attributes
    ----------
    card : CorpusInfo
    pattern : str
        Regular expression of a path's end without the file's ending. Its groups `speaker`, `emotion` and,
        where a name says so, `gender`, `intensity`, `text` are codes; any other group becomes a column.
    example : str; such a path
    emotions : mapping of codes to words
    speakers : mapping of codes to genders, or a collection of codes; empty where any fits
    intensities, texts : mappings of codes to levels and to words; empty where a name tells none
    clip : str; template of the clip's unique name, from the groups and the file's own name, `stem`
    folder : str; where the sound is, if not in all of the corpus's folder
    refused : tuple of (pattern, reason); paths that name something else than speech
    adapt : function of the groups as found, which returns them as meant, perhaps with `text_id` and `words`
    join : function of the corpus's folder and what its paths say, which yields it with the publisher's tables
    """

    card: CorpusInfo
    pattern: str
    example: str
    emotions: Mapping[str, str]
    speakers: Collection[str] = ()
    intensities: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    clip: str = "{stem}"
    folder: str = ""
    refused: tuple[tuple[str, str], ...] = ()
    adapt: Callable[[Said], Said] = dict
    join: Callable[[Path, list[Label | Skipped]], Iterable[Label | Skipped | Note]] | None = None

    def labels(self, root: Path) -> Iterator[Label | Skipped | Note]:
        """Yield what the path of each sound file says, and the publisher's tables where they are."""
        folder = root / self.folder if (root / self.folder).is_dir() else root
        items = [self.parse(path) for path in sound_files(folder)]
        yield from items if self.join is None else self.join(root, items)

    def parse(self, path: Path) -> Label | Skipped:
        """Read a sound file's path."""
        where = (path.parent / path.stem).as_posix()
        for pattern, reason in self.refused:
            if _ends(pattern, where):
                return Skipped(path, reason)
        match = _ends(self.pattern, where)
        if match is None:
            return Skipped(path, f"its path isn't like {self.example}")
        if path.suffix.lower() in CONTAINERS and path.with_suffix(".wav").exists():
            return Skipped(path, "its converted copy beside it is read instead")
        said = self.adapt(match.groupdict(""))
        books = {"speaker": self.speakers, "emotion": self.emotions, "text": self.texts}
        books["intensity"] = self.intensities and {**self.intensities, "": ""}
        for name, book in books.items():
            if book and said.get(name, "") not in book:
                return Skipped(path, f"unknown {name} {said.get(name, '')!r}")
        text = said.get("text", "")
        by_speaker: Mapping[str, str] = self.speakers if isinstance(self.speakers, Mapping) else {}
        return Label(
            path, self.clip.format(stem=path.stem, **match.groupdict("")), said["speaker"],
            self.emotions[said["emotion"]], said["emotion"],
            gender=_GENDERS.get(said.get("gender", "").lower(), by_speaker.get(said["speaker"], "")),
            intensity=self.intensities.get(said.get("intensity", ""), ""),
            text_id=said.get("text_id", text), text=said.get("words", self.texts.get(text, "")),
            language=said.get("language", self.card.language),
            extra={name: said[name] for name in match.groupdict() if name not in _FIELDS},
        )  # fmt: skip


def _ends(pattern: str, where: str) -> re.Match[str] | None:
    return re.fullmatch(f"(?:.*/)?(?:{pattern})", where, re.DOTALL)


def _without(names: tuple[str, ...], said: Said) -> Said:
    """Leave a level out where the emotion has one only."""
    return said | {"intensity": ""} if said["emotion"] in names else said


# ------------------------------------------------------------------------------------- acted, in English

RAVDESS = NamedCorpus(
    CorpusInfo(
        "ravdess",
        "Ryerson Audio-Visual Database of Emotional Speech and Song, speech, audio only",
        "CC BY-NC-SA 4.0",
        "S. R. Livingstone, F. A. Russo (2018), PLoS ONE 13(5): e0196391, doi:10.1371/journal.pone.0196391",
        language="en", clips=1440, speakers=24, source="https://zenodo.org/records/1188976",
        # Byte for byte 03-01-03-01-02-01-07; the 1440 clips of the literature count both.
        twins=frozenset({"03-01-03-01-02-02-07"}),
        defects=(
            "03-01-03-01-02-02-07 is 03-01-03-01-02-01-07 again",
            "five clips are stereo",
            "the popular re-upload holds each clip twice (2,880 files)",
        ),
    ),
    r"03-01-(?P<emotion>[0-9]{2})-(?P<intensity>[0-9]{2})-(?P<text>[0-9]{2})-0[12]-(?P<speaker>[0-9]{2})",
    "03-01-06-01-02-01-12",
    _codes("01=neutral 02=calm 03=happy 04=sad 05=angry 06=fearful 07=disgust 08=surprised"),
    speakers=_numbered(24),
    intensities={"01": "normal", "02": "strong"},
    texts={"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"},
    refused=(
        (r"(?!03-01)[0-9]{2}-[0-9]{2}(-[0-9]{2}){5}", "not audio-only speech, 03-01"),
        (r"03-01-01-02(-[0-9]{2}){3}", "strong neutral, which the corpus doesn't have"),
    ),
)  # fmt: skip

CREMA_D = NamedCorpus(
    CorpusInfo(
        "crema-d",
        "Crowd-sourced Emotional Multimodal Actors Dataset",
        "ODbL 1.0, contents DbCL 1.0",
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma (2014), IEEE Transactions on "
        "Affective Computing 5(4), 377-390, doi:10.1109/TAFFC.2014.2336244",
        language="en", clips=7442, speakers=91, source="https://github.com/CheyneyComputerScience/CREMA-D",
        defects=(
            "1076_MTI_SAD_XX is digital silence",
            "three pairs hold one recording under two labels: 1006_TIE HAP/NEU, 1013_WSI SAD/DIS, 1017_IWW "
            "ANG/FEA; one of each is left out, so that 7,438 clips are usable",
            "1040_ITH_SAD_X lacks the last letter of its name",
        ),
    ),
    r"(?P<speaker>1[0-9]{3})_(?P<text>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>LO|MD|HI|XX?)",
    "1001_DFA_ANG_XX",
    _codes("ANG=angry DIS=disgust FEA=fearful HAP=happy NEU=neutral SAD=sad"),
    speakers=frozenset(str(number) for number in range(1001, 1092)),
    intensities={"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""},
    texts={
        "IEO": "It's eleven o'clock.", "TIE": "That is exactly what happened.",
        "IOM": "I'm on my way to the meeting.", "IWW": "I wonder what this is about.",
        "TAI": "The airplane is almost full.", "MTI": "Maybe tomorrow it will be cold.",
        "IWL": "I would like a new alarm clock.", "ITH": "I think I have a doctor's appointment.",
        "DFA": "Don't forget a jacket.", "ITS": "I think I've seen this before.",
        "TSI": "The surface is slick.", "WSI": "We'll stop in a couple of minutes.",
    },
    # The repository holds each clip as AudioWAV, AudioMP3 and video; the first is the one for computation.
    folder="AudioWAV",
    join=labelled.crema_d,
)  # fmt: skip

MEAD = NamedCorpus(
    CorpusInfo(
        "mead",
        "Multi-view Emotional Audio-visual Dataset, audio",
        "for research only, on the publisher's terms",
        "K. Wang et al. (2020), MEAD: a large-scale audio-visual dataset for emotional talking-face "
        "generation, ECCV",
        language="en", clips=None, speakers=None,  # the paper has 60 speakers, of whom not all were released
        source="by hand from the links at https://wywu.github.io/projects/MEAD/MEAD.html",
        defects=("a number stands for other words under another emotion", "its sound is packed as .m4a"),
    ),
    r"(?P<speaker>(?P<gender>[MW])[0-9]{3})/(?:audio/)?(?P<emotion>[a-z]+)/level_(?P<intensity>[123])/"
    r"(?P<text>[0-9]{3})",
    "M003/audio/angry/level_1/001",
    _codes(
        "angry=angry contempt=contempt disgusted=disgust fear=fearful "
        "happy=happy neutral=neutral sad=sad surprised=surprised"
    ),
    intensities=_codes("1=low 2=medium 3=high"),
    clip="{speaker}_{emotion}_level_{intensity}_{text}",
    adapt=lambda said: _without(("neutral",), said) | {"text_id": f"{said['emotion']}_{said['text']}"},
)  # fmt: skip

SAVEE = NamedCorpus(
    CorpusInfo(
        "savee",
        "Surrey Audio-Visual Expressed Emotion, audio",
        "free for research, on registration",
        "S. Haq, P. J. B. Jackson (2010), Multimodal emotion recognition, in: Machine Audition, IGI Global",
        language="en", clips=480, speakers=4,
        source="by signed registration at kahlan.eps.surrey.ac.uk/savee",
        defects=(
            "names repeat in each speaker's folder",
            "four men only: an interval over speakers can't be had",
            "some sentences occur in several emotions, but their names don't tell which",
        ),
    ),
    r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<text>[0-9]{2})",
    "DC/a01 or DC_a01",
    _codes("a=angry d=disgust f=fearful h=happy n=neutral sa=sad su=surprised"),
    speakers=dict.fromkeys(("DC", "JE", "JK", "KL"), "male"),
    clip="{speaker}_{emotion}{text}",
    adapt=lambda said: said | {"text_id": said["emotion"] + said["text"]},
)  # fmt: skip

TESS = NamedCorpus(
    CorpusInfo(
        "tess",
        "Toronto Emotional Speech Set",
        "CC BY-NC-ND 4.0",
        "M. K. Pichora-Fuller, K. Dupuis (2020), Toronto emotional speech set (TESS), Borealis, "
        "doi:10.5683/SP2/E8H2MF",
        language="en", clips=2800, speakers=2,
        source="by hand from https://tspace.library.utoronto.ca/handle/1807/24487",
        defects=(
            "two speakers only, of 26 and 64 years: nothing can be said of an unseen speaker",
            "OA_bite_neutral lacks a letter of its speaker, OAF",
            "OAF_food_fear is at 96 kHz, all others at 24.4 kHz",
            "some .wav files are AIFF inside",
        ),
    ),
    r"(?P<speaker>OAF?|YAF)_(?P<text>[a-z]+)_(?P<emotion>[a-z]+)",
    "OAF_back_angry",
    _codes("angry=angry disgust=disgust fear=fearful happy=happy neutral=neutral ps=surprised sad=sad"),
    speakers={"OAF": "female", "YAF": "female"},
    adapt=lambda said: said | {
        "speaker": "OAF" if said["speaker"] == "OA" else said["speaker"],
        "words": f"Say the word {said['text']}.",
    },
)  # fmt: skip

EMOV_DB = NamedCorpus(
    CorpusInfo(
        "emov-db",
        "Emotional Voices Database",
        "free for research, on the publisher's terms",
        "A. Adigwe, N. Tits, K. El Haddad, S. Ostadabbas, T. Dutoit (2018), The Emotional Voices Database, "
        "arXiv:1806.09514",
        language="en", clips=6893, speakers=4, source="by hand from https://openslr.org/115/",
        defects=(
            "the publisher's table of styles sums to 7,000 clips, the archive holds fewer",
            "the sampling rate tells the speaker: bea has 44.1 kHz, the others 16 kHz",
            "names repeat in each speaker's folder; some hold hyphens, some capitals, where others don't",
            "josh has no angry and no disgusted clips",
        ),
    ),
    r"(?P<speaker>bea|jenie|josh|sam)[/_][A-Za-z]+/(?P<emotion>[A-Za-z]+)_[0-9]+[-_][0-9]+_(?P<text>[0-9]{4})",
    "bea_Amused/amused_1-28_0011",
    _codes("amused=amused anger=angry disgust=disgust neutral=neutral sleepiness=sleepy"),
    speakers=_codes("bea=female jenie=female josh=male sam=male"),
    clip="{speaker}_{emotion}_{text}",
    adapt=lambda said: said | {"emotion": said["emotion"].lower()},
)  # fmt: skip

JL_CORPUS = NamedCorpus(
    CorpusInfo(
        "jl-corpus",
        "JL corpus, New Zealand English, primary and secondary emotions",
        "CC0 1.0, by its page on Kaggle",
        "J. James, L. Tian, C. I. Watson (2018), An open source emotional speech corpus for human robot "
        "interaction applications, Interspeech",
        language="en", clips=2400, speakers=4, source="by hand from https://www.kaggle.com/tli725/jl-corpus",
        defects=("four speakers only: an interval over speakers can't be had",),
    ),
    r"(?P<speaker>(?P<gender>(?:fe)?male)[12])_(?P<emotion>[a-z]+)_(?P<text>[0-9]{1,2}[ab])_[12]",
    "female1_angry_1a_1",
    {
        word: word for word in ("neutral", "happy", "sad", "angry", "excited", "anxious", "apologetic",
                                "assertive", "concerned", "encouraging")
    },
)  # fmt: skip

EXPRESSO = NamedCorpus(
    CorpusInfo(
        "expresso",
        "Expresso, read speech in seven styles and narration",
        "CC BY-NC 4.0",
        "T. A. Nguyen et al. (2023), EXPRESSO: a benchmark and analysis of discrete expressive speech "
        "resynthesis, Interspeech, arXiv:2308.05725",
        language="en", clips=None, speakers=4,
        source="by hand from https://dl.fbaipublicfiles.com/textless_nlp/expresso/data/expresso.tar",
        defects=(
            "styles, of which few are emotions",
            "the improvised dialogues have a speaker a channel and are left out",
            "four speakers only: an interval over speakers can't be had",
        ),
    ),
    r"(?P<speaker>ex0[0-9])_(?P<emotion>[a-z]+)(?:_[a-z]+)?_(?P<text>[0-9]{5})",
    "read/ex03/happy/base/ex03_happy_00085",
    _codes(
        "default=neutral happy=happy sad=sad confused=confused "
        "enunciated=enunciated laughing=laughing narration=narration whisper=whisper"
    ),
    refused=((r"ex0[0-9]-ex0[0-9]_[^/]*", "a dialogue of two speakers, one a channel, of which each turn "
              "would have to be cut to a file"),),
    join=labelled.expresso,
)  # fmt: skip

# ------------------------------------------------------------------------------ acted, in other languages

EMODB = NamedCorpus(
    CorpusInfo(
        "emodb",
        "Berlin Database of Emotional Speech (Emo-DB)",
        "free for research",
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss (2005), A database of German "
        "emotional speech, Interspeech; ratings: Das et al. (2022), NLDL 3",
        language="de", clips=535, speakers=10, source="https://emodb.bilderbar.info",
        defects=("only what 80 % of listeners recognised; emodb-2 holds the rest as well",),
    ),
    r"(?P<speaker>[0-9]{2})(?P<text>[ab][0-9]{2})(?P<emotion>[A-Z])[a-z]?",
    "03a01Fa",
    # Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral
    _codes("W=angry L=bored E=disgust A=fearful F=happy T=sad N=neutral"),
    speakers=_codes(
        "03=male 08=female 09=female 10=male 11=male 12=male 13=female 14=female 15=male 16=female"
    ),
    texts={
        "a01": "Der Lappen liegt auf dem Eisschrank.",
        "a02": "Das will sie am Mittwoch abgeben.",
        "a04": "Heute abend könnte ich es ihm sagen.",
        "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
        "a07": "In sieben Stunden wird es soweit sein.",
        "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
        "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
        "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
        "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
        "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
    },
    refused=((r"(wav_)?laryngo?/[^/]*", "a laryngogram, not the sound of speech"),),
    join=labelled.emodb,
)  # fmt: skip

EMODB_2 = replace(
    EMODB,
    card=replace(
        EMODB.card,
        name="emodb-2",
        title="Berlin Database of Emotional Speech, version 2.0 with what few listeners recognised",
        clips=816,
        source="by hand from https://zenodo.org/records/17651657",
        defects=("281 clips are those that less than 80 % of listeners recognised",),
    ),
)

EMOVO = NamedCorpus(
    CorpusInfo(
        "emovo",
        "EMOVO, Italian",
        "on the publisher's terms",
        "G. Costantini, I. Iaderola, A. Paoloni, M. Todisco (2014), EMOVO corpus: an Italian emotional "
        "speech database, LREC",
        language="it", clips=588, speakers=6,
        source="by hand from voice.fub.it/activities/corpora/emovo",
        defects=("five of the fourteen sentences make no sense, on purpose",),
    ),
    r"(?P<emotion>[a-z]{3})-(?P<speaker>(?P<gender>[fm])[123])-(?P<text>[bdln][1-5])",
    "f1/dis-f1-b1",
    _codes("neu=neutral gio=happy tri=sad rab=angry pau=fearful dis=disgust sor=surprised"),
)  # fmt: skip

CAFE = NamedCorpus(
    CorpusInfo(
        "cafe",
        "Canadian French Emotional speech",
        "CC BY-NC-SA 4.0",
        "P. Gournay, O. Lahaie, R. Lefebvre (2018), A Canadian French emotional speech dataset, ACM "
        "Multimedia Systems, doi:10.1145/3204949.3208121",
        language="fr", clips=936, speakers=12, source="by hand from https://zenodo.org/records/1478765",
        defects=("the accents in its folders' names get lost in unpacking: only files' names are read",),
    ),
    r"(?P<speaker>[0-9]{2})-(?P<emotion>[A-Z])-(?P<intensity>[12])-(?P<text>[1-6])",
    "02-P-1-4",
    _codes("N=neutral J=happy T=sad C=angry P=fearful D=disgust S=surprised"),
    speakers=_numbered(12),
    intensities={"1": "low", "2": "high"},
    adapt=lambda said: _without(("N",), said),
)  # fmt: skip

SHEMO = NamedCorpus(
    CorpusInfo(
        "shemo",
        "Sharif Emotional Speech Database, Persian radio plays",
        "free for research",
        "O. Mohamad Nezami, P. Jamshid Lou, M. Karami (2019), ShEMO, Language Resources and Evaluation 53, "
        "1-16, doi:10.1007/s10579-018-9427-x",
        language="fa", clips=3000, speakers=87, source="by hand from https://github.com/mansourehk/ShEMO",
        defects=(
            "copies differ: 2,838 files in the one that EmoBox lists",
            "44.1 and 22.05 kHz are mixed",
            "more than half of the speakers have three emotions at most: a voice tells much of the label",
            "fear has 38 clips",
        ),
    ),
    r"(?P<speaker>(?P<gender>[FM])[0-9]{2})(?P<emotion>[A-Z])[0-9]{2}",
    "female/F21W11",
    _codes("N=neutral H=happy S=sad A=angry F=fearful W=surprised"),
)  # fmt: skip

SUBESCO = NamedCorpus(
    CorpusInfo(
        "subesco",
        "SUST Bangla Emotional Speech Corpus",
        "CC BY 4.0",
        "S. Sultana, M. S. Rahman, M. R. Selim, M. Z. Iqbal (2021), PLoS ONE 16(4): e0250173, "
        "doi:10.1371/journal.pone.0250173",
        language="bn", clips=7000, speakers=20, source="by hand from https://zenodo.org/records/4526477",
        defects=("a third of the clips is at 48 kHz, the rest at 44.1", "one name has a stray bracket"),
    ),
    r"(?P<speaker>(?P<gender>[FM])_[0-9]{2})_[A-Z]+_S_(?P<text>[0-9]{1,2})_(?P<emotion>[A-Z]+)_[1-5]\]?",
    "F_02_MONIKA_S_1_NEUTRAL_5",
    _codes(
        "NEUTRAL=neutral HAPPY=happy SAD=sad "
        "ANGRY=angry FEAR=fearful DISGUST=disgust SURPRISE=surprised"
    ),
)  # fmt: skip

TUREV_DB = NamedCorpus(
    CorpusInfo(
        "turev-db",
        "Turkish Emotion Voice Database, single words",
        "CC BY-NC-ND 4.0",
        "S. F. Canpolat, Z. Ormanoğlu, D. Zeyrek (2020), Turkish Emotion Voice Database, SLTU",
        language="tr", clips=1735, speakers=6, source="by hand from https://github.com/Xeonen/TurEV-DB",
        defects=("single words, from 0.35 s on", "speakers have from 150 to 328 clips"),
    ),
    r"(?P<speaker>[0-9]{4})_(?P<emotion>[a-z]{2})_(?P<text>[a-z]+)[0-9]?",
    "Sound Source/Angry/1234_kz_dugun",
    _codes("sk=calm mt=happy hl=sad kz=angry"),
    adapt=lambda said: said | {"words": said["text"]},
)  # fmt: skip

ASED = NamedCorpus(
    CorpusInfo(
        "ased",
        "Amharic Speech Emotion Dataset",
        "none stated by the publisher",
        "E. A. Retta, E. Almekhlafi, R. Sutcliffe, M. Mhamed, H. Ali, J. Feng (2023), A new Amharic speech "
        "emotion dataset and classification benchmark, ACM TALLIP 22(1), arXiv:2201.02710",
        language="am", clips=2474, speakers=65, source="by hand from https://github.com/Ethio2021/ASED_V1",
        defects=(
            "clips are padded with zeros to lengths that depend on the emotion: use --trim-silence",
            "sentences 03 to 07 occur in one emotion each: the words tell the label",
            "one name begins with S in place of s",
        ),
    ),
    r"(?P<emotion>[A-Za-z])[1-5]-(?P<text>0[1-7])-0[12]-(?P<gender>0[12])-(?P<speaker>[0-9]{2})",
    "03Happy/h3-03-01-01-31",
    _codes("n=neutral h=happy s=sad a=angry f=fearful"),
    adapt=lambda said: said | {
        "emotion": said["emotion"].lower(), "gender": "fm"[int(said["gender"]) - 1],
        "text_id": said["text"] if said["text"] < "03" else said["emotion"].lower() + said["text"],
    },
)  # fmt: skip

BAVED = NamedCorpus(
    CorpusInfo(
        "baved",
        "Basic Arabic Vocal Emotions Dataset, seven words at three levels",
        "none stated by the publisher",
        "40uf411 (2020), Basic Arabic Vocal Emotions Dataset, on GitHub",
        language="ar", clips=1935, speakers=60,
        source="by hand from https://github.com/40uf411/Basic-Arabic-Vocal-Emotions-Dataset",
        defects=(
            "levels of emotion (low, normal, high) in place of emotions",
            "the publisher counts 61 speakers, the names hold 60; two of them share 21 recordings",
            "one file lies in another word's folder: only files' names are read",
            "single words",
        ),
    ),
    r"(?P<speaker>[0-9]+)-(?P<gender>[mf])-(?P<age>[0-9]+)-(?P<text>[0-9])-(?P<emotion>[0-9])-[0-9]+",
    "2/55-m-16-2-0-778",
    _codes("0=low 1=normal 2=high"),
    texts={"0": "اعجبني", "1": "لم يعجبني", "2": "هذا", "3": "الفيلم", "4": "رائع", "5": "مقول", "6": "سيئ"},
)  # fmt: skip

CASIA = NamedCorpus(
    CorpusInfo(
        "casia",
        "CASIA Chinese emotional speech, the part in use for research",
        "by licence of the Institute of Automation, Chinese Academy of Sciences",
        "J. Tao, F. Liu, M. Zhang, H. Jia (2008), Design of speech corpus for Mandarin text to speech, "
        "Blizzard Challenge Workshop",
        language="zh", clips=1200, speakers=4,
        source="by signed request to the institute; EmoBox names a copy at "
        "https://aistudio.baidu.com/aistudio/datasetdetail/209512",
        defects=(
            "names repeat in each folder",
            "four speakers only: an interval over speakers can't be had",
            "an eighth of the recorded corpus",
        ),
    ),
    r"(?P<speaker>liuchanhg|wangzhe|zhaoquanyin|zhaozuoxiang)/(?P<emotion>[a-z]+)/(?P<text>[0-9]{3})",
    "wangzhe/angry/201",
    _codes("neutral=neutral happy=happy sad=sad angry=angry fear=fearful surprise=surprised"),
    clip="{speaker}_{emotion}_{text}",
)  # fmt: skip

ESD = NamedCorpus(
    CorpusInfo(
        "esd",
        "Emotional Speech Dataset, English and Mandarin",
        "for research only, on the publisher's terms",
        "K. Zhou, B. Sisman, R. Liu, H. Li (2021), Seen and unseen emotional style transfer for voice "
        "conversion with a new emotional speech dataset, ICASSP",
        language="en zh", clips=35_000, speakers=20,
        source="by hand from the Google Drive that https://github.com/HLTSingapore/Emotional-Speech-Data "
        "links to",
        defects=("transcripts are in UTF-8, UTF-16, GB 2312 or Latin-1, from speaker to speaker",),
    ),
    r"(?P<emotion>(?!(?:evaluation|test|train)/)[^/]*)/(?:(?P<partition>evaluation|test|train)/)?"
    # each emotion takes 350 of a speaker's 1750 numbers
    r"(?P<speaker>[0-9]{4})_(?!000000)(?P<text>00(?:0[0-9]{3}|1[0-6][0-9]{2}|17[0-4][0-9]|1750))",
    "0011/Angry/train/0011_000351",
    _codes("Neutral=neutral Angry=angry Happy=happy Sad=sad Surprise=surprised"),
    speakers={
        f"{n:04d}": "male" if n in (4, 5, 6, 8, 10, 11, 12, 13, 14, 20) else "female" for n in range(1, 21)
    },
    adapt=lambda said: said | {
        "language": (language := "zh" if said["speaker"] <= "0010" else "en"),
        "text_id": f"{language}{(int(said['text']) - 1) % 350 + 1:03d}",
    },
    join=labelled.esd,
)  # fmt: skip

NEMO = NamedCorpus(
    CorpusInfo(
        "nemo",
        "nEMO: dataset of emotional speech in Polish",
        "CC BY-NC-SA 4.0",
        "I. Christop (2024), nEMO: Dataset of Emotional Speech in Polish, arXiv:2404.06292",
        language="pl", clips=4481, speakers=9, source="https://github.com/amu-cai/nEMO",
    ),
    r"(?P<speaker>[A-Z]+[0-9]+)_(?P<emotion>[a-z]+)_(?P<text>[0-9]+)",
    "WR0_surprised_64",
    _codes("anger=angry fear=fearful happiness=happy neutral=neutral sadness=sad surprised=surprised"),
    join=labelled.nemo,
)  # fmt: skip

# ---------------------------------------------------------------------------------- cut from what was found

ASVP_ESD = NamedCorpus(
    CorpusInfo(
        "asvp-esd",
        "Audio, Speech and Vision Processing Lab Emotional Sound database, of films, plays and the web",
        "CC BY 4.0, by the copy on Hugging Face",
        "T. L. Dejoli, Q. He, W. Xie (2022), Audio, Speech and Vision Processing Lab Emotional Sound "
        "database, zenodo.org/records/7132783",
        clips=13_964, speakers=131, source="by hand from https://zenodo.org/records/7132783",
        defects=(
            "two thirds are sounds without words, told in the column vocal",
            "speakers were sorted by ear from films and the web",
            "16 files name another actor than their folder, and the file is believed",
            "171 files lie in a folder without an actor's number",
            "documents disagree on the numbers of languages: the language stays empty",
        ),
    ),
    r"03-(?P<vocal>0[12])-(?P<emotion>[0-9]{2})-(?P<intensity>[0-9]+)-[0-9]+"
    r"-(?P<speaker>[0-9]*(?P<gender>[0-9]))-[-0-9 ]+",
    "Audio/actor_83/03-02-07-01-01-85-02-02-02-07",
    _codes(
        "01=bored 02=neutral 03=happy 04=sad 05=angry 06=fearful "
        "07=disgust 08=surprised 09=excited 10=pleasure 11=pain 12=disappointment 13=breath"
    ),
    intensities={"01": "normal", "02": "strong"},
    adapt=lambda said: said | {
        "vocal": {"01": "speech", "02": "non-speech"}[said["vocal"]],
        "speaker": f"{int(said['speaker']):03d}", "gender": "mf"[int(said["gender"]) % 2],
        "intensity": said["intensity"] if said["intensity"] in ("01", "02") else "",
    },
)  # fmt: skip

CORPORA: tuple[NamedCorpus, ...] = (
    RAVDESS, EMODB, NEMO, CREMA_D, ESD, MEAD, SAVEE, TESS, EMOV_DB, EMODB_2, EMOVO, CAFE, SHEMO, SUBESCO,
    JL_CORPUS, ASVP_ESD, TUREV_DB, ASED, BAVED, CASIA, EXPRESSO,
)  # fmt: skip
