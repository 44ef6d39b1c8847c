"""Records of finished runs: one format for the working folder `runs_dir` and for the committed `data/results`.

A run is a folder named by its key. `record.json` holds everything a person or a table wants; `arrays.safetensors` small
arrays that analyses need (classifier weights, erasure counts, example predictions). The network lies beside them in
`runs_dir` only. A run is finished when its `record.json` exists: it is moved into place last.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import safetensors
import safetensors.numpy

from segrepro.errors import InputError
from segrepro.files import RESULTS, write_atomically

RECORD, ARRAYS, NETWORK = "record.json", "arrays.safetensors", "network.safetensors"


class Record(pydantic.BaseModel):
    """What is known of a finished run, without its arrays. Frozen facts, written once."""

    model_config = pydantic.ConfigDict(extra="forbid")

    key: str
    parameters: dict[str, Any]  # all that decide the result, None replaced by the data set's defaults
    seed: int
    data_fingerprint: str
    results_versions: dict[str, int]  # of the loop and of each method
    source_hash: str
    commit: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    seconds: float
    class_names: list[str]
    class_colours: list[tuple[int, int, int]]
    background_classes: list[str]
    rare_classes: list[str]
    pixel_counts: list[int]  # of the training split
    image_counts: list[int]
    history: list[dict[str, float]]  # iteration, learning_rate, loss and each of its terms
    group_names: list[str] = []  # values of the bias attribute, where the data set knows one
    aligned: list[list[bool]] = []  # C x G, see datasets.base.Groups
    evaluations: dict[str, dict[str, list]]  # name -> {"matrix": C x C} or, above 300 classes, {"tp", "fp", "fn"};
    # with a bias attribute also {"by_group": G x C x C}
    curve: list[dict[str, Any]] = []  # iteration, tp, fp, fn of the evaluations during training; with a bias attribute
    # also, for each head, "hits" G x C and the mean losses of watched training samples, "aligned" and "conflicting"
    notes: list[str] = []


class Run:
    """A record with its arrays. Scores, figures and verdicts are functions of runs."""

    def __init__(self, folder: Path, record: Record):
        self.folder, self.record = folder, record

    def __repr__(self) -> str:
        return f"Run({self.record.key})"

    def counts(self, evaluation: str = "val") -> np.ndarray:
        """Confusion counts (C, C) int64, rows the label, columns the prediction, summed over the evaluation set."""
        stored = self.record.evaluations[evaluation]
        if "matrix" not in stored:
            raise InputError(
                f"{self.folder}: evaluation '{evaluation}' keeps TP, FP and FN only (more than 300 classes), no matrix"
            )
        return np.asarray(stored["matrix"], dtype=np.int64)

    def group_counts(self, evaluation: str = "val") -> np.ndarray:
        """The same by value of the bias attribute (G, C, C). Raises InputError if the data set knows none."""
        stored = self.record.evaluations[evaluation]
        if "by_group" not in stored:
            raise InputError(f"{self.folder}: data set {self.record.parameters['dataset']} has no bias attribute")
        return np.asarray(stored["by_group"], dtype=np.int64)

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Small arrays by name, e.g. `classifier_weight` (C, K). Empty when nothing was stored."""
        path = self.folder / ARRAYS
        if not path.exists():
            return {}
        try:
            return safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            raise InputError(f"{path} is damaged ({error}). Delete {self.folder} and train this run again.") from error

    @property
    def network_path(self) -> Path:
        return self.folder / NETWORK

    def add_arrays(self, **arrays: np.ndarray) -> None:
        """Add what a later analysis measured; the record itself stays as it was."""
        self.__dict__.pop("arrays", None)  # another process may have added some meanwhile
        merged = {**self.arrays, **{name: np.ascontiguousarray(value) for name, value in arrays.items()}}
        write_atomically(self.folder / ARRAYS, safetensors.numpy.save(merged))
        self.__dict__.pop("arrays", None)


def key_of(facts: Mapping[str, Any], *, label: str) -> str:
    """Name of the run that these facts decide: a readable label and 12 hex digits of their hash."""
    text = json.dumps(facts, sort_keys=True, default=list)
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def save(folder: Path, record: Record, arrays: Mapping[str, np.ndarray]) -> Run:
    """Write a finished run; the record comes last, so an interrupted save leaves no finished run."""
    if arrays:
        write_atomically(
            folder / ARRAYS, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
        )
    lines = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in record.model_dump(mode="json").items()]
    write_atomically(folder / RECORD, "{" + ",\n".join(lines) + "}\n")
    return Run(folder, record)


def load(folder: Path) -> Run:
    """The finished run in `folder`. Raises InputError naming the file if it is damaged."""
    path = folder / RECORD
    try:
        return Run(folder, Record.model_validate_json(path.read_bytes()))
    except (pydantic.ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{path} is damaged or of another format ({first}). Delete {folder} and train this run again."
        ) from error


def find(key: str, runs_dir: Path) -> Run | None:
    """The finished run of that key in the working folder or among the committed records."""
    for store in (Path(runs_dir), RESULTS):
        if (store / key / RECORD).exists():
            return load(store / key)
    return None


def all_runs(*stores: Path) -> Iterator[Run]:
    """Every finished run in the stores, in order of key; a run found twice is given once."""
    seen = set()
    for store in stores or (RESULTS,):
        for path in sorted(Path(store).glob(f"*/{RECORD}")):
            if path.parent.name not in seen:
                seen.add(path.parent.name)
                yield load(path.parent)


def paired(runs: Iterable[Run], others: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Each run with the other one of the same seed, where there is one, in order of seed."""
    first, second = ({run.record.seed: run for run in found} for found in (runs, others))
    return [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]


def publish(run: Run, store: Path = RESULTS) -> None:
    """Copy a run without its network to the committed records; the record comes last."""
    for name in (ARRAYS, RECORD):
        if (run.folder / name).exists() and run.folder != store / run.record.key:
            write_atomically(store / run.record.key / name, (run.folder / name).read_bytes())
