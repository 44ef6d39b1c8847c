"""The ledger `data/papers/claims.yaml`: every claim, the configurations they compare, and what is to be recorded."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from segrepro import datasets, registry
from segrepro.analysis.checks import CHECKS
from segrepro.analysis.effects import EFFECTS
from segrepro.errors import InputError
from segrepro.files import PAPERS
from segrepro.parameters import Training, check_names, validated
from segrepro.verdict import Direction

ClassSet = Literal["rare", "background", "foreground"] | list[str]


def _name_in(registered: Mapping[str, Any]) -> pydantic.AfterValidator:
    def check(name: str) -> str:
        if name not in registered:
            raise ValueError(f"unknown name '{name}'; valid: {', '.join(registered)}")
        return name

    return pydantic.AfterValidator(check)


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Configuration(_Strict):
    """A named way to train: methods and their `own` parameters; whatever is not named is at its default.

    with_adamw: further own parameters, where that is the optimiser. setting: options of the data set, or parameters of
    the training, that are not at their defaults. They stand behind the name, as in
    "plain@aligned_ratio=0.95+severity=2".
    """

    label: str
    methods: list[str]
    own: dict[str, Any] = {}
    with_adamw: dict[str, Any] = {}
    setting: dict[str, str] = {}

    @pydantic.model_validator(mode="after")
    def _is_known(self) -> "Configuration":
        known = {name for kind in registry.kinds(self.methods) for name in kind.Parameters.model_fields}
        if unknown := sorted({*self.own, *self.with_adamw} - known):
            raise ValueError(f"own: no parameter {', '.join(unknown)} of {', '.join(self.methods)}")
        registry.own_parameters(self.methods, self.own | self.with_adamw)
        return self

    def fixed(self, optimiser: str) -> dict[str, Any]:
        """The parameters of its methods that it fixes under an optimiser."""
        return self.own | (self.with_adamw if optimiser == "adamw" else {})


class Comparison(_Strict):
    """One quantity on one, two or four configurations (the last is the baseline) and what is claimed of it.

    margin: the smallest effect that matters. unit: of margin and effect; None: the claim's. paper: the printed effects,
    one a model.
    """

    effect: Annotated[str, _name_in(EFFECTS)]
    of: list[str]
    direction: Direction
    margin: float = pydantic.Field(0.5, gt=0)
    unit: str | None = None
    classes: ClassSet | None = None
    paper: list[float] = []

    @pydantic.field_validator("of")
    @classmethod
    def _can_be_compared(cls, names: list[str]) -> list[str]:
        if len(names) not in (1, 2, 4):
            raise ValueError("give one, two or four configurations")
        return names

    @property
    def label(self) -> str:
        """What is measured, in words."""
        classes = (
            f" ({self.classes if isinstance(self.classes, str) else ', '.join(self.classes)})" if self.classes else ""
        )
        return self.effect.replace("_", " ").replace("iou", "IoU") + classes


class Claim(_Strict):
    """One entry, decided by `comparisons`, all of which must hold, or by a `check` that needs no training.

    `needs` says what is missing to judge it. data: the data sets that it is about; if not given, all for segmentation.
    """

    id: str = pydantic.Field(pattern=r"^[a-z_]+-C\d+$")
    statement: str
    source: str
    kind: Literal["exact", "mechanical", "train", "large"]
    core: bool = False
    unit: str = "points"
    data: list[str] = []
    comparisons: list[Comparison] = []
    check: Annotated[str, _name_in(CHECKS)] | None = None
    needs: str | None = None
    note: str | None = None

    @pydantic.model_validator(mode="after")
    def _can_be_judged(self) -> "Claim":
        if sum(map(bool, (self.comparisons, self.check, self.needs))) != 1:
            raise ValueError("give one of 'comparisons', 'check' and 'needs'")
        return self

    @property
    def paper(self) -> str:
        """The paper's name: that of its module, notebook and tables."""
        return self.id.split("-")[0]

    @property
    def form(self) -> str:
        """greater, less, equivalent, not_greater, all_of; or the kind of a claim that compares nothing."""
        if not self.comparisons:
            return self.kind
        return self.comparisons[0].direction if len(self.comparisons) == 1 else "all_of"

    def is_about(self, dataset: str) -> bool:
        """Whether records on this data set can decide the claim."""
        return dataset in self.data if self.data else dataset not in datasets.CLASSIFIED

    @property
    def configurations(self) -> list[str]:
        """Names of the configurations that it compares, each once."""
        return list(dict.fromkeys(name for comparison in self.comparisons for name in comparison.of))


class Recording(_Strict):
    """Which claims are recorded on a data set, with how many seeds: "core", "other" (the rest), or a list of ids.

    also: configurations beside those that the claims compare.
    """

    dataset: str
    claims: Literal["core", "other"] | list[str]
    also: list[str] = []
    seeds: pydantic.PositiveInt

    def covers(self, claim: Claim) -> bool:
        if not claim.is_about(self.dataset):
            return False
        return claim.id in self.claims if isinstance(self.claims, list) else claim.core == (self.claims == "core")


class Ledger(_Strict):
    configurations: dict[str, Configuration]
    records: list[Recording]
    claims: dict[str, Claim]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _put_ids_in(cls, data: Any) -> Any:
        claims = data.get("claims") if isinstance(data, dict) else None
        if not isinstance(claims, dict) or not all(isinstance(claim, dict) for claim in claims.values()):
            raise ValueError("claims: give a mapping of ids to claims")
        return data | {"claims": {name: {"id": name, **claim} for name, claim in data["claims"].items()}}

    @pydantic.model_validator(mode="after")
    def _names_exist(self) -> "Ledger":
        for claim in self.claims.values():
            if unknown := _parts(claim.configurations) - set(self.configurations):
                raise ValueError(f"claims {claim.id} of: no configuration {', '.join(sorted(unknown))}")
            for name in claim.configurations:
                for dataset in claim.data:
                    check_setting(name, dataset)
        for recording in self.records:
            if unknown := _parts(recording.also) - set(self.configurations):
                raise ValueError(f"records of {recording.dataset} also: no configuration {', '.join(sorted(unknown))}")
            for name in recording.also:
                check_setting(name, recording.dataset)
            if isinstance(recording.claims, list) and (unknown := sorted(set(recording.claims) - set(self.claims))):
                raise ValueError(f"records of {recording.dataset}: no claim {', '.join(unknown)}")
        return self


@functools.cache
def load(path: Path = PAPERS / "claims.yaml") -> Ledger:
    """The ledger. Raises InputError naming the file, the claim and the field that is wrong."""
    try:
        return Ledger.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}. Correct it.") from None
    except pydantic.ValidationError as error:
        wrong = "; ".join(" ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors())
        raise InputError(f"{path}: {wrong}. Correct that entry.") from None


def setting_of(name: str) -> dict[str, str]:
    """What stands behind the "@" of a configuration's name, by option: "plain@swap=true+severity=2"."""
    setting = name.partition("@")[2]
    return {option: value for option, _, value in (part.partition("=") for part in setting.split("+") if setting)}


def check_setting(name: str, dataset: str) -> None:
    """Raises InputError if the setting behind a configuration's name is none of a data set: an unknown option, or a
    value out of its range.
    """
    setting, options = setting_of(name), datasets.options(dataset)
    check_names(setting, {*options.model_fields, *Training.model_fields})
    for kind in (options, Training):
        own = {option: value for option, value in setting.items() if option in kind.model_fields}
        validated(kind, own, f"configuration {name} on {dataset}")


def claim(name: str) -> Claim:
    """A claim by id. Raises InputError listing the ids."""
    if name not in load().claims:
        raise InputError(f"no claim '{name}'; the ledger has {', '.join(load().claims)}")
    return load().claims[name]


def _parts(names: Iterable[str]) -> set[str]:
    """The configurations of the ledger that names are made of."""
    return {part for name in names for part in name.partition("@")[0].split("+")}


def is_known(name: str) -> bool:
    """Whether `configuration` has that name."""
    return _parts([name]) <= set(load().configurations)


def configuration(name: str) -> Configuration:
    """A configuration by name, several joined by "+" as one, with their setting behind an "@".

    Raises InputError listing the names, or for configurations that exclude each other.
    """
    setting, name = setting_of(name), name.partition("@")[0]
    known = load().configurations
    for part in name.split("+"):
        if part not in known:
            near = difflib.get_close_matches(part, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise InputError(f"no configuration '{part}'.{hint} The ledger has {', '.join(known)} and '+' to join them")
    found = functools.reduce(_combined, [known[part] for part in name.split("+")])
    if not setting:
        return found
    shown = ", ".join(f"{option.replace('_', ' ')} {value}" for option, value in setting.items())
    label = f"{found.label[:-1]}, {shown})" if found.label.endswith(")") else f"{found.label} ({shown})"
    return found.model_copy(update={"setting": setting, "label": label})


def _combined(one: Configuration, other: Configuration) -> Configuration:
    """Both at once. Raises InputError if they exclude each other."""
    label, merged = f"{one.label} + {other.label}", {}
    for kind in ("own", "with_adamw"):
        values, more = getattr(one, kind), getattr(other, kind)
        if unlike := sorted(key for key in values.keys() & more.keys() if values[key] != more[key]):
            raise InputError(
                f"{label}: {', '.join(unlike)} cannot have two values. Choose one of the two configurations."
            )
        merged[kind] = values | more
    methods = list(dict.fromkeys([*one.methods, *other.methods]))
    registry.kinds(methods)
    return Configuration(label=label, methods=methods, **merged)


def configurations_needed(dataset: str, array: str | None = None) -> dict[str, int]:
    """What is to be trained on a data set, by name, with how many seeds: all that its claims to be recorded compare,
    and what its recordings name beside that.

    array: only what is compared in a quantity that reads this array of the records, such as "erasure".
    """
    needed: dict[str, int] = {}
    for recording in (r for r in load().records if r.dataset == dataset):
        for comparison in (c for claim in load().claims.values() if recording.covers(claim) for c in claim.comparisons):
            if array is None or array in EFFECTS[comparison.effect].arrays:
                needed |= {name: max(recording.seeds, needed.get(name, 0)) for name in comparison.of}
        if array is None:
            needed |= {name: max(recording.seeds, needed.get(name, 0)) for name in recording.also}
    return needed


def printed_gains(paper: str, effect: str = "mean_iou", baseline: str = "plain") -> dict[str, float]:
    """By configuration, the gain over the baseline that a paper prints in the one model of its ablations: from the
    comparisons with a single printed number.
    """
    return {
        comparison.of[0]: comparison.paper[0]
        for claim in load().claims.values()
        if claim.paper == paper
        for comparison in claim.comparisons
        if (comparison.effect, comparison.of[1:], comparison.classes) == (effect, [baseline], None)
        and len(comparison.paper) == 1
    }
