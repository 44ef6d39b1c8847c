"""Data sets by name: one module each, with its `load` and the training parameters that suit it, `DEFAULTS`."""

import functools
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic

from segrepro.datasets.base import Dataset
from segrepro.errors import InputError
from segrepro.parameters import Flat, validated

CLASSIFIED = ("colored_digits", "colored_mnist", "corrupted_cifar10", "celeba", "bar")  # one label an image
EMBEDDED = ("synthetic", "many_classes", "colored_digits")  # drawn or bundled: nothing to download
NAMES = ("synthetic", "many_classes", "camvid", "cityscapes", "folder", *CLASSIFIED)


def _module(name: str) -> ModuleType:
    if name not in NAMES:
        raise InputError(f"dataset: there is no '{name}'. Choose one of: {', '.join(NAMES)}.")
    return importlib.import_module(f"segrepro.datasets.{name}")


def defaults(name: str) -> dict[str, Any]:
    """The training parameters that suit a data set. Raises InputError for an unknown name."""
    return _module(name).DEFAULTS


@functools.cache
def options(name: str) -> type[Flat]:
    """A data set's own parameters with their types and defaults, read off its `load`.

    Raises InputError for an unknown name.
    """
    own = {n: p for n, p in inspect.signature(_module(name).load).parameters.items() if n != "data_root"}
    return pydantic.create_model(name, __base__=Flat, **{n: (p.annotation, p.default) for n, p in own.items()})


def option_names() -> set[str]:
    """The own parameters of all data sets."""
    return {option for name in NAMES for option in options(name).model_fields}


def checked(name: str, own: Mapping[str, Any]) -> Flat:
    """A data set's own parameters with these values. Raises InputError listing the valid ones for an unknown name of a
    data set or parameter, and for a value out of its range.
    """
    model = options(name)
    for option in own:
        if option not in model.model_fields:
            raise InputError(
                f"{option}: data set '{name}' has no such parameter. "
                f"Its own: {', '.join(model.model_fields) or 'none'}."
            )
    return validated(model, own)


def load(name: str, data_root: str | Path | None = None, **own: Any) -> Dataset:
    """The data set `name`, read from `data_root`, with that data set's own parameters (see `options`).

    Raises InputError as `checked` does, and naming folder or file where the data at `data_root` are not what that data
    set consists of.
    """
    values = dict(checked(name, own))
    return _module(name).load(None if data_root in (None, "") else Path(data_root).expanduser(), **values)
