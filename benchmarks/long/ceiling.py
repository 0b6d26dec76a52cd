"""How far any change of contours can lead: `python benchmarks/long/ceiling.py [CORPUS]`.

`emolib trial` asks how often what a transform has learned from other speakers is recognised. Here a neutral
clip is given its speaker's own change to the target, measured on their rendition of the same sentence: what
no transform can know, and the best that it can learn. What then falls short of the natural rendition isn't in
what is moved. The judge, speakers and clips are the trial's, one clip of each speaker to each target; a
rendition is aligned by dynamic time warping. Needs the corpus's audio and takes about ten minutes. Writes
docs/ceiling.csv, a row for each corpus and way.

natural : the rendition itself; resynthesised : after WORLD's analysis and synthesis alone
own change : all that a transform moves, as it truly differs: level, mean and spread of pitch, tempo, jitter,
    shimmer, and frame by frame the pitch, energy, rate, 32 bands and 5 bands of noise
own change, whole : of that the part that is one number for the whole clip
learned : what the trial's transform predicts from the other speakers
own change, 1.5 and learned, 1.5 : half as much again, as an exaggeration may be recognised better
learned, own spectrum : what is learned, but for the 32 bands, which stay the clip's own
MCD and log-F0 RMSE are to the speaker's rendition, as shares of those of the neutral clip. Where
`make instruments` has installed it, DistillMOS gives its opinion of some of the ways.
"""

import contextlib
import copy
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import audio, corpora, instruments, metrics, prosody, steering, threads
from emolib.prosody.analysis import STATISTICS, band_spread, statistics
from emolib.prosody.pairs import Pair, frame_changes, positions
from emolib.prosody.transform import BANDS, Change, Linear, ProsodyTransform, apply_change
from emolib.steering import trial
from emolib.steering.prosodic import ProsodicAnalysis, ProsodySteerer, analyse

TABLE = Path(__file__).parent.parent.parent / "docs" / "ceiling.csv"
SOURCE, SPEAKERS, FAR = "neutral", 48, 1.5
#: The ways whose quality is measured.
OPINION = ("unmodified", "natural", "learned", "learned, own spectrum", "learned, 1.5")
#: The ways that are made of the rendition itself, which is never compared with itself.
ITSELF = ("natural", "resynthesised")


def own_change(take: ProsodicAnalysis, goal: ProsodicAnalysis) -> Change:
    """Return what truly changes from one rendition to the other."""
    source, target = take.contours, goal.contours
    pair = Pair(source, target, positions(source, target), "")
    changes, weights = frame_changes(pair)
    whole = np.append(statistics(target) - statistics(source), band_spread(target) - band_spread(source))
    return Change(whole, changes * weights)


def own_spectrum(transform: ProsodyTransform) -> ProsodyTransform:
    """Return a transform that leaves the bands of the envelope as they are."""
    made = copy.copy(transform)
    for name, columns in (("utterance_", slice(len(STATISTICS), None)), ("frame_", BANDS)):
        weights, offset = (part.copy() for part in getattr(transform, name))
        weights[:, columns], offset[columns] = 0, 0
        setattr(made, name, Linear(weights, offset))
    return made


def sounds(
    take: ProsodicAnalysis, goal: ProsodicAnalysis, transform: ProsodyTransform
) -> dict[str, audio.Wave]:
    """Return what the judge hears of one clip and one rendition, by way."""
    change = own_change(take, goal)
    level = audio.rms_dbfs(goal.recording.wave)
    steerer, flat = (
        ProsodySteerer(one, shift_level=True, allow_extrapolation=True)
        for one in (transform, own_spectrum(transform))
    )

    def moved(asked: Change) -> audio.Wave:
        speech = apply_change(take.recording.speech, take.contours, asked)
        return audio.level(prosody.resynthesise(take.recording, speech), level)

    again = prosody.resynthesise(goal.recording, goal.recording.speech)
    return {
        "unmodified": take.recording.wave,
        "natural": goal.recording.wave,
        "resynthesised": audio.level(again, level),
        "own change": moved(change),
        "own change, whole": moved(Change(change.utterance, np.zeros_like(change.frames))),
        "own change, 1.5": moved(change.times(FAR)),
        "learned": steerer.render(take, 1.0),
        "learned, own spectrum": flat.render(take, 1.0),
        "learned, 1.5": steerer.render(take, FAR),
    }


def measured(corpus: str) -> pd.DataFrame:
    """Return whether the judge answers the target, a row for each speaker, target and way."""
    clips = trial.some_speakers(corpora.load(corpus), SPEAKERS)
    material = trial.gather(clips, SOURCE, trial.TARGETS, outside=trial.outside_judge(clips))
    judge, acted = material.outside.judge, material.acted
    acted = acted[acted["clip"].isin(list(material.analysed.by_clip))]
    tried = trial.Steerers(("prosody",), shift_level=True)

    def convert(roles: steering.Roles) -> list[dict]:
        rows = []
        for target in trial.TARGETS:
            makers = acted[~acted["speaker"].isin(roles.heard)]
            [learned] = tried.learn(makers, SOURCE, target, material.analysed).values()
            assert isinstance(learned, ProsodySteerer)
            for speaker in roles.heard:
                own = acted[acted["speaker"] == speaker]
                both = own[own["emotion"] == SOURCE].merge(own[own["emotion"] == target], on="text_id")
                for _, row in both.head(1).iterrows():
                    found = acted.set_index("clip").loc[[row["clip_x"], row["clip_y"]]]
                    waves = [audio.load_clip(one, material.rate)[0] for one in found.to_dict("records")]
                    take, goal = (analyse(w, material.rate) for w in waves)
                    there = prosody.track(goal.recording.wave, material.rate)
                    for way, wave in sounds(take, goal, learned.transform).items():
                        [p] = judge.predict_proba_measures(material.read(wave, speaker)[None])
                        hit = float(p.argmax() == judge.column(target))
                        rows.append({"speaker": speaker, "target": target, "way": way, "recognised": hit})
                        with contextlib.suppress(ValueError):  # hardly a voiced frame has no distance
                            apart = prosody.distance(there, prosody.track(wave, material.rate))
                            rows[-1] |= apart._asdict()
                        if way in OPINION and not instruments.missing("quality"):
                            rows[-1]["quality"] = instruments.opinion([wave], material.rate)[0]
        return rows

    return pd.DataFrame([row for rows in threads.each(convert, steering.rotations(clips)) for row in rows])


def apart_from(rows: pd.DataFrame, name: str, way: str) -> metrics.Interval:
    """Return the mean distance of a way to the renditions, as a share of that of the neutral clips."""
    if way in (*ITSELF, "unmodified"):
        return metrics.Interval(np.nan, np.nan, np.nan)
    return metrics.Interval(*trial.ratio(rows, name, way, "unmodified").loc["all"])


def main(corpus: str) -> None:
    """Measure, print, and write the rows of one corpus."""
    rows = measured(corpus)
    wide = rows.pivot_table("recognised", ["speaker", "target"], "way", sort=False).reset_index()
    found = []
    for way in rows["way"].unique():
        rate = metrics.mean_interval(wide[way], wide["speaker"])
        less, apart = (
            metrics.difference_interval(wide[way], wide[other], wide["speaker"])
            for other in ("natural", "own change")
        )
        found.append({
            "corpus": corpus, "way": way, "n": len(wide),
            "recognised": rate.value, "low": rate.low, "high": rate.high,
            "of_natural": rate.value / wide["natural"].mean(),
            "minus_natural": less.value, "minus_natural_low": less.low, "minus_natural_high": less.high,
            "minus_own": apart.value, "minus_own_low": apart.low, "minus_own_high": apart.high,
            **{
                f"{name}_of_unmodified{end}": value
                for name in trial.DISTANCES
                for end, value in zip(("", "_low", "_high"), apart_from(rows, name, way), strict=True)
            },
            "quality": rows.loc[rows["way"] == way].get("quality", pd.Series([np.nan])).mean(),
        })  # fmt: skip
        print(
            f"{corpus} {way:20s} {rate:.2f}, minus natural {less:.2f}, minus own change {apart:.2f}",
            flush=True,
        )
    kept = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame({"corpus": []})
    table = pd.concat([kept[kept["corpus"] != corpus], pd.DataFrame(found)]).astype({"n": int})
    table.to_csv(TABLE, index=False, float_format="%.4f")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("ravdess", "emodb", "crema-d"):
        main(name)
