"""The papers' claims, and what our records say about them: a verdict per claim and data set.

The ledger `data/papers/claims.yaml` says what each claim compares (`segrepro.ledger` reads it), `segrepro.verdict`
holds the rule. A claim is judged once for each setting in which what it compares is recorded: on a data set in its own
setting, and apart from that with another architecture, input scaling or length, which is then said beside the data set.
Not judged says why: no records, a data set that is not recorded, or a floor (a class, or class set, whose baseline mean
IoU is under 5 points cannot show a difference). Exact and mechanical claims are computed on the spot.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segrepro import datasets, ledger, registry, training
from segrepro.analysis.checks import CHECKS
from segrepro.analysis.effects import EFFECTS, NotJudged, class_iou, mean_iou
from segrepro.errors import InputError
from segrepro.files import PAPERS, RESULTS
from segrepro.ledger import Claim, Comparison, Configuration
from segrepro.parameters import Training, validated
from segrepro.runs import Record, Run, all_runs
from segrepro.verdict import FLOOR, INCONCLUSIVE, NOT_JUDGED, NOT_REPRODUCED, REPRODUCED, Evidence, decide

Paired = Mapping[str, Mapping[int, Run]]  # runs of one protocol, by configuration and seed


@dataclass(frozen=True)
class Verdict:
    """What the records of one data set say about a claim; `decisive` is what decided it, or the weakest comparison.

    data: the data set's name and, in brackets, in what the training departed from its own setting. at_floor: classes
    that were to be judged one by one and are left out, as they do not occur or the baseline hardly finds them.
    recorded: whether there are runs of what the claim compares.
    """

    claim: Claim
    data: str
    outcome: str
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    decisive: Evidence | None = None
    at_floor: tuple[str, ...] = ()
    recorded: bool = True

    def __str__(self) -> str:
        row = self.row
        names = ("claimed", "effect", "interval", "n", "paper effect", "decided by")
        facts = [f"{name} {row[name]}" for name in names if row[name]]
        facts += [f"without {', '.join(self.at_floor)} (absent or under {FLOOR:g} points)"] if self.at_floor else []
        return f"{self.claim.id} on {self.data}: {row['verdict']}; {self.reason or ', '.join(facts)}"

    @property
    def row(self) -> dict[str, str]:
        """The claim's line on the scoreboard; empty where there is nothing to say."""
        row = {"id": self.claim.id, "statement": self.claim.statement, "data": self.data, "verdict": self.outcome}
        empty = dict.fromkeys(("claimed", "effect", "interval", "n", "paper effect", "decided by"), "")
        row |= empty | {"reason": self.reason}
        if one := self.decisive:
            if self.outcome == INCONCLUSIVE:
                row["verdict"] += f" (n = {one.n})"
            row |= {"claimed": one.claimed, "effect": f"{one.effect:+.2f} {one.unit}", "n": str(one.n)}
            row["interval"] = "[{:+.2f}, {:+.2f}]".format(*one.interval) if one.n > 1 else ""
            row |= {"paper effect": ", ".join(f"{value:+g}" for value in one.paper), "decided by": one.label}
        return row

    @property
    def comparisons(self) -> pd.DataFrame:
        """Every comparison of the claim: its mean difference, uncorrected 95 % interval, seeds, the paper's effects."""
        columns = ["comparison", "claimed", "effect", "low", "high", "unit", "n", "paper effect"]
        rows = [(e.label, e.claimed, e.effect, *e.interval, e.unit, e.n, list(e.paper)) for e in self.evidence]
        return pd.DataFrame(rows, columns=columns).set_index("comparison")


def dataset_of(data: str) -> str:
    """The data set of a verdict's `data`, without its setting."""
    return data.partition(" (")[0]


def judge(claim_id: str, runs: Iterable[Run] = (), data: str = "-") -> Verdict:
    """The verdict on a claim from the given runs; those of configurations that it does not compare are left aside. Of
    several settings it is that nearest to the data set's own.

    data: what to call the data set when no run is found. Raises InputError for an unknown claim.
    """
    return _judge(ledger.claim(claim_id), runs, data)[0]


def _judge(claim: Claim, runs: Iterable[Run], data: str) -> list[Verdict]:
    """`judge` in every setting that is recorded, that nearest to the data set's own first; one at least."""
    if claim.needs:
        return [Verdict(claim, data, NOT_JUDGED, f"needs {claim.needs}")]
    if claim.check:
        residual, tolerance = CHECKS[claim.check]()
        if residual <= tolerance:  # its last digits differ between machines, so they are not shown
            return [Verdict(claim, "any", REPRODUCED, f"residual within {tolerance:g}")]
        return [Verdict(claim, "any", NOT_REPRODUCED, f"residual {residual:.1e}, tolerance {tolerance:g}")]
    settings = _settings(claim, (run for run in runs if claim.is_about(run.record.parameters["dataset"])))
    return [_decide(claim, paired, where) for where, paired in settings.items()] or [
        Verdict(claim, data, NOT_JUDGED, _no_records(claim, data), recorded=False)
    ]


def _decide(claim: Claim, paired: Paired, data: str) -> Verdict:
    try:
        measured = [_measure(claim, comparison, paired) for comparison in claim.comparisons]
    except NotJudged as reason:
        return Verdict(claim, data, NOT_JUDGED, str(reason))
    evidence = tuple(e for found, _ in measured for e in found)
    at_floor = tuple(dict.fromkeys(name for _, left_out in measured for name in left_out))
    outcome, decisive = decide(evidence)
    return Verdict(claim, data, outcome, "", evidence, decisive, at_floor)


def verdicts(dataset: str | None = None, paper: str | None = None, stores: Sequence[Path] = (RESULTS,)) -> pd.DataFrame:
    """The scoreboard: one row for each data set, and setting, that is recorded for a claim, decided or with the reason
    why not, or one row that says why there is none.

    dataset, paper: only these. stores: folders of records. Columns: id, statement, data, verdict, claimed (of the
    effect), effect, interval, n, paper effect, decided by (the comparison that these are of), reason; all text. Raises
    InputError for an unknown data set or paper, listing them.
    """
    for what, name, valid in (
        ("dataset", dataset, datasets.NAMES),
        ("paper", paper, dict.fromkeys(claim.paper for claim in ledger.load().claims.values())),
    ):
        if name is not None and name not in valid:
            raise InputError(f"{what}: there is no '{name}'. Choose one of: {', '.join(valid)}.")
    by_data: dict[str, list[Run]] = {}
    for run in all_runs(*stores):
        by_data.setdefault(run.record.parameters["dataset"], []).append(run)
    rows = []
    for claim in ledger.load().claims.values():
        if paper in (None, claim.paper):
            names = [name for name in ([dataset] if dataset else sorted(by_data)) if claim.is_about(name)]
            found = [v for name in names if claim.comparisons for v in _judge(claim, by_data.get(name, ()), name)]
            if claim.kind == "exact":  # a fact of the labels, whatever is trained on them
                found = [v for v in found if v.data == dataset_of(v.data)]
            telling = [v for v in found if v.recorded and not claim.needs]
            rows += [v.row for v in telling or [judge(claim.id)]]
    return pd.DataFrame(rows)


def count(board: pd.DataFrame, by: pd.Series) -> pd.DataFrame:
    """How many lines of `verdicts` got which verdict, one row for each value of `by`, which has one a line."""
    outcomes = board["verdict"].str.replace(r" \(n = \d+\)", "", regex=True)
    order = [REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_JUDGED]
    return pd.crosstab(by, outcomes).reindex(columns=order, fill_value=0)


def runs_of(configuration: Configuration, runs: Iterable[Run]) -> list[Run]:
    """Those of the runs that were trained in this way, whatever their data set, budget and seed.

    The configuration's setting must agree too. Runs of the loop or of a method at another results version than the
    present one are stale and left out.
    """
    methods, setting = configuration.methods, configuration.setting

    def matches(run: Run) -> bool:
        record = run.record
        wanted = registry.own_parameters(methods, configuration.fixed(record.parameters["optimiser"]))
        return (
            sorted(record.parameters["methods"]) == sorted(methods)
            and record.results_versions["loop"] == training.VERSION
            and all(record.results_versions[name] == registry.METHODS[name].version for name in methods)
            and registry.own_parameters(methods, record.parameters) == wanted
            and None not in (there := _setting(record, setting)).values()
            and there == _setting(record, setting, setting)
        )

    return [run for run in runs if matches(run)]


def in_setting(configuration: Configuration, runs: Iterable[Run]) -> list[Run]:
    """`runs_of`, without those in which an option of the data set or a parameter of the training is neither named by
    the configuration nor at what suits the data set.
    """
    return [run for run in runs_of(configuration, runs) if not _departures(run.record, besides=configuration.setting)]


def recorded(dataset: str, names: Iterable[str], stores: Sequence[Path] = (RESULTS,)) -> dict[str, list[Run]]:
    """The recorded runs on a data set of configurations, by name, each `in_setting`; stores: folders of records."""
    found = [run for run in all_runs(*stores) if run.record.parameters["dataset"] == dataset]
    return {name: in_setting(ledger.configuration(name), found) for name in names}


def table(paper: str, number: int | str) -> pd.DataFrame:
    """The printed numbers of a paper's table, one a row: `table("dropclass", 1)`, `table("region_rebalance", "fig5b")`.

    Columns as in `data/papers/README.md`. Raises InputError listing the tables there are.
    """
    path = PAPERS / "tables" / f"{paper}_{number if isinstance(number, str) else f'table{number}'}.csv"
    if not path.exists():
        raise InputError(
            f"no table {number} of '{paper}'; there are {', '.join(sorted(p.stem for p in path.parent.glob('*.csv')))}"
        )
    return pd.read_csv(path, dtype={"table": str}, keep_default_na=False, na_values={"value": "", "std": ""})


def _settings(claim: Claim, runs: Iterable[Run]) -> dict[str, Paired]:
    """The runs that the claim compares in each setting in which every comparison has a pair, that nearest to the data
    set's own first.

    Of several protocols (everything that decides a run except method and seed) in one setting, such as two versions of
    a data set's files, the one with most pairs.
    """
    runs, protocols, departures = list(runs), {}, {}
    configurations = {name: ledger.configuration(name) for name in claim.configurations}
    varied = {option for one in configurations.values() for option in one.setting} - set(Training.model_fields)
    for name, one in configurations.items():
        for run in runs_of(one, runs):
            if _setting(run.record, varied) == _setting(run.record, varied, one.setting):
                key = _protocol(run, varied=varied)
                protocols.setdefault(key, {}).setdefault(name, {})[run.record.seed] = run
                departures[key] = run.record.parameters["dataset"], _departures(run.record, besides=varied)

    def pairs(key: str) -> int:
        return sum(len(_seeds(comparison, protocols[key])) for comparison in claim.comparisons)

    complete = [key for key, paired in protocols.items() if all(_seeds(c, paired) for c in claim.comparisons)]
    found = {}
    for key in sorted(complete, key=lambda key: (len(departures[key][1]), -pairs(key), departures[key])):
        dataset, departed = departures[key]
        found.setdefault(f"{dataset} ({', '.join(departed)})" if departed else dataset, protocols[key])
    return found


def _no_records(claim: Claim, data: str) -> str:
    """Why there is no verdict if what a claim compares is not recorded, and what trains it if anything does."""
    if data in datasets.NAMES and not claim.is_about(data):
        return f"it is about {', '.join(claim.data) or 'segmentation'}, not {data}"
    labels = " and ".join(ledger.configuration(name).label for name in claim.configurations)
    dataset = data if data in datasets.NAMES else (claim.data or ["synthetic"])[0]
    reason = f"no records of {labels} under one protocol"
    if set(claim.configurations) <= set(ledger.configurations_needed(dataset)):
        where = dataset if dataset in datasets.EMBEDDED else f"{dataset} --data-root PATH"
        return f"{reason}; `.venv/bin/python -m segrepro.records --dataset {where}` trains what the ledger names"
    return f"{reason}, and the ledger plans none on {dataset}"


def _departures(record: Record, *, besides: Iterable[str]) -> tuple[str, ...]:
    """In which options of its data set and parameters of its training, `besides` some, a run is not as is usual on the
    data set: "architecture pspnet", say.
    """
    dataset = record.parameters["dataset"]
    names = [
        name for name in (*datasets.options(dataset).model_fields, *Training.model_fields) if name not in set(besides)
    ]
    there, usual = _setting(record, names), _setting(record, names, datasets.defaults(dataset))
    return tuple(f"{name.replace('_', ' ')} {there[name]}" for name in names if there[name] != usual[name])


def _protocol(run: Run, *, varied: set[str]) -> str:
    """What two runs must share to be compared: data, and every parameter that is no method's own.

    varied: options of the data set that the claim's configurations name, so that their data may differ.
    """
    record = run.record
    own = registry.parameter_names()
    shared = {k: v for k, v in record.parameters.items() if k != "methods" and k not in own and k not in varied}
    shared = Training().model_dump(mode="json") | shared  # records older than a parameter had its default
    data = "" if varied else record.data_fingerprint
    return json.dumps([shared, data], sort_keys=True)


def _setting(record: Record, names: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The named options of a record's data set and parameters of its training, None where there is no such option.

    given: values in place of the record's, with the defaults for those it lacks.
    """
    values = record.parameters if given is None else given
    kinds, found = (datasets.options(record.parameters["dataset"]), Training), {}
    for name in names:
        kind = next((kind for kind in kinds if name in kind.model_fields), None)
        found[name] = kind and getattr(validated(kind, {name: values[name]} if name in values else {}), name)
    return found


def _seeds(comparison: Comparison, paired: Paired) -> list[int]:
    """Seeds for which every configuration of a comparison has a run."""
    return sorted(set.intersection(*(set(paired.get(name, ())) for name in comparison.of)))


def _measure(claim: Claim, comparison: Comparison, paired: Paired) -> tuple[list[Evidence], list[str]]:
    """The evidence on one comparison, or on each class if its quantity is per class; and the classes at the floor.

    Raises NotJudged if nothing is above it.
    """
    seeds, at_floor = _seeds(comparison, paired), []
    baseline = [paired[comparison.of[-1]][seed] for seed in seeds]
    options = {} if comparison.classes is None else {"classes": comparison.classes}
    values = [EFFECTS[comparison.effect](*(paired[name][seed] for name in comparison.of), **options) for seed in seeds]
    by_class = pd.DataFrame([value if isinstance(value, pd.Series) else {"": value} for value in values])
    if claim.unit == "points":
        mean = np.mean([mean_iou(run, **options) for run in baseline])
        if mean < FLOOR:
            raise NotJudged(
                f"floor: the baseline's mean IoU is {mean:.1f} points, and under {FLOOR:g} no difference can show"
            )
        if "" not in by_class:
            found = pd.DataFrame([class_iou(run) for run in baseline]).mean()[list(by_class)]
            at_floor = [name for name, iou in found.items() if not iou >= FLOOR]  # nan: it never occurs
            by_class = by_class.drop(columns=at_floor)
    labels = [ledger.configuration(name).label for name in comparison.of]
    if len(labels) == 4:  # a - b - c + d
        labels = [f"{labels[0]} + {labels[3]}", f"{labels[1]} + {labels[2]}"]
    label = f"{comparison.label}: {' against '.join(labels)}"
    undefined = [name for name in by_class if by_class[name].isna().any()]
    at_floor, by_class = at_floor + [name for name in undefined if name], by_class.drop(columns=undefined)
    if by_class.empty:
        raise NotJudged(f"{label} has no value on this data")
    return [
        Evidence(
            f"{label}, {name}" if name else label,
            column.to_numpy(),
            comparison.direction,
            comparison.margin,
            tuple(comparison.paper),
            comparison.unit or claim.unit,
        )
        for name, column in by_class.items()
    ], at_floor
