"""Which remedy for class imbalance to use on a data set, decided from paired runs by the rule of `segrepro.verdict`.

A remedy helps if it raises the mean IoU of all classes and that of the rare ones (both "greater", margin MARGIN); to
raise the rare ones alone is a trade, and is named as one. All comparisons of all remedies are Holm-corrected together,
for whoever tries enough remedies finds one that works by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from segrepro import ledger
from segrepro.analysis.effects import mean_iou
from segrepro.analysis.imbalance import rare_labels_of
from segrepro.runs import Record, Run, paired
from segrepro.verdict import FLOOR, INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Evidence, decide_each

MARGIN = 0.5  # points of mean IoU: the smallest gain that matters
HELPS, NO_HELP, OPEN = "helps", "does not help", "cannot tell"
VERDICTS = {REPRODUCED: HELPS, NOT_REPRODUCED: NO_HELP, INCONCLUSIVE: OPEN}
COLUMNS = ["ΔmIoU", "low", "high", "Δ rare mIoU", "rare low", "rare high", "seeds", "verdict"]


@dataclass(frozen=True)
class Recommendation:
    """What to do, in words, a line a statement, and the evidence.

    table: one row a remedy (its configuration's name), points gained over the baseline with uncorrected 95 %
    t-intervals (nan with one seed), paired seeds, and "helps", "does not help" or "cannot tell". rare: the classes that
    counted as rare.
    """

    sentence: str
    table: pd.DataFrame
    rare: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


def recommend(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Recommendation:
    """The recommendation that runs of one protocol, by configuration, support.

    Pure: the same runs give the same words. Nothing is judged while the baseline's mean IoU is below the floor of all
    claims, `verdict.FLOOR`. While that of its rare classes is, a remedy may help, but none is called useless.
    """
    pairs = _pairs(runs, baseline)
    plain = ledger.configuration(baseline).label
    if not pairs:
        text = (
            f"Nothing to compare yet: this takes runs of {plain} and of a remedy with the same seeds. Set train=True."
        )
        return Recommendation(text, pd.DataFrame(columns=COLUMNS))
    rare = _rare_classes(runs[baseline][0].record)
    evidence = {name: [_gain(found, None), _gain(found, rare)] for name, found in pairs.items()}
    verdicts = [VERDICTS[outcome] for outcome, _ in decide_each(list(evidence.values()))]
    rows = [
        (every.effect, *every.interval, part.effect, *part.interval, every.n, verdict)
        for (every, part), verdict in zip(evidence.values(), verdicts, strict=True)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS, index=list(evidence))
    level = float(np.mean([mean_iou(run) for run in runs[baseline]]))
    if level < FLOOR:
        text = (
            f"Too early to tell: {plain} has a mean IoU of {level:.1f} points, and below {FLOOR:g} no difference can "
        )
        return Recommendation(f"{text}show. Train for longer (iterations).", table.assign(verdict=OPEN), rare)
    level = float(np.mean([mean_iou(run, rare) for run in runs[baseline]]))
    sentence = _sentence(table, evidence, plain, level)
    if level < FLOOR:
        table = table.replace({"verdict": {NO_HELP: OPEN}})
    return Recommendation(sentence, table, rare)


def _rare_classes(record: Record) -> tuple[str, ...]:
    """The classes that count as rare: those that the data set names, else the rarer half."""
    return tuple(record.class_names[label] for label in rare_labels_of(record))


def _pairs(runs: Mapping[str, Sequence[Run]], baseline: str) -> dict[str, list[tuple[Run, Run]]]:
    """By configuration that has any, its runs with the baseline's of the same seeds."""
    pairs = {name: paired(found, runs.get(baseline, ())) for name, found in runs.items() if name != baseline}
    return {name: found for name, found in pairs.items() if found}


def _gain(pairs: Sequence[tuple[Run, Run]], classes: Sequence[str] | None) -> Evidence:
    gains = [mean_iou(run, classes) - mean_iou(other, classes) for run, other in pairs]
    return Evidence("", np.array(gains), "greater", MARGIN)


def _sentence(table: pd.DataFrame, evidence: Mapping[str, Sequence[Evidence]], plain: str, level: float) -> str:
    """level: the baseline's mean IoU on the rare classes."""
    label = {name: ledger.configuration(name).label for name in evidence}
    gained = {name: f"{_points(part)} points of mean IoU on the rare classes, {_points(every)} on all"
              for name, (every, part) in evidence.items()}  # fmt: skip
    helping, useless, unsure = (list(table.index[table["verdict"] == verdict]) for verdict in (HELPS, NO_HELP, OPEN))
    text = []
    if helping:
        best, *others = sorted(helping, key=lambda name: -evidence[name][1].effect)
        text.append(f"Use {label[best]}: {gained[best]}, over {evidence[best][0].n} paired seeds.")
        if others:
            text.append(f"Also helping, and not tested against it: {', '.join(label[name] for name in others)}.")
    if useless and level < FLOOR:
        text.append(
            f"Too early to call {', '.join(label[name] for name in useless)} useless: {plain} has {level:.1f} points "
            f"on the rare classes, and below {FLOOR:g} there is next to nothing to lose. Train for longer (iterations)."
        )
    elif not helping and not unsure:
        text.append(f"No remedy beats {plain} training here, of {', '.join(label[name] for name in useless)}.")
    if unsure:
        seeds = ", ".join(f"{label[name]} ({evidence[name][0].n})" for name in unsure)
        text.append(f"Too few seeds to tell: {seeds}. Train more of them (parameter seeds).")
    alone = decide_each([[part] for pair in evidence.values() for part in pair])[1::2]  # of the rare classes
    trades = [name for name, (outcome, _) in zip(evidence, alone, strict=True) if outcome == REPRODUCED]
    text += [f"A trade, not a gain: {label[name]}, {gained[name]}." for name in trades if name in useless]
    return "\n".join(text)


def _points(gain: Evidence) -> str:
    interval = " [{:+z.1f}, {:+z.1f}]".format(*gain.interval) if gain.n > 1 else ""
    return f"{gain.effect:+z.1f}{interval}"
