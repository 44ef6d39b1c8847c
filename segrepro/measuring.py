"""What is measured of trained networks after their training, when a claim or a notebook asks for it.

Each function adds arrays to the records of runs that lack them. It needs their networks, so of runs of which only the
record is there it says that they have none.
"""

from collections.abc import Mapping, Sequence

from segrepro import evaluation, grad_cam
from segrepro.analysis import activation
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.processes import is_main
from segrepro.runs import Run

EMBEDDED = 2  # of the examples that a record keeps, those whose pixel embeddings can be added
# By the name of the record's array: functions of a learner, the validation split and, by keyword, the device, that give
# the array, or several by name.
MEASUREMENTS = {
    "erasure": evaluation.erasure_counts,
    "erasure/counterfactual": evaluation.counterfactual_counts,
    "activation": grad_cam.activations,
}


def measure(experiment: Experiment, array: str, runs: Sequence[Run]) -> None:
    """Add one of MEASUREMENTS to each run that lacks it.

    Raises InputError for another name, or if the data cannot give it.
    """
    if array not in MEASUREMENTS:
        raise InputError(f"no measurement '{array}'; there are {', '.join(MEASUREMENTS)}")
    for run in _with_network(experiment, [run for run in runs if array not in run.arrays], array):
        values = MEASUREMENTS[array](experiment.learner(run), experiment.dataset.val, device=experiment.device)
        if is_main():
            run.add_arrays(**values if isinstance(values, Mapping) else {array: values})


def measure_activation_maps(experiment: Experiment, runs: Sequence[Run], pairs: Sequence[activation.Pair]) -> None:
    """Add the class-activation maps of further pairs of classes than those of Figure 4 of DropClass, which `measure`
    adds, to each run whose network lies in `runs_dir`.
    """
    runs, val = [run for run in runs if run.network_path.exists()], experiment.dataset.val
    wanted = activation.telling_images(val, pairs) if runs else {}
    for run in runs:
        kept = activation.stored_maps(run.arrays)
        missing = {pair: index for pair, index in wanted.items()
                   if not {(index, c) for c in experiment.dataset.classes.indices(pair)} <= {*kept}}  # fmt: skip
        if missing:
            maps = grad_cam.activation_maps(experiment.learner(run), val, missing, device=experiment.device)
            if is_main():
                run.add_arrays(**maps)


def measure_embeddings(experiment: Experiment, runs: Sequence[Run]) -> None:
    """Add the pixel embeddings of the first of a run's examples (ESSNet Figures 10, 11)."""
    lacking = [run for run in runs if not evaluation.stored_embeddings(run.arrays)]
    for run in _with_network(experiment, lacking, "pixel embeddings"):
        learner = experiment.learner(run)
        if not hasattr(learner.network.classifier, "pixel_embeddings"):
            print(f"{run.record.key}: its method has no pixel embeddings. Use essnet.")
            continue
        indices = sorted(evaluation.stored_examples(run.arrays))[:EMBEDDED]
        arrays = evaluation.example_embeddings(learner, experiment.dataset.val, indices, device=experiment.device)
        if is_main():
            run.add_arrays(**arrays)


def _with_network(experiment: Experiment, runs: Sequence[Run], what: str) -> list[Run]:
    """The runs whose network lies in `runs_dir`; of the others it is said that `what` cannot be measured."""
    for run in (run for run in runs if not run.network_path.exists()):
        print(
            f"{run.record.key}: there is no network to measure {what} on, only the record. "
            f"`Experiment.train` trains it again, into {experiment.setup.runs_dir}."
        )
    return [run for run in runs if run.network_path.exists()]
