"""Every notebook on disk is thin, stored from one clean run, and covered by nbval."""

import ast
import re
import subprocess
import sys

import nbformat
import papermill
import pytest

from segrepro.batch import NOTEBOOKS, read_parameters
from segrepro.experiment import parameter_names
from segrepro.files import ROOT

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
MAXIMUM_LINES = 15

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture(name="notebook")
def read_notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert PATHS


@each_notebook
def test_is_named_by_number_and_topic(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    assert [other.stem[:2] for other in PATHS].count(path.stem[:2]) == 1


@each_notebook
def test_is_valid(path, notebook):
    nbformat.validate(notebook)


@each_notebook
def test_is_stored_executed_once_from_top_to_bottom(path, notebook):
    cells = code_cells(notebook)
    assert all(cell.source.strip() for cell in cells), "an empty cell"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@each_notebook
def test_is_stored_with_results_and_without_errors_or_stderr(path, notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@each_notebook
def test_is_stored_without_times(path, notebook):
    assert "papermill" not in notebook.metadata
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, "run `make notebooks`, which stores none"


@each_notebook
def test_has_one_cell_of_parameters_all_annotated_literals(path, notebook):
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.AnnAssign), f"not annotated: {ast.unparse(statement)}"
        ast.literal_eval(statement.value)


@each_notebook
def test_documents_its_parameters_for_papermill(path, notebook):
    """papermill leaves out a parameter without a word if its line has a second equals sign, in the comment say."""
    parameters = papermill.inspect_notebook(path)
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert list(parameters) == [statement.target.id for statement in ast.parse(cell.source).body]
    assert not [name for name, facts in parameters.items() if not facts["help"]], "a parameter without a comment"


@each_notebook
def test_cells_are_short_and_define_nothing(path, notebook):
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        if "parameters" not in cell.metadata.get("tags", []):
            assert len(lines) <= MAXIMUM_LINES, cell.source
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, kinds)], cell.source


@each_notebook
def test_no_variable_has_a_parameters_name(path, notebook):
    """When the notebook's cells are run again, `Experiment(globals())` would take it for that parameter."""
    cells = [cell for cell in code_cells(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    stored = {node.id for cell in cells for node in _outside_comprehensions(ast.parse(cell.source))}
    assert not stored & parameter_names()


def _outside_comprehensions(tree):
    """Names that are assigned in a module, other than by comprehensions, which have scopes of their own."""
    within = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node
        if not isinstance(node, within):
            yield from _outside_comprehensions(node)


@each_notebook
def test_names_no_folder_of_one_machine(path):
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text())
    assert not re.findall(r"/(?:home|root|tmp|Users|work)/\w*", text)


def test_nbval_collects_every_notebook_on_disk():
    """With the options that `make test` gives it."""
    plan = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (options,) = re.findall(r"-m pytest (.*--nbval.*)", plan)
    command = [sys.executable, "-m", "pytest", *options.split(), "--collect-only", "-q"]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^notebooks/(\w+\.ipynb)::", collected, re.M)) == {path.name for path in PATHS}


def test_the_quick_values_are_for_parameters_that_exist():
    declared = {path.stem: set(papermill.inspect_notebook(path)) for path in PATHS}
    assert set(read_parameters(NOTEBOOKS / "quick.yaml", declared)) == set(declared)
