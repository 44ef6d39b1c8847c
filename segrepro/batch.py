"""Runs every notebook of `notebooks/`, in order.

python -m segrepro.batch reproduce --parameters notebooks/quick.yaml --output reports
    trains with the values of the parameter file and writes executed notebooks, HTML pages and an index
python -m segrepro.batch store [NAME ...]
    runs notebooks with the parameters they state and stores their outputs, as people read them on the web
"""

import argparse
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import yaml
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from segrepro import report
from segrepro.errors import InputError
from segrepro.files import ROOT, make_folder, write_atomically
from segrepro.progress import SHOW_PROGRESS

NOTEBOOKS = ROOT / "notebooks"
QUIET_KERNEL = ["--log-level=CRITICAL"]  # otherwise each kernel tells the terminal that its socket is not encrypted


def notebooks() -> list[Path]:
    """The notebooks on disk in the order of their numbers. Raises InputError when there is none."""
    found = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not found:
        raise InputError(f"no notebook in {NOTEBOOKS}: check out the whole repository")
    return found


def read_parameters(path: Path, declared: dict[str, set[str]]) -> dict[str, dict[str, Any]]:
    """What a parameter file gives each notebook: its own section over the values shared by all that declare them.

    `declared` has, for each notebook's name, the parameters it declares; papermill would only warn of an unknown one.
    Raises InputError naming the section, notebook or parameter that does not exist.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a readable YAML file ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise InputError(
            f"{path}: expected the sections 'shared' and the names of notebooks, each a mapping of parameters"
        )
    shared = content.pop("shared", {})
    if unknown := sorted(shared.keys() - set().union(*declared.values())):
        raise InputError(
            f"{path}: no notebook declares the shared parameter(s) {', '.join(unknown)}: correct or remove them"
        )
    if unknown := sorted(content.keys() - declared.keys()):
        raise InputError(f"{path}: no notebook is named {', '.join(unknown)}; there are {', '.join(declared)}")
    for name, own in content.items():
        if unknown := sorted(own.keys() - declared[name]):
            raise InputError(
                f"{path}: {name} does not declare {', '.join(unknown)}; it declares {', '.join(sorted(declared[name]))}"
            )
    return {
        name: {key: value for key, value in shared.items() if key in names} | content.get(name, {})
        for name, names in declared.items()
    }


class _Postfix(io.TextIOBase):
    """Shows what a kernel writes to stderr, its own progress bars above all, at the end of the outer bar."""

    def __init__(self, bar: tqdm):
        self.bar = bar

    def write(self, text: str) -> int:
        lines = [line for line in re.split(r"[\r\n]", text) if line.strip()]
        if lines:
            self.bar.set_postfix_str(lines[-1].strip()[:80])
        return len(text)


def _drop_progress(notebook: nbformat.NotebookNode) -> None:
    """Remove the remains of progress bars, the lines drawn over with a carriage return, from the outputs."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r"[^\n]*\r[^\n]*\n?", "", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.text.strip()]


def _run(source: Path, target: Path, parameters: dict[str, Any], bar: tqdm) -> str | None:
    """Execute one notebook through papermill. Gives the error that ended it, or None.

    papermill writes while it runs; `target` changes in one step at the end, so it never shows half a run.
    """
    error = None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".running-") as folder:
        running = Path(folder) / source.name
        try:
            papermill.execute_notebook(
                source,
                running,
                parameters,
                cwd=ROOT,
                progress_bar=False,
                stderr_file=_Postfix(bar),
                extra_arguments=QUIET_KERNEL,
            )
        except PapermillExecutionError as problem:
            error = f"{problem.ename}: {problem.evalue}"
        except DeadKernelError:
            error = "the kernel died, most often for want of memory"
        notebook = nbformat.read(running, as_version=4)
    _drop_progress(notebook)
    write_atomically(target, nbformat.writes(notebook) + "\n")
    return error


def reproduce(parameter_file: Path, output: Path) -> list[report.Page]:
    """Run all notebooks with `train=True` and the file's values; write notebooks, pages and `index.html` to `output`.

    Runs are kept in `output/runs` and found again by the next call. The index is current after every notebook. A
    notebook that fails does not stop the others; its page carries the error.
    """
    sources = notebooks()
    declared = {source.stem: set(papermill.inspect_notebook(source)) for source in sources}
    parameters = read_parameters(parameter_file, declared)
    always = {"train": True, "runs_dir": os.path.relpath(output / "runs", ROOT)}
    make_folder(output)
    report.write_mathjax(output)
    scoreboard = report.scoreboard()
    pages = [report.Page.of(source) for source in sources]
    report.write_index(pages, scoreboard, output)
    with tqdm(list(zip(sources, pages, strict=True)), unit="notebook", disable=not SHOW_PROGRESS) as bar:
        for source, page in bar:
            bar.set_description(source.stem)
            values = parameters[source.stem] | {
                name: value for name, value in always.items() if name in declared[source.stem]
            }
            start = time.monotonic()
            page.error = _run(source, output / source.name, values, bar)
            page.seconds = time.monotonic() - start
            bar.set_postfix_str("")
            bar.write(f"{source.stem}: {page.error or 'done'} ({page.seconds:.0f} s)", file=sys.stderr)
            report.write_page(page, output)
            report.write_index(pages, scoreboard, output)
    return pages


def store(names: Sequence[str] = ()) -> None:
    """Run notebooks with their own parameters on one thread and store them with their outputs, without any times.

    A notebook is replaced only after it ran to its end without an error. `names` chooses some, all by default.
    """
    os.environ.update(OMP_NUM_THREADS="1", SEGREPRO_PROGRESS="0")  # inherited by the kernels
    known = {source.stem: source for source in notebooks()}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no notebook is named {', '.join(unknown)}; there are {', '.join(known)}")
    for name in tqdm(names or list(known), unit="notebook", disable=not SHOW_PROGRESS):
        notebook = nbformat.read(known[name], as_version=4)
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            extra_arguments=QUIET_KERNEL,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise InputError(f"{known[name]} was not stored, because a cell failed:\n{error}") from error
        notebook.metadata = nbformat.from_dict(
            {
                "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            }
        )
        for cell in notebook.cells:
            cell.metadata = nbformat.from_dict({key: value for key, value in cell.metadata.items() if key == "tags"})
        write_atomically(known[name], nbformat.writes(notebook) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segrepro.batch", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("reproduce", help="train with small values and write a report")
    training.add_argument("--parameters", type=Path, default=NOTEBOOKS / "quick.yaml", help="YAML file of values")
    training.add_argument("--output", type=Path, default=ROOT / "reports", help="folder of the report")
    storing = commands.add_parser("store", help="run notebooks as they are and store their outputs")
    storing.add_argument("names", nargs="*", help="names without .ipynb; all when none is given")
    options = parser.parse_args()
    try:
        if options.command == "store":
            store(options.names)
            return 0
        pages = reproduce(options.parameters, options.output)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Finished runs are kept: repeat the command to go on from there.", file=sys.stderr)
        return 130
    print(f"Open {options.output / 'index.html'}")
    return 1 if any(page.error for page in pages) else 0


if __name__ == "__main__":
    sys.exit(main())
