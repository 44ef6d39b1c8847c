"""Train what the ledger wants recorded, in the background, over days if need be:  python -m segrepro.records --help

Every (configuration, seed) that the claims on a data set need is trained in `runs_dir` and copied, without its network,
to `data/results`. Finished runs are skipped and interrupted ones go on, so repeating the command is harmless.
"""

import argparse
import os
import subprocess
import sys

from segrepro import ledger, measuring, runs
from segrepro.errors import BusyError, InputError, explained
from segrepro.experiment import Experiment
from segrepro.measuring import MEASUREMENTS
from segrepro.processes import is_main, leave_group

# One thread each. And glibc is to keep freed memory: activations above 32 MB would go back to the system at every step,
# and having their pages mapped anew takes a third of a step of EfficientNet-Lite0 on 32 images of 224 x 224 pixels.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m segrepro.records", description=__doc__.split("\n\n")[1])
    parser.add_argument("--dataset", default="synthetic", help="data set to record on (default: synthetic)")
    parser.add_argument("--data-root", help="where the data lie, for data sets in files")
    parser.add_argument("--only", nargs="+", metavar="CONFIGURATION", help="these configurations only")
    parser.add_argument("--seeds", help="these seeds only, e.g. 0,1,2 (default: what the claims need)")
    parser.add_argument(
        "--runs-dir", default="runs", help="working folder with networks and checkpoints (default: runs)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, on the CPU with one thread each")
    options = parser.parse_args()
    options.only = [name for text in options.only or () for name in text.split(",") if name]
    try:
        with explained():
            for name in options.only:  # before anything is started
                ledger.configuration(name)
            if options.jobs > 1:
                _run_side_by_side(options)
            else:
                record(options)
                leave_group()
    except KeyboardInterrupt:
        sys.exit("Interrupted; the same command goes on from here.")


def record(options: argparse.Namespace) -> None:
    """Train and publish what is missing, seed by seed, so that early verdicts rest on complete pairs.

    A finished run that lacks an array is not trained again: the array is measured where its network lies in `runs_dir`,
    and where it does not, that is said. Until a run is published, no other process takes it up.
    """
    if not (options.only or ledger.configurations_needed(options.dataset)):
        planned = dict.fromkeys(recording.dataset for recording in ledger.load().records)
        raise InputError(
            f"the ledger plans no records on {options.dataset}, only on {', '.join(planned)}. "
            "Say with --only what to train."
        )
    experiment = Experiment({"dataset": options.dataset, "data_root": options.data_root, "seeds": options.seeds,
                             "runs_dir": options.runs_dir, "device": options.device})  # fmt: skip
    names = options.only or ledger.configurations_needed(options.dataset)
    wanted = sorted(((seed, name) for name in names for seed in experiment.seeds(name)), key=lambda job: job[0])
    unmeasured = 0
    for number, (seed, name) in enumerate(wanted, 1):
        arrays = arrays_needed(experiment, name)
        published = runs.find(experiment.key(name, seed), runs.RESULTS)
        if published is not None and all(array in published.arrays for array in arrays):
            continue
        print(f"[{number}/{len(wanted)}] {options.dataset}: {name}, seed {seed}", flush=True)
        where = experiment.variant(name)
        try:
            with where.folder_of(name.partition("@")[0], seed) as folder:
                only_published = published is not None and not (folder / runs.RECORD).exists()
                run = published if only_published else experiment.train(name, seed)
                for array in arrays:
                    measuring.measure(where, array, [run])
                if is_main():
                    unmeasured += sum(array not in run.arrays for array in arrays)
                    runs.publish(run)
        except BusyError:
            continue  # the other process publishes it
    but = f", but for {unmeasured} arrays that want the network, as said above" if unmeasured else ""
    print(f"{options.dataset}: all that was wanted is recorded, or being recorded by another process{but}", flush=True)


def arrays_needed(experiment: Experiment, configuration: str) -> list[str]:
    """What is measured after training: the arrays that claims on this data set read of the configuration; and where
    classes are erased, also the true counterfactual, if the data can be drawn without a class.
    """
    dataset = experiment.setup.dataset
    needed = {array for array in MEASUREMENTS if configuration in ledger.configurations_needed(dataset, array=array)}
    if "erasure" in needed and hasattr(experiment.dataset.val, "without"):
        needed.add("erasure/counterfactual")
    return sorted(needed)


def _run_side_by_side(options: argparse.Namespace) -> None:
    """The same command `jobs` times, one thread each; the locks of the run folders share out the work."""
    command = [sys.executable, "-m", "segrepro.records", "--jobs", "1"]
    for name in ("dataset", "data_root", "seeds", "runs_dir", "device"):
        if getattr(options, name) is not None:
            command += [f"--{name.replace('_', '-')}", getattr(options, name)]
    command += ["--only", *options.only] if options.only else []
    workers = [subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}) for _ in range(options.jobs)]
    failed = sum(worker.wait() != 0 for worker in workers)
    if failed:
        sys.exit(f"{failed} of {options.jobs} recording processes failed; their messages are above.")


if __name__ == "__main__":
    main()
