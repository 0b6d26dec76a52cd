"""How many people a prosody transform has to learn from: `python benchmarks/long/teachers.py [CORPUS]`.

A sixth of the corpus's speakers is steered, two clips each to four targets, by transforms that 8, 16, 32, 64
or all of the others have taught: with raters' votes, from what half of the raters heard as meant, and from
all clips alike. The judge is `emolib trial`'s, of other corpora. Needs the corpus's audio, and takes about
half an hour. Writes docs/img/teachers.png, and its numbers to docs/teachers.csv.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from emolib import corpora, plots, steering
from emolib.corpora.tables import VOTES
from emolib.steering import trial

DOCS = Path(__file__).parent.parent.parent / "docs"
SOURCE, NUMBERS = "neutral", (8, 16, 32, 64)


def main(corpus: str) -> None:
    """Measure, print and draw."""
    clips = corpora.load(corpus)
    material = trial.gather(clips, SOURCE, trial.TARGETS, outside=trial.outside_judge(clips))
    unrated = replace(material, acted=material.acted.filter(regex=f"^(?!{VOTES})"))
    first = steering.rotations(clips)[0]
    others, rows = sorted({*first.makers, *first.judges}), []
    for taught_by, known in (("heard as meant", material), ("all clips", unrated)):
        for n in (*[n for n in NUMBERS if n < len(others)], len(others)):
            teachers = tuple(others[round(k * len(others) / n)] for k in range(n))
            roles = [steering.Roles(teachers, (), first.heard)]
            steerers = trial.Steerers(("prosody",), shift_level=True)
            done, _ = trial.run(known, SOURCE, trial.TARGETS, roles, steerers=steerers, per_speaker=2)
            table = trial.tabulate(done)
            table = table[(table["target"] == "all") & table["measure"].str.startswith("recognised")]
            rows.append(table.assign(teachers=n, taught_by=taught_by))
            told = table[table["way"] == "prosody"].set_index("measure")[["value", "low", "high"]]
            print(f"{taught_by}, {n} teachers:", told.round(2).to_dict("index"), flush=True)
    found = pd.concat(rows)
    found.to_csv(DOCS / "teachers.csv", index=False, float_format="%.4f")
    draw(corpus, found)


def draw(corpus: str, found: pd.DataFrame) -> None:
    """Draw the rate of recognition against the number of teachers."""
    plots.use_style()
    rates = found[found["measure"] == "recognised"]
    prosodic = rates[rates["way"] == "prosody"]
    fig, ax = plt.subplots(figsize=(5.5, 3.6))
    for shift, (taught_by, part) in zip((0.98, 1.02), prosodic.groupby("taught_by", sort=False), strict=True):
        ends = [part["value"] - part["low"], part["high"] - part["value"]]
        ax.errorbar(shift * part["teachers"], part["value"], ends, marker="o", capsize=2, label=taught_by)
    for way, line in (("natural target", "--"), ("unmodified", ":")):
        level = rates.loc[rates["way"] == way, "value"].iloc[0]
        ax.axhline(level, color=plots.INK, linestyle=line, linewidth=1)
        ax.annotate(way, (0.99, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=8)
    ax.set(xscale="log", xlabel="teachers", ylabel="recognised as the target", ylim=(0, None))
    numbers = sorted(set(prosodic["teachers"]))
    ax.set_xticks(numbers, [str(n) for n in numbers])
    ax.minorticks_off()
    ax.set_title(f"{corpus}: who teaches a prosody transform")
    ax.legend(loc="center right")
    fig.savefig(DOCS / "img" / "teachers.png", dpi=160, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "crema-d")
