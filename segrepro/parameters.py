"""Flat parameters, as papermill hands them over, checked before anything runs.

`Training` holds what decides a result and so is part of a run's key; `Setup` what does not. Methods and data sets add
their own. `None` means the data set's default. Lists may be strings: "0,1" or "192x256".
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import AfterValidator, BeforeValidator, Field

from segrepro.errors import InputError
from segrepro.files import ROOT


def _listed(value: Any) -> Any:
    """ "0,1" -> [0, 1]; one value -> a list of it."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _sized(value: Any) -> Any:
    """ "192x256" -> (192, 256)."""
    if not isinstance(value, str | int):
        return value
    sides = re.split(r"[x,]", str(value))
    if len(sides) != 2:
        raise ValueError("give height x width, e.g. 192x256")
    return sides


Size = Annotated[tuple[pydantic.PositiveInt, pydantic.PositiveInt], BeforeValidator(_sized)]
Names = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Seeds = Annotated[list[pydantic.NonNegativeInt], BeforeValidator(_listed), AfterValidator(lambda s: sorted(set(s))),
                  Field(min_length=1)]  # fmt: skip


def _pair(text: str) -> str:
    sides = [side.strip() for side in text.split(":")]
    if len(sides) != 2 or sides[0] == sides[1] or not all(sides):
        raise ValueError(f"'{text}' is no pair; give a class that is there and another that is not")
    return ":".join(sides)


Pairs = Annotated[list[Annotated[str, AfterValidator(_pair)]], BeforeValidator(_listed), Field(min_length=1)]


class Flat(pydantic.BaseModel):
    """A set of parameters: unknown names are errors, values are checked and then fixed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Training(Flat):
    """What decides a result, besides data, methods and seed."""

    architecture: str = "deeplabv3plus"
    encoder: str = "tf_efficientnet_lite0"
    pretrained: bool = True
    output_stride: Literal[8, 16] | None = None
    iterations: pydantic.PositiveInt = 400
    batch_size: pydantic.PositiveInt = 8
    crop_size: Size | None = None
    augmentation: Literal["none", "flip", "pad_crop", "scale_crop", "resized_crop"] = "scale_crop"
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: pydantic.PositiveFloat = 0.01
    encoder_learning_rate: pydantic.PositiveFloat | None = None  # None: the same as learning_rate
    weight_decay: pydantic.NonNegativeFloat = 1e-4
    decay_power: pydantic.NonNegativeFloat = 0.9  # of the poly decay of learning rates; 0 keeps them constant
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # beta1 of AdamW
    precision: Literal["float32", "bf16", "fp16", "float64"] = "float32"
    input_divisor: pydantic.PositiveFloat = 1.0  # divides the normalised inputs once more (LfF's authors: 255)
    evaluations: pydantic.PositiveInt = 1  # evenly spaced over the training, the last at its end
    inference: Literal["single_scale", "multi_scale", "sliding_window"] = "single_scale"


class Setup(Flat):
    """Where and how to run; changes no result."""

    dataset: str = "synthetic"
    data_root: Path | None = None
    methods: Names | None = None
    seeds: Seeds | None = Field(None, examples=["0,1,2"])
    # of classes, each there and not there: whose class-activation maps are compared
    pairs: Pairs | None = Field(None, examples=["motorcycle:bicycle,bus:truck"])
    device: str = "auto"
    workers: pydantic.NonNegativeInt | None = None
    runs_dir: Annotated[Path, AfterValidator(lambda path: ROOT / path), Field(validate_default=True)] = Path("runs")
    train: bool = False


def literals(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters among a notebook's globals: what is no module, function, private name or IPython's own."""
    return {
        name: value
        for name, value in values.items()
        if not (name.startswith("_") or name in ("In", "Out") or callable(value) or isinstance(value, ModuleType))
    }


def check_names(names: Iterable[str], valid: Iterable[str]) -> None:
    """Raises InputError listing the valid names, the nearest first, if one is unknown."""
    valid = sorted(valid)
    for name in names:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise InputError(f"unknown parameter '{name}'.{hint} Valid: {', '.join(valid)}")


def validated(model: type[pydantic.BaseModel], values: Mapping[str, Any], where: str = "") -> Any:
    """`model` from values. Raises InputError naming each wrong parameter, what was given and what is valid.

    where: said behind each fault, "method lff" say.
    """
    try:
        return model(**values)
    except pydantic.ValidationError as error:
        faults = []
        for fault in error.errors():
            name, message = str(fault["loc"][0]), fault["msg"].removeprefix("Value error, ")
            said = [f"given {values.get(name, fault['input'])!r}", _valid(model, name), where]
            faults.append(f"{name}: {message[0].lower()}{message[1:]} ({', '.join(filter(None, said))})")
        raise InputError("; ".join(dict.fromkeys(faults))) from None


def _valid(model: type[pydantic.BaseModel], name: str) -> str:
    """The range of a number, an example of a list, or what the parameter is, as far as the model declares them."""
    field = model.model_fields.get(name)
    if field is None:
        return ""
    if field.examples:
        return f"e.g. {field.examples[0]}"
    declared = model.model_json_schema()["properties"][name]
    bounds = next((kind for kind in (declared, *declared.get("anyOf", ())) if kind.get("type") in _NUMBERS), {})
    valid = " and ".join(f"{word} {bounds[key]:g}" for key, word in _BOUNDS.items() if key in bounds)
    return f"valid: {valid}" if valid else field.description or ""


_NUMBERS = ("number", "integer")
_BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


def find_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1" or "mps" -> a device that is there. Raises InputError listing those that are."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    there = ["cpu", *gpus] + ["mps"] * torch.backends.mps.is_available()
    if name == "auto":  # with several processes, each takes the GPU of its number on this machine
        rank = int(os.environ.get("LOCAL_RANK", 0))
        if gpus and rank >= len(gpus):
            raise InputError(
                f"device: process {rank} of this machine has no GPU of its own, there are {len(gpus)}. Start as many "
                "processes, or set device=cpu."
            )
        return torch.device(gpus[rank] if gpus else there[-1])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise InputError(f"device: '{name}' is not there; this machine has {', '.join(there)}")
    return torch.device(wanted)
