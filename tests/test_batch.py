"""Running notebooks into a report, and storing them."""

import os
import sys

import nbformat
import pytest

from segrepro import batch, report
from segrepro.errors import InputError

PICTURE = "import matplotlib.pyplot as plt\nplt.plot([count])\nplt.show()"
PROGRESS = "import sys\n_ = sys.stderr.write('\\r 50%\\r100%\\nwarning\\n')"


def write_notebook(path, *cells, title="A title"):
    new = nbformat.v4
    parameters = new.new_code_cell(
        "count: int = 1  # how many\ntrain: bool = False  # train\nruns_dir: str = 'runs'  # where",
        metadata={"tags": ["parameters"], "papermill": {"duration": 1}},
    )
    contents = [new.new_markdown_cell(f"# {title}\nSee [that](02_b.ipynb): $x^2$"), parameters]
    contents += [new.new_code_cell(cell) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=contents, metadata={"kernelspec": kernel}), path)


@pytest.fixture(name="folder")
def notebook_folder(tmp_path, monkeypatch):
    """A folder in place of the repository's notebooks."""
    monkeypatch.setattr(batch, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(batch, "ROOT", tmp_path)
    (tmp_path / "quick.yaml").write_text("shared: {count: 5}\n")
    return tmp_path


def test_a_section_overrides_shared_values_and_shared_values_reach_only_who_declares_them(tmp_path):
    (tmp_path / "v.yaml").write_text("shared: {a: 1, b: 2}\n02_y: {b: 3}\n")
    declared = {"01_x": {"a"}, "02_y": {"a", "b"}, "03_z": {"c"}}
    values = batch.read_parameters(tmp_path / "v.yaml", declared)
    assert values == {"01_x": {"a": 1}, "02_y": {"a": 1, "b": 3}, "03_z": {}}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("shared: {typo: 1}", "typo"),
        ("01_x: {typo: 1}", "01_x does not declare typo"),
        ("09_x: {a: 1}", "no notebook is named 09_x"),
        ("shared: 3", "mapping"),
        ("- a", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_parameter_file_is_an_error_that_names_what_is_wrong(tmp_path, text, named):
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(InputError, match=named):
        batch.read_parameters(tmp_path / "v.yaml", {"01_x": {"a"}})


def test_a_missing_parameter_file_or_folder_of_notebooks_is_an_error(folder):
    with pytest.raises(InputError, match="nothing.yaml"):
        batch.read_parameters(folder / "nothing.yaml", {})
    with pytest.raises(InputError, match="no notebook"):
        batch.notebooks()


def test_reproduce_trains_all_notebooks_and_reports_the_failed_one(folder, capsys):
    shown = "print('got', count, train, runs_dir)"
    write_notebook(folder / "01_a.ipynb", PROGRESS, PICTURE, shown, title="First & best")
    write_notebook(folder / "02_b.ipynb", "raise ValueError('no <such> thing')")
    write_notebook(folder / "03_c.ipynb", "print(count)")
    output = folder / "reports"
    pages = batch.reproduce(folder / "quick.yaml", output)
    assert [page.error for page in pages] == [None, "ValueError: no <such> thing", None]

    first = nbformat.read(output / "01_a.ipynb", as_version=4)
    streams = {o.name: o.text for cell in first.cells for o in cell.get("outputs", []) if o.output_type == "stream"}
    assert streams["stdout"].split() == ["got", "5", "True", os.path.join("reports", "runs")]
    assert streams["stderr"] == "warning\n"  # and nothing of the progress bar

    page = (output / "01_a.html").read_text()
    assert 'href="02_b.html"' in page
    assert 'src="mathjax/MathJax.js' in page
    assert 'src="http' not in page
    assert (output / "mathjax" / "MathJax.js").exists()

    index = (output / "index.html").read_text()
    assert "dropclass-C1" in index
    assert "First &amp; best" in index
    assert "no &lt;such&gt; thing" in index
    assert 'src="thumbnails/01_a.png"' in index
    assert "thumbnails/03_c.png" not in index
    assert sorted(path.name for path in output.glob(".*")) == []
    assert "01_a: done" in capsys.readouterr().err


def test_the_index_shows_what_has_not_run_yet(tmp_path):
    report.write_index([report.Page("01_a", "First")], report.scoreboard(), tmp_path)
    assert "not run yet" in (tmp_path / "index.html").read_text()


def test_store_keeps_outputs_of_one_clean_run_and_no_times(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # so that both are put back
    monkeypatch.setenv("SEGREPRO_PROGRESS", "1")
    write_notebook(folder / "01_a.ipynb", "import os\nos.environ['OMP_NUM_THREADS'], os.environ['SEGREPRO_PROGRESS']")
    batch.store()
    stored = nbformat.read(folder / "01_a.ipynb", as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]
    assert stored.cells[2].outputs[0].data["text/plain"] == "('1', '0')"
    assert stored.cells[1].metadata == {"tags": ["parameters"]}
    assert stored.metadata.language_info == {"name": "python"}
    before = (folder / "01_a.ipynb").read_bytes()
    batch.store(["01_a"])
    assert (folder / "01_a.ipynb").read_bytes() == before


def test_store_leaves_a_failing_notebook_as_it_was(folder):
    write_notebook(folder / "01_a.ipynb", "1 / 0")
    before = (folder / "01_a.ipynb").read_bytes()
    with pytest.raises(InputError, match=r"01_a\.ipynb was not stored(.|\n)*ZeroDivisionError"):
        batch.store()
    assert (folder / "01_a.ipynb").read_bytes() == before
    with pytest.raises(InputError, match="no notebook is named 02_b; there are 01_a"):
        batch.store(["02_b"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(InputError("seeds: wrong"), 2, "seeds: wrong"), (KeyboardInterrupt(), 130, "repeat the command")],
)
def test_errors_and_interruption_end_the_command_with_one_line(monkeypatch, capsys, error, code, message):
    def fail(*_):
        raise error

    monkeypatch.setattr(batch, "reproduce", fail)
    monkeypatch.setattr(sys, "argv", ["batch", "reproduce"])
    assert batch.main() == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("failure", "code"), [(None, 0), ("ValueError: x", 1)])
def test_a_failed_notebook_fails_the_command(monkeypatch, failure, code):
    pages = [report.Page("01_a", "A", 1.0), report.Page("02_b", "B", 1.0, failure)]
    monkeypatch.setattr(batch, "reproduce", lambda *_: pages)
    monkeypatch.setattr(sys, "argv", ["batch", "reproduce"])
    assert batch.main() == code
