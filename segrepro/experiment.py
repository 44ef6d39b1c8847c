"""Parameters -> finished, recorded runs, each found again if it was done before.

experiment = Experiment(globals())            the first call of a notebook: checks every parameter
runs = experiment.runs("dropclass")           one `Run` a seed: found, trained (train=True), or reported as missing
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import safetensors.torch
import torch

from segrepro import datasets, evaluation, ledger, metrics, models, provenance, registry, training
from segrepro import runs as store
from segrepro.datasets.base import Split
from segrepro.datasets.batches import in_memory
from segrepro.datasets.statistics import Statistics, class_statistics
from segrepro.errors import BusyError, InputError
from segrepro.files import make_folder, writing
from segrepro.following import Follower
from segrepro.methods import Learner, owner
from segrepro.parameters import Setup, Training, check_names, find_device, literals, validated
from segrepro.processes import is_main, wait_for_all

ARRAY_LIMIT = 100_000  # bytes; a larger classifier or map is not kept in a record
EXAMPLES = 12  # predictions of validation samples kept for pictures
MAPPED = 4  # of them, those of which maps are kept too


class Experiment:
    """Everything that notebook parameters decide: the data, how to train, where runs lie.

    values: a notebook's `globals()`, or any mapping of parameters. Raises InputError for unknown names and wrong
    values, listing the valid ones. (When a notebook's cells are run again, a new name that is none of the valid ones
    is taken for a variable.)
    """

    def __init__(self, values: Mapping[str, Any]):
        parameters = literals(values)
        own, options = registry.parameter_names(), datasets.option_names()
        valid = parameter_names()
        # A notebook: when its cells are run again there are other variables beside the parameters.
        if "__name__" in values:
            first = values.setdefault("_segrepro_parameters", set(parameters))
            parameters = {name: value for name, value in parameters.items() if name in first | valid}
        check_names(parameters, valid)
        self._given = given = {name: value for name, value in parameters.items() if value is not None}
        self._variants: dict[str, Experiment] = {}
        self.setup: Setup = validated(Setup, {k: v for k, v in given.items() if k in Setup.model_fields})
        self.own = {k: v for k, v in given.items() if k in own}
        self._options = {k: v for k, v in given.items() if k in options}
        datasets.checked(self.setup.dataset, self._options)
        self._training = {k: v for k, v in given.items() if k in Training.model_fields}
        self.device = find_device(self.setup.device)
        for name in self.setup.methods or ():  # what is wrong is an error now, not when the first run starts
            ledger.configuration(name)
        for name in registry.METHODS:
            registry.own_parameters([name], self.own)
        with torch.device("meta"):  # neither memory nor weights: only whether there is such a network
            network = models.build(self.training.architecture, self.training.encoder, 1, size=(32, 32),
                                   output_stride=self.training.output_stride, pretrained=False)  # fmt: skip
        evaluation.check_inference(self.training.inference, self.training.crop_size, pools=network.pools)

    def __repr__(self) -> str:
        return f"Experiment({self.setup.dataset}, {self.training.architecture}/{self.training.encoder})"

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The data set, opened when first needed."""
        return datasets.load(self.setup.dataset, self.setup.data_root, **self._options)

    @cached_property
    def _splits(self) -> tuple[Split, Split]:
        """Train and val, decoded in memory where they fit, so that no run waits for files."""
        return in_memory(self.dataset.train), in_memory(self.dataset.val)

    @cached_property
    def _fingerprint(self) -> str:
        return f"{self.dataset.train.fingerprint}/{self.dataset.val.fingerprint}"

    @cached_property
    def training(self) -> Training:
        """How to train: what the notebook says, else what suits the data set."""
        return validated(Training, {**datasets.defaults(self.setup.dataset), **self._training})

    @cached_property
    def statistics(self) -> Statistics:
        """Class statistics of the training split, cached beside the runs."""
        return class_statistics(self.dataset.train, self.setup.runs_dir / "statistics")

    def seeds(self, configuration: str) -> list[int]:
        """The seeds to train: the notebook's, else those that the claims on this data set need of a configuration."""
        needed = ledger.configurations_needed(self.setup.dataset)
        return self.setup.seeds or list(range(needed.get(configuration, max(needed.values(), default=1))))

    def facts(self, configuration: str, seed: int, *, for_key: bool = False) -> dict[str, Any]:
        """What decides a run's result. For the key, parameters at the code's own defaults are left out, so that a
        parameter added later leaves the keys of finished runs as they are.
        """
        if "@" in configuration:
            return self.variant(configuration).facts(configuration.partition("@")[0], seed, for_key=for_key)
        names, own = self._methods(configuration)
        fingerprint = self._fingerprint
        options = datasets.checked(self.setup.dataset, self._options)
        parameters = {"dataset": self.setup.dataset, **options.model_dump(mode="json", exclude_defaults=True)}
        parameters["methods"] = names
        for values in (*own.values(), self.training):
            parameters |= values.model_dump(mode="json", exclude_defaults=for_key)
        return {
            "parameters": parameters,
            "seed": seed,
            "data_fingerprint": fingerprint,
            "results_versions": {"loop": training.VERSION, **{name: registry.METHODS[name].version for name in names}},
        }

    def key(self, configuration: str, seed: int) -> str:
        """Name of the run's folder."""
        facts = self.facts(configuration, seed, for_key=True)
        return store.key_of(facts, label=f"{self.setup.dataset}-{'+'.join(facts['parameters']['methods'])}-seed{seed}")

    def runs(self, configuration: str, *, train: bool | None = None) -> list[store.Run]:
        """The runs of a named configuration (see the ledger, `data/papers/claims.yaml`), one a seed, in order of seed.

        A missing run is trained if `train` says so (default: the notebook's `train`, for the configurations in
        `methods`); otherwise the command that would train it is printed.
        """
        name = configuration.partition("@")[0]
        wanted = self.setup.methods is None or not {name, configuration}.isdisjoint(self.setup.methods)
        train = (self.setup.train and wanted) if train is None else train
        found, missing = [], []
        for seed in self.seeds(configuration):
            run = store.find(self.key(configuration, seed), self.setup.runs_dir)
            if run is None and train:
                run = self.train(configuration, seed)
            (missing if run is None else found).append(seed if run is None else run)
        if missing:
            print(self._how_to_record(configuration, missing))
        return found

    def needed_runs(self, *configurations: str) -> dict[str, list[store.Run]]:
        """`runs` of configurations without which there is nothing to show. Raises InputError if one has none."""
        found = {name: self.runs(name) for name in configurations}
        if missing := [name for name, those in found.items() if not those]:
            raise InputError(f"no runs of {' and '.join(missing)} with these parameters. {self._how_to_train()}.")
        return found

    def train(self, configuration: str, seed: int) -> store.Run:
        """Train one run now, or go on where it was interrupted, and record it; not if `runs_dir` already has it.

        Raises BusyError if another process is training the same run.
        """
        if "@" in configuration:
            return self.variant(configuration).train(configuration.partition("@")[0], seed)
        with self.folder_of(configuration, seed) as folder:
            if (folder / store.RECORD).exists():
                return store.load(folder)
            return self._train(self.facts(configuration, seed), folder)

    @contextlib.contextmanager
    def folder_of(self, configuration: str, seed: int) -> Iterator[Path]:
        """The folder of a run in `runs_dir`, which meanwhile no other process may train or measure.

        Of several processes that train one run together, the first holds it. Raises BusyError if another one does.
        """
        folder = make_folder(self.setup.runs_dir / self.key(configuration, seed))
        lock = filelock.FileLock(folder / "lock", timeout=0, is_singleton=True)  # may be taken again where it is held
        try:
            with lock if is_main() else contextlib.nullcontext():
                yield folder
        except filelock.Timeout:
            raise BusyError(f"{folder} is being trained by another process. Wait for it, or stop it.") from None

    def learner(self, run: store.Run) -> Learner:
        """The trained network of a run that lies in `runs_dir`. Raises InputError if only its record is there, or if it
        was trained on other data or as another network than this experiment's.
        """
        if not run.network_path.exists():
            raise InputError(
                f"{run.network_path} is not there: records are kept without networks. "
                f"`Experiment.train` trains this run again, into {self.setup.runs_dir}."
            )
        self._require_same_setting(run)
        learner = self._new_learner(run.record.parameters["methods"], run.record.parameters, run.record.seed)
        try:
            safetensors.torch.load_model(learner, run.network_path)
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise InputError(
                f"{run.network_path} is damaged ({type(error).__name__}). Delete {run.folder} and train this run again."
            ) from error
        return learner.to(self.device)

    def _require_same_setting(self, run: store.Run) -> None:
        """Raises InputError if a run's data or network are not this experiment's."""
        usual = Training().model_dump()  # records older than a parameter had its default
        pairs = {"data": (run.record.data_fingerprint, self._fingerprint)} | {
            name: (run.record.parameters.get(name, usual[name]), getattr(self.training, name))
            for name in ("architecture", "encoder", "output_stride", "input_divisor")
        }
        differ = [f"{name} ({there}, here {here})" for name, (there, here) in pairs.items() if there != here]
        if differ:
            raise InputError(
                f"{run.folder} was trained with another {', '.join(differ)}. Make an Experiment with its parameters."
            )

    def examples(self, found: Mapping[str, store.Run], indices: Sequence[int] | None = None) -> dict[str, list]:
        """Columns of a picture, one array an example: "image" (H, W, 3) uint8, "ground truth" (H, W), and each named
        run's predictions (H, W). Examples may differ in size.

        indices: of validation samples that the records keep; the first four by default.
        """
        if not found:
            raise InputError("there is no run whose predictions could be shown: train one with train=True")
        kept = {name: evaluation.stored_examples(run.arrays) for name, run in found.items()}
        shared = sorted(set.intersection(*(set(predictions) for predictions in kept.values())))
        indices = shared[:4] if indices is None else indices
        samples = [self.dataset.val[i] for i in indices]
        columns = {
            "image": [image for image, _ in samples],
            "ground truth": [labels for _, labels in samples],
        }
        return columns | {name: [predictions[i] for i in indices] for name, predictions in kept.items()}

    def variant(self, configuration: str) -> "Experiment":
        """The same in the setting that stands behind the name of a configuration (see the ledger), if any does."""
        setting = configuration.partition("@")[2]
        if not setting:
            return self
        if setting not in self._variants:
            self._variants[setting] = Experiment({**self._given, **ledger.configuration(configuration).setting})
        return self._variants[setting]

    def _methods(self, configuration: str) -> tuple[list[str], dict]:
        """Names and own parameters of a configuration; the notebook's values fill what the configuration
        leaves open.
        """
        chosen = ledger.configuration(configuration)
        fixed = chosen.fixed(self.training.optimiser)
        return chosen.methods, registry.own_parameters(chosen.methods, {**self.own, **fixed})

    def _new_learner(self, names: list[str], own: Mapping[str, Any], seed: int) -> Learner:
        torch.manual_seed(seed)
        network = models.build(
            self.training.architecture,
            self.training.encoder,
            len(self.dataset.classes),
            output_stride=self.training.output_stride,
            pretrained=self.training.pretrained,
            size=self.dataset.train[0][0].shape[:2],
            input_divisor=self.training.input_divisor,
        )
        return registry.build_learner(
            network, self.dataset.classes, self.statistics, registry.own_parameters(names, own)
        )

    def _train(self, facts: dict, folder: Path) -> store.Run:
        key, seed, names = folder.name, facts["seed"], facts["parameters"]["methods"]
        source_hash, commit = provenance.source_hash(), provenance.commit()  # now, should the code change meanwhile
        train, val = self._splits
        groups = self.statistics.groups
        learner = self._new_learner(names, facts["parameters"], seed)
        repeats = owner(list(learner.methods), "repeats").repeats(self.statistics.presence)
        accelerator = training.make_accelerator(self.device, self.training.precision)
        how = {"inference": self.training.inference, "crop_size": self.training.crop_size}

        def evaluate(learner: Learner, head: str | None = None) -> np.ndarray | metrics.Tallies:
            return evaluation.confusion_counts(learner, val, device=accelerator.device, head=head, **how)

        # Where a bias is known its development is of interest, from before the first step on.
        follower = Follower(train, val, accelerator.device) if train.groups is not None else None
        first = [{"iteration": 0, **follower.point(learner.to(accelerator.device))}] if follower else []

        def follow(learner: Learner) -> dict[str, Any]:
            return follower.point(learner) if follower else _tallies(evaluate(learner))

        workers = self.setup.workers
        if workers is None:  # a CPU that trains has no time to spare; a GPU must not wait for data
            workers = 0 if self.device.type == "cpu" else min(8, os.cpu_count() or 1)
        history, curve, seconds = training.train(
            learner, train, self.training, seed=seed, folder=folder, accelerator=accelerator, repeats=repeats,
            workers=workers, evaluate=follow, description=key)  # fmt: skip
        trained = time.monotonic()
        evaluations = {"val": evaluate(learner)} | {f"val/{head}": evaluate(learner, head) for head in learner.heads}
        arrays = follower.arrays(learner) if follower else {}
        if not learner.network.pools:
            indices = sorted({round(i) for i in np.linspace(0, len(val) - 1, EXAMPLES)})
            arrays |= evaluation.example_predictions(learner, val, indices, device=accelerator.device)
            maps = evaluation.example_maps(learner, val, indices[:MAPPED], device=accelerator.device)
            arrays |= {name: values for name, values in maps.items() if values.nbytes <= ARRAY_LIMIT}
        arrays |= evaluation.measurements(learner, val, device=accelerator.device)
        weight = learner.network.classifier.weight.detach()[:, :, 0, 0].float().cpu().numpy()
        if weight.nbytes <= ARRAY_LIMIT:
            arrays["classifier_weight"] = weight
        record = store.Record(
            key=key,
            **facts,
            source_hash=source_hash,
            commit=commit,
            versions=provenance.versions(),
            hardware=provenance.hardware(accelerator.device),
            seconds=round(seconds + time.monotonic() - trained, 1),
            class_names=list(self.dataset.classes.names),
            class_colours=list(self.dataset.classes.colours),
            background_classes=list(self.dataset.classes.background),
            rare_classes=list(self.dataset.classes.rare),
            pixel_counts=self.statistics.pixel_counts.tolist(),
            image_counts=self.statistics.image_counts.tolist(),
            group_names=list(groups.names) if groups else [],
            aligned=groups.aligned.tolist() if groups else [],
            history=history,
            curve=first + curve,
            evaluations={name: _stored(counts) for name, counts in evaluations.items()},
        )
        if is_main():
            with writing(folder / store.NETWORK):
                safetensors.torch.save_model(learner, folder / store.NETWORK)
            store.save(folder, record, arrays)
            (folder / training.CHECKPOINT).unlink(missing_ok=True)
        wait_for_all()
        return store.load(folder)

    def _how_to_train(self) -> str:
        """What trains a configuration that was not trained."""
        return "Add it to methods: train=True trains only those" if self.setup.train else "Run with train=True"

    def _how_to_record(self, configuration: str, missing: list[int]) -> str:
        """One line: what is not recorded, the command that records it, and about how long that takes."""
        root = f" --data-root {self.setup.data_root}" if self.setup.data_root else ""
        similar = [
            run.record.seconds / run.record.parameters["iterations"]
            for run in store.all_runs(store.RESULTS)
            if run.record.parameters["dataset"] == self.setup.dataset
        ]
        steps = self.variant(configuration).training.iterations * len(missing)
        minutes = max(1, round(np.median(similar) * steps / 60)) if similar else 0
        estimate = f", about {minutes} minute{'s' * (minutes > 1)}" if similar else ""
        text = (
            f"Not recorded with these parameters: {configuration}, seeds {', '.join(map(str, missing))}. "
            f"{self._how_to_train()}"
        )
        usual = self.training == validated(Training, datasets.defaults(self.setup.dataset))
        wanted = ledger.configurations_needed(self.setup.dataset)  # of no data set of one's own
        if wanted and usual and not (self.own or self._options):  # else the command would record something else
            seeds = f" --seeds {','.join(map(str, missing))}" if self.setup.seeds else ""
            where = f"--dataset {self.setup.dataset}{root}"
            text += f", or .venv/bin/python -m segrepro.records {where} --only {configuration}{seeds}"
        return f"{text}{estimate}."


def parameter_names() -> set[str]:
    """Every parameter that there is: of the set-up, the training, the methods and the data sets."""
    return {*Setup.model_fields, *Training.model_fields} | registry.parameter_names() | datasets.option_names()


def _stored(counts: np.ndarray | metrics.Tallies) -> dict[str, list]:
    """Counts (C, C) or (G, C, C), or TP, FP and FN, as a record keeps them."""
    if isinstance(counts, metrics.Tallies):
        return _tallies(counts)
    if counts.ndim == 3:
        return {"matrix": counts.sum(0).tolist(), "by_group": counts.tolist()}
    return {"matrix": counts.tolist()}


def _tallies(counts: np.ndarray | metrics.Tallies) -> dict[str, list]:
    return {name: values.tolist() for name, values in metrics.tp_fp_fn(counts)._asdict().items()}
