"""Every method by name. A new one is a module (or a class in `comparators`) and one line here."""

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from segrepro import comparators
from segrepro.datasets.base import Classes
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.methods import Learner, Method, check_slots
from segrepro.models import Network
from segrepro.papers.dropclass import DropClass
from segrepro.papers.essnet import ESSNet
from segrepro.papers.fbnet import FBNet
from segrepro.papers.lff import LfF
from segrepro.papers.region_rebalance import RegionRebalance
from segrepro.parameters import validated

METHODS: dict[str, type[Method]] = {
    "plain": comparators.Plain,
    "median_frequency": comparators.MedianFrequency,
    "hrnet_weights": comparators.HRNetWeights,
    "oversample": comparators.Oversample,
    "ignore_label": comparators.IgnoreLabel,
    "dropclass": DropClass,
    "fbnet": FBNet,
    "hard_examples": comparators.HardExamples,
    "region_rebalance": RegionRebalance,
    "effective_number": comparators.EffectiveNumber,
    "balanced_softmax": comparators.BalancedSoftmax,
    "dice": comparators.Dice,
    "essnet": ESSNet,
    "cosine_classifier": comparators.CosineClassifier,
    "lff": LfF,
    "group_dro": comparators.GroupDRO,
    "repair": comparators.Repair,
}


def parameter_names() -> set[str]:
    """The parameters of all methods."""
    return {name for kind in METHODS.values() for name in kind.Parameters.model_fields}


def kinds(names: Sequence[str]) -> list[type[Method]]:
    """The classes of the named methods. Raises InputError for unknown names, an empty list or rivals for one slot."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise InputError(f"methods: unknown {', '.join(unknown) or 'empty list'}; valid: {', '.join(METHODS)}")
    found = [METHODS[name] for name in names]
    check_slots(names, found)
    return found


def own_parameters(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, pydantic.BaseModel]:
    """Each method's own parameters, validated: what `values` gives (None: the default) for the fields a method
    declares.

    Raises InputError naming the parameter and what is valid.
    """
    own = {}
    for name, kind in zip(names, kinds(names), strict=True):
        given = {k: v for k, v in values.items() if k in kind.Parameters.model_fields and v is not None}
        own[name] = validated(kind.Parameters, given, f"method {name}")
    return own


def build_learner(
    network: Network, classes: Classes, statistics: Statistics, own: Mapping[str, pydantic.BaseModel]
) -> Learner:
    """The network with the methods named by `own`, each given its own parameters."""
    return Learner(network, [METHODS[name](network, classes, statistics, values) for name, values in own.items()])
