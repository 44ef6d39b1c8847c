"""Runs made up for tests: a record with the few facts that scores, verdicts and figures read; what figures say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from segrepro import datasets, registry, runs

NAMES = ("road", "car", "train")


def make_run(
    folder: Path,
    *,
    methods: Sequence[str] = ("plain",),
    seed: int = 0,
    ious: Sequence[float] | None = None,
    matrix: np.ndarray | None = None,
    names: Sequence[str] = NAMES,
    rare: Sequence[str] = NAMES[1:],
    dataset: str = "synthetic",
    arrays: Mapping[str, np.ndarray] | None = None,
    pixel_counts: Sequence[int] | None = None,
    curve: Sequence[dict] = (),
    history: Sequence[dict] = (),
    iterations: int | None = None,
    **own,
) -> runs.Run:
    """A finished run on disk.

    ious: each class's IoU, to a millionth (0.5 if not given); or the confusion matrix. iterations: as is usual on the
    data set if not given. own: overrides parameters of the methods, which are otherwise at their defaults.
    """
    values = {k: v for m in registry.own_parameters(methods, own).values() for k, v in m.model_dump().items()}
    usual = datasets.defaults(dataset) | ({"iterations": iterations} if iterations else {})
    parameters = {"dataset": dataset, "methods": list(methods), **usual, **values}
    facts = {"parameters": parameters, "seed": seed, "data_fingerprint": f"{dataset} v1"}
    key = runs.key_of(facts, label=f"{dataset}-{'+'.join(methods)}-seed{seed}")
    hits = [round(10**6 * value) for value in (ious or [0.5] * len(names))]
    tallies = {"tp": hits, "fp": [0] * len(names), "fn": [10**6 - value for value in hits]}
    pixel_counts = pixel_counts or [10 ** (len(names) - c) for c in range(len(names))]
    record = runs.Record(
        key=key, **facts, results_versions={"loop": 1, **dict.fromkeys(methods, 1)}, source_hash="", commit="",
        versions={}, hardware={}, seconds=60.0, class_names=list(names), class_colours=[(40 * c % 256, 90, 120) for c
        in range(len(names))], background_classes=[names[0]], rare_classes=list(rare),
        pixel_counts=list(pixel_counts), image_counts=[10] * len(names), history=list(history), curve=list(curve),
        evaluations={"val": tallies if matrix is None else {"matrix": np.asarray(matrix).tolist()}},
    )  # fmt: skip
    return runs.save(folder / key, record, arrays or {})


def texts(figure: Figure) -> set[str]:
    """Everything that is written in a figure."""
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()}
